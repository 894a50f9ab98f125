//! A daemon as a process of its own, a client that speaks SMTP to it, and a server that takes its mail.
//!
//! The daemon is this test's own executable: [`serve_if_asked`] turns it into one. So it can be killed as a power cut or
//! the kernel would do it.

pub(crate) mod dns;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use penstock_settings::Settings;
use tempfile::TempDir;

const SETTINGS_VARIABLE: &str = "PENSTOCK_TEST_SETTINGS";
/// What the socket of a first process is called, beside the settings.
const KEEPER: &str = "keeper";
/// A name server that is not there, and says so at once: no test asks one of the outer world.
const NOBODY: &str = "127.0.0.1:9";
/// A guard against hanging, far above what anything takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// Becomes the daemon if this process was started as one.
pub(crate) fn serve_if_asked() {
    let Ok(path) = std::env::var(SETTINGS_VARIABLE) else { return };
    let settings = Settings::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
    penstock_daemon::start_log(&settings.system);
    // Where the test has a first process.
    let keeper = Some(PathBuf::from(path).with_file_name(KEEPER)).filter(|keeper| keeper.exists());
    match penstock_daemon::run(settings, &penstock_daemon::Options { keeper, ..Default::default() }) {
        Ok(()) => std::process::exit(0),
        Err(error) => {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

/// Waits until something is so.
pub(crate) fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let from = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(from.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A site: a volume, settings, and perhaps a daemon.
pub(crate) struct Site {
    pub(crate) directory: TempDir,
    pub(crate) port: u16,
    pub(crate) hop_port: u16,
    pub(crate) faults: String,
    daemon: Option<Child>,
}

impl Site {
    /// A site with these settings of `[release]`, and of sections after it, beyond those it needs.
    pub(crate) fn new(more: &str) -> Self {
        Self::with("", "", more)
    }

    /// A site with a reserve, its disk in a folder of its own, and these settings of `[release]`.
    pub(crate) fn with_reserve(more: &str) -> Self {
        let site = Self::with("reserve = \"RESERVE\"\n", "", more);
        let settings = site.directory.path().join("settings.toml");
        let path = |name: &str| site.directory.path().join(name).display().to_string();
        let text = std::fs::read_to_string(&settings).unwrap();
        let text = text.replace(&path("volume"), &path("disk/volume")).replace("RESERVE", &path("reserve"));
        std::fs::write(settings, text).unwrap();
        std::fs::create_dir(site.directory.path().join("disk")).unwrap();
        site
    }

    /// Has the medium of the disk do what these words ask for from now on; nothing if there are none. Only a site with
    /// `faults` that name this file.
    pub(crate) fn set_faults(&self, words: &str) {
        let control = self.directory.path().join("faults");
        if words.is_empty() {
            std::fs::remove_file(control).unwrap();
        } else {
            // Read at every moment: it must never be seen half written.
            let new = self.directory.path().join("faults.new");
            std::fs::write(&new, words).unwrap();
            std::fs::rename(new, control).unwrap();
        }
    }

    /// A site with these settings of its next hop.
    pub(crate) fn with_hop(hop: &str) -> Self {
        let site = Self::new("");
        let settings = site.directory.path().join("settings.toml");
        let address = format!("address = \"127.0.0.1:{}\"\n", site.hop_port);
        let text = std::fs::read_to_string(&settings).unwrap();
        std::fs::write(settings, text.replace(&address, &format!("{address}{hop}"))).unwrap();
        site
    }

    /// A site with these settings of `[listen]`.
    pub(crate) fn with_listen(listen: &str) -> Self {
        Self::with("", listen, "")
    }

    /// A site that asks this name server and checks mail, with these settings of `[listen]` and `[authenticity]`.
    pub(crate) fn with_names(server: &dns::NameServer, listen: &str, authenticity: &str) -> Self {
        let site = Self::with("", listen, "");
        let settings = site.directory.path().join("settings.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        let text = text.replace(NOBODY, &server.address.to_string());
        std::fs::write(settings, text.replace("evaluate = false\n", authenticity)).unwrap();
        site
    }

    fn with(volume: &str, listen: &str, more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (port, hop_port) = (free_port(), free_port());
        let path = |name: &str| directory.path().join(name).display().to_string();
        let (at, socket) = (path("volume"), path("control.sock"));
        let settings = format!(
            "[system]\nhostname = \"mx.example.org\"\ncontrol_socket = \"{socket}\"\n\
             [dns]\nservers = [\"{NOBODY}\"]\n\
             [volume]\npath = \"{at}\"\nsize = \"64MiB\"\nsegment_size = \"1MiB\"\n{volume}\
             [domains]\naccepted = [\"example.org\"]\n\
             [recipients]\nfind_out = false\n\
             [[next_hop]]\nname = \"exchange\"\naddress = \"127.0.0.1:{hop_port}\"\n\
             [listen]\naddresses = [\"127.0.0.1:{port}\"]\nsize_max = \"16MiB\"\n\
             reserved_max = \"64MiB\"\nreserved_per_source_max = \"64MiB\"\n{listen}\
             [authenticity]\nevaluate = false\n\
             [release]\nmessages_per_minute_max = 60000\nprobe_interval = \"1s\"\n{more}"
        );
        std::fs::write(directory.path().join("settings.toml"), settings).unwrap();
        Self { directory, port, hop_port, faults: String::new(), daemon: None }
    }

    /// Changes the text of the settings.
    pub(crate) fn edit(&self, change: impl FnOnce(String) -> String) {
        let settings = self.directory.path().join("settings.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        std::fs::write(settings, change(text)).unwrap();
    }

    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.log_path()).unwrap();
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "daemon_process", "--nocapture"])
            .env(SETTINGS_VARIABLE, self.directory.path().join("settings.toml"))
            .env("PENSTOCK_FAULT", &self.faults)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(child);
        eventually("the daemon listens", || {
            let ended = self.daemon.as_mut().and_then(|daemon| daemon.try_wait().unwrap());
            assert!(ended.is_none(), "the daemon ended:\n{}", self.log());
            TcpStream::connect(("127.0.0.1", self.port)).ok()
        });
    }

    /// Where a first process would listen.
    pub(crate) fn keeper_path(&self) -> PathBuf {
        self.directory.path().join(KEEPER)
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The end without notice.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// The end as the service manager asks for it. Whether it was clean.
    pub(crate) fn stop(&mut self) -> bool {
        let mut daemon = self.daemon.take().unwrap();
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        daemon.wait().unwrap().success()
    }

    /// Sends a message and gives the final reply.
    pub(crate) fn send(&self, recipients: &[&str], body: &str) -> String {
        let mut client = self.client();
        client.envelope("sender@example.net", recipients);
        client.message(body)
    }

    /// A client that has not been greeted yet.
    pub(crate) fn connect(&self) -> Client {
        Client::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    /// A client that has said EHLO.
    pub(crate) fn client(&self) -> Client {
        let mut client = self.connect();
        client.expect("220");
        client.say("EHLO client.example");
        client.expect("250");
        client
    }

    /// Asks the control interface, and gives the status and the body of the answer.
    pub(crate) fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let mut socket = UnixStream::connect(self.directory.path().join("control.sock")).unwrap();
        let length = body.len();
        write!(
            socket,
            "{method} {path} HTTP/1.1\r\nhost: box\r\nconnection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        let head_end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..head_end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer[head_end + 4..].to_vec())
    }

    pub(crate) fn json(&self, method: &str, path: &str, body: &str) -> serde_json::Value {
        let (status, answer) = self.ask(method, path, body);
        let text = String::from_utf8_lossy(&answer);
        assert_eq!(status, 200, "{method} {path}: {text}");
        serde_json::from_slice(&answer).unwrap()
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        self.json("GET", "/v1/status", "")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// One side of an SMTP connection.
pub(crate) struct Client {
    stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { lines: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    pub(crate) fn say(&mut self, line: &str) {
        self.raw(format!("{line}\r\n").as_bytes());
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next reply, its lines joined.
    pub(crate) fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "closed after {reply:?}");
            reply.push_str(line.trim_end());
            if line.as_bytes().get(3) == Some(&b' ') {
                return reply;
            }
        }
    }

    pub(crate) fn expect(&mut self, code: &str) -> String {
        let reply = self.reply();
        assert!(reply.starts_with(code), "{reply}");
        reply
    }

    pub(crate) fn envelope(&mut self, sender: &str, recipients: &[&str]) {
        self.say(&format!("MAIL FROM:<{sender}>"));
        self.expect("250");
        for recipient in recipients {
            self.say(&format!("RCPT TO:<{recipient}>"));
            self.expect("250");
        }
        self.say("DATA");
        self.expect("354");
    }

    /// Sends the message that DATA asked for, and gives the verdict.
    pub(crate) fn message(&mut self, body: &str) -> String {
        self.raw(body.replace("\r\n.", "\r\n..").as_bytes());
        self.raw(b".\r\n");
        self.reply()
    }
}

/// A message as the server got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) sender: String,
    pub(crate) recipients: Vec<String>,
    pub(crate) body: String,
}

/// What a server offers unless it is told otherwise.
const EXTENSIONS: &str =
    "250-exchange.example.org\r\n250-PIPELINING\r\n250-SIZE 37748736\r\n250-DSN\r\n250 8BITMIME";

/// What a server answers to a command line, or to `.` for the end of data; nothing stands for yes.
type Script = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The next hop: takes mail, or says what it is told to say.
#[derive(Clone)]
pub(crate) struct Hop {
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<Arc<Script>>>,
    connections: Arc<AtomicUsize>,
    hangs_up: Arc<AtomicBool>,
    name: Arc<Mutex<String>>,
}

impl Hop {
    /// A server on that port that takes everything.
    pub(crate) fn start(port: u16) -> Self {
        Self::start_with(port, |_| None)
    }

    pub(crate) fn start_with(
        port: u16,
        script: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let hop = Self {
            got: Arc::default(),
            script: Arc::new(Mutex::new(Arc::new(script))),
            connections: Arc::default(),
            hangs_up: Arc::default(),
            name: Arc::new(Mutex::new("exchange.example.org".to_owned())),
        };
        let served = hop.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let hop = served.clone();
                thread::spawn(move || hop.serve(stream));
            }
        });
        hop
    }

    /// Answers by another script. An empty answer to the final dot, `.`, cuts the connection instead.
    pub(crate) fn answer(&self, script: impl Fn(&str) -> Option<String> + Send + Sync + 'static) {
        *self.script.lock().unwrap() = Arc::new(script);
    }

    /// Greets with another name from now on, as a server that was set up anew.
    pub(crate) fn rename(&self, name: &str) {
        *self.name.lock().unwrap() = name.to_owned();
    }

    /// Closes each connection after its message, without being asked.
    pub(crate) fn hang_up_after_a_message(&self) {
        self.hangs_up.store(true, Relaxed);
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// Waits for so many messages.
    pub(crate) fn wait_for(&self, count: usize) -> Vec<Got> {
        eventually("the next hop gets mail", || Some(self.got()).filter(|got| got.len() >= count))
    }

    fn serve(&self, mut stream: TcpStream) {
        self.connections.fetch_add(1, Relaxed);
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        stream.set_nodelay(true).unwrap();
        let mut say = |reply: &str| stream.write_all(format!("{reply}\r\n").as_bytes()).is_ok();
        let verdict = |line: &str, usual: &str| {
            // Another script may be set while this one takes its time.
            let script = Arc::clone(&self.script.lock().unwrap());
            script(line).unwrap_or_else(|| usual.to_owned())
        };
        let mut message = Got { sender: String::new(), recipients: Vec::new(), body: String::new() };
        let name = self.name.lock().unwrap().clone();
        if !say(&format!("220 {name} ready")) {
            return;
        }
        loop {
            let mut line = String::new();
            if !matches!(lines.read_line(&mut line), Ok(1..)) {
                return;
            }
            let line = line.trim_end();
            let address = || {
                line.split_once('<')
                    .and_then(|(_, rest)| rest.split_once('>'))
                    .unwrap_or_default()
                    .0
                    .to_owned()
            };
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let reply = match verb.as_str() {
                "EHLO" => verdict(line, EXTENSIONS),
                "MAIL" => {
                    message = Got { sender: address(), recipients: Vec::new(), body: String::new() };
                    verdict(line, "250 2.1.0 Sender OK")
                }
                "RCPT" => {
                    let reply = verdict(line, "250 2.1.5 Recipient OK");
                    if reply.starts_with('2') {
                        message.recipients.push(address());
                    }
                    reply
                }
                "DATA" => verdict(line, "354 Start mail input"),
                "BDAT" => {
                    let octets = line.split(' ').nth(1).and_then(|octets| octets.parse().ok());
                    let mut chunk = vec![0; octets.unwrap()];
                    if lines.read_exact(&mut chunk).is_err() {
                        return;
                    }
                    message.body.push_str(std::str::from_utf8(&chunk).unwrap());
                    let reply = verdict(line, "250 2.6.0 Queued mail for delivery");
                    if reply.starts_with('2') && line.ends_with(" LAST") {
                        self.got.lock().unwrap().push(message.clone());
                    }
                    reply
                }
                "RSET" => "250 2.0.0 Resetting".to_owned(),
                "QUIT" => {
                    say("221 2.0.0 Closing");
                    return;
                }
                _ => "500 5.3.3 Unrecognized command".to_owned(),
            };
            let begins = reply.starts_with("354");
            if !say(&reply) {
                return;
            }
            if begins {
                let Some(body) = read_message(&mut lines) else { return };
                message.body = body;
                let reply = verdict(".", "250 2.6.0 Queued mail for delivery");
                if reply.is_empty() {
                    return;
                }
                if reply.starts_with('2') {
                    self.got.lock().unwrap().push(message.clone());
                }
                if !say(&reply) || self.hangs_up.load(Relaxed) {
                    return;
                }
            }
        }
    }
}

/// The message up to its end, dots undone; nothing if the connection ended before.
fn read_message(lines: &mut BufReader<TcpStream>) -> Option<String> {
    let mut body = String::new();
    loop {
        let mut line = String::new();
        if !matches!(lines.read_line(&mut line), Ok(1..)) {
            return None;
        }
        if line == ".\r\n" {
            return Some(body);
        }
        body.push_str(line.strip_prefix('.').unwrap_or(&line));
    }
}

/// The number that a message has, in the reply that acknowledged it: what the next hop said may follow.
pub(crate) fn number_in(reply: &str) -> &str {
    reply.split([' ', ',']).find(|word| word.starts_with("d-")).unwrap()
}
