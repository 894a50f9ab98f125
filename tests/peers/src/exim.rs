//! A private Exim that relays everything to one next hop. Debian cannot install it beside Postfix, so that it is
//! unpacked into the cache folder by `scripts/setup`.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::process::{Process, answers, files_below, free_port, number_of, running, wait_until};
use crate::scratch::Scratch;
use crate::unpacked::unpacked;

/// When an instance tries what, and what it is told beyond that.
#[derive(Clone, Debug)]
pub struct Timers {
    /// The retry rule: what follows the address pattern and the error.
    retry: String,
    /// How often it looks through its queue, in s.
    queue_run_s: u32,
    /// Options of the SMTP transport.
    transport: String,
    /// Takes mail and delivers none.
    keeps: bool,
    /// Where mail for `client.example` goes, if not to the next hop.
    pub outside: Option<SocketAddr>,
    /// Where mail for other domains goes, if not to the next hop.
    pub routes: Vec<(String, SocketAddr)>,
    /// Further lines of the main section.
    pub main: String,
    /// When it goes over to TLS, with those that offer it.
    pub tls: Tls,
}

/// When an instance goes over to TLS as a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never: a recorder would see nothing.
    Never,
    /// Always; without TLS it does not send.
    Always,
}

impl Timers {
    /// Every second, for tests.
    fn brisk() -> Self {
        Self {
            retry: "F,1h,1s".to_owned(),
            queue_run_s: 1,
            // By itself it takes lines that it does not send on.
            transport: "\x20 message_linelength_limit = 1000000\n".to_owned(),
            keeps: false,
            outside: None,
            routes: Vec::new(),
            main: String::new(),
            tls: Tls::Never,
        }
    }

    /// Every second, with these routes.
    pub fn routing(routes: &[(String, SocketAddr)], tls: Tls) -> Self {
        Self { routes: routes.to_vec(), tls, ..Self::brisk() }
    }

    /// Every second, for one that is told these lines in its main section.
    pub fn with_main(main: &str) -> Self {
        Self { main: main.to_owned(), ..Self::brisk() }
    }

    /// As Debian's package and Exim's own defaults have them, divided by `speed`.
    pub fn of_debian(speed: u32) -> Self {
        let of = |seconds: u32| format!("{}s", (seconds / speed).max(1));
        const MINUTE: u32 = 60;
        const HOUR: u32 = 3600;
        let retry = format!(
            "F,{},{}; G,{},{},1.5; F,{},{}",
            of(2 * HOUR),
            of(15 * MINUTE),
            of(16 * HOUR),
            of(HOUR),
            of(96 * HOUR),
            of(6 * HOUR)
        );
        let transport = format!(
            "\x20 connect_timeout = {five}\n\x20 command_timeout = {five}\n\x20 data_timeout = {five}\n\
             \x20 final_timeout = {ten}\n",
            five = of(5 * MINUTE),
            ten = of(10 * MINUTE)
        );
        Self { retry, queue_run_s: (30 * MINUTE / speed).max(1), transport, ..Self::brisk() }
    }

    /// The same, for one that delivers nothing yet.
    #[must_use]
    pub fn keeping(&self) -> Self {
        Self { keeps: true, ..self.clone() }
    }
}

/// An Exim.
pub struct Exim {
    // Before the folder that it works in, so that it ends first.
    process: Option<Process>,
    /// A queue run that somebody asked for.
    run: Option<Process>,
    queue_run_s: u32,
    scratch: Scratch,
    port: u16,
}

impl Exim {
    /// Configures an instance in a folder of its own and starts it.
    pub fn start(next_hop: SocketAddr) -> Self {
        Self::start_with(next_hop, &Timers::brisk())
    }

