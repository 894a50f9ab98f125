//! A private Exim that relays everything to one next hop. Debian cannot install it beside Postfix, so that it is
//! unpacked into the cache folder by `scripts/setup`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use crate::process::{Process, answers, free_port, number_of, wait_until};
use crate::scratch::Scratch;

/// An Exim.
pub struct Exim {
    // Before the folder that it works in, so that it ends first.
    _process: Process,
    _scratch: Scratch,
    port: u16,
}

impl Exim {
    /// Configures an instance in a folder of its own and starts it.
    pub fn start(next_hop: SocketAddr) -> Self {
        let scratch = Scratch::new("exim");
        // It runs itself again as its own user, who may not see the cache folder.
        let program = scratch.join("exim4");
        fs::copy(installed(), &program).unwrap();
        let port = free_port();
        let (user, group) = (number_of("-u", "Debian-exim"), number_of("-g", "Debian-exim"));
        for folder in ["spool", "log"] {
            fs::create_dir(scratch.join(folder)).unwrap();
            chown(scratch.join(folder), Some(user), Some(group)).unwrap();
        }
        let here = scratch.path().display();
        let configuration = format!(
            "exim_path = {program}\n\
             spool_directory = {here}/spool\n\
             log_file_path = {here}/log/%slog\n\
             pid_file_path = {here}/spool/exim.pid\n\
             local_interfaces = 127.0.0.1\n\
             daemon_smtp_ports = {port}\n\
             primary_hostname = exim.example\n\
             disable_ipv6 = true\n\
             host_lookup =\n\
             dsn_advertise_hosts = *\n\
             acl_smtp_rcpt = accept\n\
             begin routers\n\
             everything:\n\
             \x20 driver = manualroute\n\
             \x20 transport = onwards\n\
             \x20 route_list = * {ip}\n\
             \x20 self = send\n\
             begin transports\n\
             onwards:\n\
             \x20 driver = smtp\n\
             \x20 port = {next_port}\n\
             \x20 allow_localhost\n\
             begin retry\n\
             * * F,1h,1s\n",
            program = program.display(),
            ip = next_hop.ip(),
            next_port = next_hop.port(),
        );
        let file = scratch.join("exim.conf");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new(program);
        command.arg("-C").arg(&file).args(["-bdf", "-q1s"]);
        let terminal = File::create(scratch.join("log/terminal")).unwrap();
        command.stdout(terminal.try_clone().unwrap()).stderr(terminal);
        let mut process = Process::spawn(&mut command);
        let address = ([127, 0, 0, 1], port).into();
        wait_until("Exim answers", || {
            assert!(process.ended().is_none(), "Exim does not start");
            answers(address)
        });
        Self { _process: process, _scratch: scratch, port }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

/// Where `scripts/setup` has put it.
fn installed() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = folder("PENSTOCK_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("penstock")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/penstock")))
        .expect("HOME is set");
    let program = cache.join("exim/usr/sbin/exim4");
    assert!(program.exists(), "no {}: run scripts/setup", program.display());
    program
}
