//! The daemon under test: its settings, its process, its volume and its answers. Whatever the tests know of how
//! Penstock is started and asked is in this module.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::Client;
use crate::process::{HANG_GUARD, Process, allocated_kib, free_port, pss_kib, run, wait_until};
use crate::scratch::Scratch;

/// What the medium does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// What was not synced is gone when the process is: a kill is a power cut.
    PowerCut,
    /// The same with a sync that does nothing. Mail must be lost, or the power-cut test proves nothing.
    PowerCutWithoutSync,
    /// Every sync takes this much longer, as on slow flash.
    SyncDelay(Duration),
    /// Nothing, until [`Daemon::begin_write_errors`].
    OnDemand,
}

/// What a test sets. Everything else is as shipped.
#[derive(Clone, Debug)]
pub struct Settings {
    values: BTreeMap<String, String>,
    /// What the medium does wrong.
    pub fault: Fault,
    /// How fast its time runs.
    speed: u32,
}

impl Settings {
    /// A box before this next hop. What is not about this machine is as shipped.
    pub fn as_shipped_before(next_hop: SocketAddr) -> Self {
        let mut settings = Self::before(next_hop);
        settings.values.retain(|key, _| !key.starts_with("release."));
        settings
    }

    /// A box before this next hop, with room for many sessions of one client and a release at full speed.
    pub fn before(next_hop: SocketAddr) -> Self {
        let values = BTreeMap::from([
            ("next_hop.address".to_owned(), format!("\"{next_hop}\"")),
            ("next_hop.name".to_owned(), "\"sink\"".to_owned()),
        ]);
        let settings = Self { values, fault: Fault::None, speed: 1 };
        settings
            .set("system.hostname", "\"penstock.example\"")
            .set("system.log_level", "\"warn\"")
            .set("domains.accepted", "[\"example.com\"]")
            // What comes at a sink is what was sent.
            .set("recipients.find_out", "false")
            .set("volume.size", "\"512MiB\"")
            .set("volume.segment_size", "\"4MiB\"")
            .set("listen.connections_max", "500")
            .set("listen.connections_per_source_max", "500")
            .set("listen.messages_per_minute_per_source_max", "0")
            .set("listen.recipients_per_minute_per_source_max", "0")
            .set("listen.errors_per_minute_per_source_max", "0")
            .set("listen.tarpit_delay", "\"0s\"")
            .set("release.messages_per_minute_max", "60000")
            .set("release.probe_interval", "\"1s\"")
            .set("release.probe_slow_interval", "\"1s\"")
            // Nobody is there: no test asks a name server of the outer world.
            .set("dns.servers", "[\"127.0.0.1:9\"]")
            .set("authenticity.evaluate", "false")
    }

    /// As shipped in what clients may do.
    pub fn listening_as_shipped(mut self) -> Self {
        self.values.retain(|key, _| !key.starts_with("listen."));
        self
    }

    /// Sets one key, `section.key`, to a TOML value.
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.values.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Sets what the medium does wrong.
    pub fn with(mut self, fault: Fault) -> Self {
        self.fault = fault;
        self
    }

    /// Lets so many seconds of its time pass in one of ours.
    pub fn at_speed(mut self, speed: u32) -> Self {
        self.speed = speed;
        self
    }

    /// The settings file.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for (key, value) in &self.values {
            let (head, name) = key.split_once('.').expect("section.key");
            if head != section {
                section = head;
                // There may be several next hops; the tests need one.
                let header = if head == "next_hop" { "[[next_hop]]".to_owned() } else { format!("[{head}]") };
                text.push_str(&header);
                text.push('\n');
            }
            text.push_str(&format!("{name} = {value}\n"));
        }
        text
    }
}

/// A daemon with a volume file of its own.
pub struct Daemon {
    process: Option<Process>,
    settings: Settings,
    address: SocketAddr,
    scratch: Scratch,
}

impl Daemon {
    /// Starts one on a new volume.
    pub fn start(settings: Settings) -> Self {
        let mut daemon = Self::prepare(settings);
        daemon.up();
        daemon
    }

    /// Starts one on a new volume that takes mail there: for a next hop that has to know before it is set up.
    pub fn start_at(address: SocketAddr, settings: Settings) -> Self {
        let mut daemon = Self::prepare_at(address, settings);
        daemon.up();
        daemon
    }