    /// The same with other timers.
    pub fn start_with(next_hop: SocketAddr, timers: &Timers) -> Self {
        let scratch = Scratch::new("exim");
        // It runs itself again as its own user, who may not see the cache folder.
        fs::copy(unpacked("exim/usr/sbin/exim4"), scratch.join("exim4")).unwrap();
        let (user, group) = (number_of("-u", "Debian-exim"), number_of("-g", "Debian-exim"));
        for folder in ["spool", "log"] {
            fs::create_dir(scratch.join(folder)).unwrap();
            chown(scratch.join(folder), Some(user), Some(group)).unwrap();
        }
        let mut exim = Self { process: None, run: None, queue_run_s: 1, scratch, port: free_port() };
        exim.configure(next_hop, timers);
        exim.up();
        exim
    }

    fn configure(&mut self, next_hop: SocketAddr, timers: &Timers) {
        self.queue_run_s = timers.queue_run_s;
        let here = self.scratch.path().display();
        let mut routes = timers.routes.clone();
        routes.extend(timers.outside.map(|outside| ("client.example".to_owned(), outside)));
        let outside: String = routes
            .iter()
            .enumerate()
            .map(|(number, (domain, to))| {
                format!(
                    "route{number}:\n\x20 driver = manualroute\n\x20 domains = {domain}\n\
                     \x20 transport = onwards\n\x20 route_list = * {}::{}\n\x20 self = send\n",
                    to.ip(),
                    to.port()
                )
            })
            .collect();
        let tls = match timers.tls {
            Tls::Never => "hosts_avoid_tls = *",
            Tls::Always => "hosts_require_tls = *\n\x20 tls_verify_certificates =",
        };
        let configuration = format!(
            "exim_path = {here}/exim4\n\
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
             queue_only = {keeps}\n\
             {main}\
             begin routers\n\
             {outside}\
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
             \x20 {tls}\n\
             {transport}\
             begin retry\n\
             * * {retry}\n",
            port = self.port,
            keeps = timers.keeps,
            main = timers.main,
            ip = next_hop.ip(),
            next_port = next_hop.port(),
            transport = timers.transport,
            retry = timers.retry,
        );
        fs::write(self.scratch.join("exim.conf"), configuration).unwrap();
    }

    /// Ends it, and becomes another one when it is started the next time. Its queue stays.
    pub fn reconfigure(&mut self, next_hop: SocketAddr, timers: &Timers) {
        self.down();
        self.configure(next_hop, timers);
    }

    fn program(&self) -> PathBuf {
        self.scratch.join("exim4")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        command.arg("-C").arg(self.scratch.join("exim.conf"));
        command
    }

    /// Starts it.
    pub fn up(&mut self) {
        let terminal = File::create(self.scratch.join("log/terminal")).unwrap();
        let mut command = self.command();
        command.args(["-bdf", &format!("-q{}s", self.queue_run_s)]);
        let mut process = Process::spawn(command.stdout(terminal.try_clone().unwrap()).stderr(terminal));
        wait_until("Exim answers", || {
            assert!(process.ended().is_none(), "Exim does not start");
            answers(self.address())
        });
        self.process = Some(process);
    }

    /// Ends it with all that it has begun; its children outlive it otherwise.
    fn down(&mut self) {
        (self.process, self.run) = (None, None);
        let program = self.program();
        wait_until("Exim has ended", || {
            let left = running(&program);
            left.iter().filter_map(|id| Pid::from_raw(i32::try_from(*id).ok()?)).for_each(|id| {
                // One may end by itself meanwhile.
                let _ = kill_process(id, Signal::KILL);
            });
            left.is_empty()
        });
    }

    /// Has it try everything in its queue now, whatever its retry times: begins a queue run that does so.
    pub fn flush(&mut self) {
        let mut command = self.command();
        command.arg("-qff").stdout(Stdio::null()).stderr(Stdio::null());
        self.run = Some(Process::spawn(&mut command));
    }

    /// Messages in its queue.
    pub fn queued(&self) -> u64 {
        // Each has a file for its envelope and one for its data.
        files_below(&self.scratch.join("spool/input")).div_ceil(2)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        self.down();
    }
}
