//! Private Postfix instances: own configuration, own queue, own port on loopback, stopped when dropped. Nothing of the
//! machine's own Postfix is touched but its programs.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use crate::process::{answers, files_below, free_port, number_of, run, signal, wait_until};
use crate::scratch::Scratch;

/// What an instance does with mail.
#[derive(Clone, Copy, Debug)]
pub enum Role {
    /// Relays everything to one next hop.
    Relay(SocketAddr),
    /// Takes everything into its hold queue: nothing but receiving and storing is done.
    Hold,
}

/// A Postfix.
pub struct Postfix {
    scratch: Scratch,
    port: u16,
}

/// The services that receiving and relaying need, none of them in a chroot, which Debian would have to fill with files.
const SERVICES: &str = "\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
proxymap  unix  -       -       n       -       -       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
";

impl Postfix {
    /// Configures an instance in a folder of its own and starts it.
    pub fn start(role: Role) -> Self {
        Self::start_with(role, "")
    }

    /// The same with further lines for `main.cf`.
    pub fn start_with(role: Role, settings: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "Postfix runs only if root starts it");
        let scratch = Scratch::new("postfix");
        let port = free_port();
        for folder in ["etc", "queue", "data"] {
            fs::create_dir(scratch.join(folder)).unwrap();
        }
        chown(scratch.join("data"), Some(number_of("-u", "postfix")), None).unwrap();
        let smtpd = format!("127.0.0.1:{port} inet n - n - - smtpd\n{SERVICES}");
        fs::write(scratch.join("etc/master.cf"), smtpd).unwrap();
        let postfix = Self { scratch, port };
        postfix.configure(role, settings);
        postfix.up();
        postfix
    }

    /// Becomes another one when it is started the next time. Its queue stays.
    pub fn configure(&self, role: Role, settings: &str) {
        let here = self.scratch.path().display();
        let role_settings = match role {
            Role::Relay(next_hop) => format!("relayhost = [{}]:{}\n", next_hop.ip(), next_hop.port()),
            Role::Hold => "smtpd_client_restrictions = check_client_access static:HOLD\n".to_owned(),
        };
        let main = format!(
            "compatibility_level = 3.7\n\
             command_directory = /usr/sbin\n\
             daemon_directory = /usr/lib/postfix/sbin\n\
             meta_directory = /etc/postfix\n\
             queue_directory = {here}/queue\n\
             data_directory = {here}/data\n\
             maillog_file_prefixes = {here}\n\
             inet_interfaces = loopback-only\n\
             inet_protocols = ipv4\n\
             mynetworks = 127.0.0.0/8\n\
             myhostname = postfix.example\n\
             mydestination =\n\
             alias_maps =\n\
             local_header_rewrite_clients =\n\
             smtpd_peername_lookup = no\n\
             smtp_dns_support_level = disabled\n\
             smtp_host_lookup = native\n\
             message_size_limit = 0\n\
             mailbox_size_limit = 0\n\
             minimal_backoff_time = 1s\n\
             queue_run_delay = 1s\n\
             {role_settings}{settings}"
        );
        fs::write(self.scratch.join("etc/main.cf"), main).unwrap();
    }

    /// Starts it again after [`down`](Self::down).
    pub fn up(&self) {
        run(&mut self.command("start"));
        wait_until("Postfix answers", || answers(self.address()));
    }

    /// Stops it; the queue stays.
    pub fn down(&self) {
        let Some(master) = self.master() else { return };
        signal(master, Signal::TERM);
        wait_until("Postfix has ended", || !PathBuf::from(format!("/proc/{master}")).exists());
    }

    /// `postfix -c … COMMAND`.
    pub fn command(&self, command: &str) -> Command {
        let mut postfix = Command::new("postfix");
        postfix.arg("-c").arg(self.scratch.join("etc")).arg(command);
        postfix
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The process id of its master, if it runs.
    pub fn master(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.scratch.join("queue/pid/master.pid")).ok()?;
        let pid = pid.trim().parse().ok()?;
        PathBuf::from(format!("/proc/{pid}")).exists().then_some(pid)
    }

    /// Gives free what was put on hold: it is looked at when the deferred queue is the next time.
    pub fn release_held(&self) {
        run(Command::new("postsuper").arg("-c").arg(self.scratch.join("etc")).args(["-H", "ALL"]));
    }

    /// Messages in its queues.
    pub fn queued(&self) -> u64 {
        let queues = ["maildrop", "incoming", "active", "deferred", "hold"];
        queues.iter().map(|queue| files_below(&self.scratch.join("queue").join(queue))).sum()
    }

    /// Removes all mail.
    pub fn empty(&self) {
        run(Command::new("postsuper").arg("-c").arg(self.scratch.join("etc")).args(["-d", "ALL"]));
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        self.down();
    }
}