    /// Where one can take mail.
    pub fn free_address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], free_port()))
    }

    /// Everything but the start.
    pub fn prepare(settings: Settings) -> Self {
        Self::prepare_at(Self::free_address(), settings)
    }

    fn prepare_at(address: SocketAddr, settings: Settings) -> Self {
        let scratch = Scratch::new("daemon");
        let settings = settings
            .set("system.control_socket", &format!("\"{}\"", scratch.join("control.sock").display()))
            .set("volume.path", &format!("\"{}\"", scratch.join("volume").display()))
            .set("listen.addresses", &format!("[\"{address}\"]"));
        fs::write(scratch.join("settings.toml"), settings.to_toml()).unwrap();
        Self { process: None, settings, address, scratch }
    }

    /// Starts it, on the volume as it is, and waits for its greeting. Returns how long that took.
    pub fn up(&mut self) -> Duration {
        let began = Instant::now();
        let mut process = self.spawn();
        while Client::try_connect(self.address).is_none_or(|client| client.banner.code != 220) {
            assert!(process.ended().is_none(), "the daemon does not start:\n{}", self.log());
            assert!(began.elapsed() < HANG_GUARD, "the daemon does not greet:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = began.elapsed();
        self.process = Some(process);
        took
    }

    /// Starts it although it is expected to refuse, and waits for its end.
    pub fn refuse(&self) -> (ExitStatus, String) {
        let status = self.spawn().wait();
        (status, self.log())
    }

    fn spawn(&self) -> Process {
        let log = OpenOptions::new().create(true).append(true).open(self.scratch.join("log")).unwrap();
        let as_shipped = self.settings.fault == Fault::None && self.settings.speed == 1;
        let variant = if as_shipped { Variant::Shipped } else { Variant::WithFaults };
        let mut command = Command::new(program(variant));
        command.arg("serve").arg("--settings").arg(self.scratch.join("settings.toml"));
        command.stdout(log.try_clone().unwrap()).stderr(log);
        if let Some(words) = self.fault_words() {
            command.env("PENSTOCK_FAULT", words);
        }
        if self.settings.speed > 1 {
            command.env("PENSTOCK_SPEED", self.settings.speed.to_string());
        }
        Process::spawn(&mut command)
    }

    /// The fault in the words of the builds for tests.
    fn fault_words(&self) -> Option<String> {
        match self.settings.fault {
            Fault::None => None,
            Fault::PowerCut => Some("discard".into()),
            Fault::PowerCutWithoutSync => Some("discard,nosync".into()),
            Fault::SyncDelay(delay) => Some(format!("sync_delay={}us", delay.as_micros())),
            Fault::OnDemand => Some(format!("control={}", self.fault_switch().display())),
        }
    }

    fn running(&mut self) -> &mut Process {
        self.process.as_mut().expect("the daemon runs")
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill(&mut self) {
        self.running().kill();
        self.process = None;
    }

    /// Ends it as an operator would (SIGTERM).
    pub fn stop(&mut self) {
        let status = self.running().terminate();
        assert!(status.success(), "after SIGTERM: {status}\n{}", self.log());
        self.process = None;
    }

    /// Where it takes mail.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.as_ref().expect("the daemon runs").id()
    }

    /// Its proportional set size in KiB.
    pub fn pss_kib(&self) -> u64 {
        pss_kib(self.id())
    }

    /// The part of it that it has allocated, in KiB.
    pub fn allocated_kib(&self) -> u64 {
        allocated_kib(self.id())
    }

    /// Its file descriptors.
    pub fn descriptors(&self) -> u64 {
        fs::read_dir(format!("/proc/{}/fd", self.id())).unwrap().count() as u64
    }

    /// Its volume file.
    pub fn volume(&self) -> PathBuf {
        self.scratch.join("volume")
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("log")).unwrap_or_default()
    }

    fn fault_switch(&self) -> PathBuf {
        self.scratch.join("fault")
    }

    /// Lets every program and every sync fail from now on.
    pub fn begin_write_errors(&self) {
        // All at once: the daemon may look at any moment.
        let draft = self.scratch.join("fault.draft");
        fs::write(&draft, "fail_program_after=0,fail_sync_after=0").unwrap();
        fs::rename(draft, self.fault_switch()).unwrap();
    }

    /// Lets writes succeed again.
    pub fn end_write_errors(&self) {
        fs::remove_file(self.fault_switch()).unwrap();
    }

    /// Runs one of the operator's commands and returns what it writes.
    fn command(&self, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new(program(Variant::Shipped));
        run(command.args(arguments).env("PENSTOCK_SOCKET", self.scratch.join("control.sock")))
    }

    /// The same for commands that answer in JSON.
    fn ask(&self, arguments: &[&str]) -> Value {
        let said = self.command(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}"))
    }

    /// Keeps mail from now on.
    pub fn hold(&self) {
        self.ask(&["hold"]);
    }

    /// Releases mail from now on.
    pub fn release(&self) {
        self.ask(&["release"]);
    }

    /// Says that the next hop is itself, once it waits for that.
    pub fn confirm(&self) {
        wait_until("the next hop has to prove itself", || {
            ["unproven", "held"]
                .contains(&self.ask(&["status"])["hops"][0]["state"].as_str().unwrap_or_default())
        });
        self.ask(&["confirm"]);
    }

    /// How the next hop stands.
    pub fn hop(&self) -> Value {
        self.ask(&["status"])["hops"][0].clone()
    }

    /// How TLS stands on both sides.
    pub fn tls(&self) -> Value {
        self.ask(&["tls", "show"])
    }

    /// Says that the certificate of the next hop is right.
    pub fn accept_certificate(&self) {
        self.ask(&["tls", "accept", "sink"]);
    }

    /// Gives it a certificate as PFX, whose password is in a file.
    pub fn install_certificate(&self, pfx: &str, password_file: &str) {
        self.ask(&["tls", "install", pfx, "--password-file", password_file]);
    }

    /// Messages that still have somewhere to go.
    pub fn queued(&self) -> u64 {
        let status = self.ask(&["status"]);
        status["mail"]["messages"].as_u64().unwrap_or_else(|| panic!("no number of messages: {status}"))
    }

    /// The codes of what needs somebody.
    pub fn alerts(&self) -> Vec<String> {
        let status = self.ask(&["status"]);
        let alerts = status["alerts"].as_array().expect("status has alerts");
        alerts.iter().map(|alert| alert["code"].as_str().expect("an alert has a code").to_owned()).collect()
    }

    /// Who connects, as `penstock clients` tells it.
    pub fn clients(&self) -> Value {
        self.ask(&["clients", "--limit", "1000"])
    }

    /// What is known of the mail that the next hop took.
    pub fn proof(&self) -> Value {
        self.ask(&["status"])["hops"][0]["proof"].clone()
    }

    /// The list of recipients and what becomes of mail for others.
    pub fn recipients(&self) -> Value {
        self.ask(&["recipients", "status"])
    }

    /// Gives it a list of recipients, an address a line.
    pub fn import_recipients(&self, list: &str) {
        let file = self.scratch.join("recipients.txt");
        fs::write(&file, list).unwrap();
        self.command(&["recipients", "import", file.to_str().expect("a path that is text")]);
    }

    /// The canaries that were sent to it lately.
    pub fn canaries(&self) -> Vec<Value> {
        self.ask(&["canary"])["hops"][0]["canaries"].as_array().expect("a list of canaries").clone()
    }

    /// The messages in the queue, each as it was received.
    pub fn exports(&self) -> Vec<Vec<u8>> {
        let queue = self.ask(&["queue", "--all"]);
        let rows = queue["rows"].as_array().expect("the queue has rows");
        let ids = rows.iter().map(|row| row["id"].as_str().expect("a row has an id"));
        ids.map(|id| self.command(&["export", id, "--reason", "test"])).collect()
    }

    /// One of its figures.
    pub fn metric(&self, name: &str) -> u64 {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--unix-socket"])
            .arg(self.scratch.join("control.sock"));
        let text = String::from_utf8(run(curl.arg("http://penstock/metrics"))).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no metric {name}:\n{text}"))
    }

    /// Says that the next hop is the server that it should be. Whether that was asked for.
    pub fn confirm_if_asked(&self) -> bool {
        let mut command = Command::new(program(Variant::Shipped));
        command.arg("confirm").env("PENSTOCK_SOCKET", self.scratch.join("control.sock"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Has it pass on a letter, so that it knows what its next hop offers and offers that, too.
    pub fn meet_next_hop(&self, to: &str) {
        let mut client = Client::connect(self.address);
        client.ask("EHLO client.example");
        let letter = b"Subject: how do you do\r\nMessage-ID: <introduction@client.example>\r\n\r\n";
        assert_eq!(client.message("introduction@example.org", &[to], letter).code, 250);
        self.wait_until_empty();
    }

    /// Waits until all mail has been released.
    pub fn wait_until_empty(&self) {
        wait_until("the queue is empty", || self.queued() == 0);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// A build of the daemon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Shipped,
    /// Listens to `PENSTOCK_FAULT` and `PENSTOCK_SPEED`.
    WithFaults,
}

/// The daemon's binary, which `scripts/test` and `scripts/bench` have built and named.
fn program(variant: Variant) -> PathBuf {
    let variable = match variant {
        Variant::Shipped => "PENSTOCK_BIN",
        Variant::WithFaults => "PENSTOCK_FAULTS_BIN",
    };
    let program = env::var_os(variable).unwrap_or_else(|| {
        panic!("{variable} is not set: run the tests through scripts/test, which builds the daemon")
    });
    program.into()
}
