//! The model on real sockets: the same behaviour, and other people's programs as clients.

// Everything here is a test: a panic is its verdict.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use penstock_exchange::real::{Background, Options};
use penstock_exchange::simulated::World;
use penstock_exchange::{Level, Server};

/// How long anything may take before it counts as hung. No test is decided by it.
const HANG_GUARD: Duration = Duration::from_secs(120);
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const EPOCH_S: i64 = 1_700_000_000;

/// At this speed a client that is not scheduled for a second or two would be cut.
const PATIENCE: &str = "session 300d\nidle 300d\n";

fn options(scenario: &str) -> Options {
    Options {
        listen: ANY_PORT,
        http: Some(ANY_PORT),
        send_connector: None,
        speed: 200.0,
        seed: 1,
        epoch_s: EPOCH_S,
        scenario: format!("{PATIENCE}{scenario}"),
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let guard = Instant::now();
    while !done() {
        assert!(guard.elapsed() < HANG_GUARD, "in vain: waiting until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A conversation over a socket.
struct Talk {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Talk {
    fn connect(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect(to).unwrap())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(HANG_GUARD)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    /// A whole reply, or nothing at the end of the connection.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let begins = reply.len();
            match self.reader.read_line(&mut reply) {
                Ok(len) if len > 0 && reply.as_bytes().get(begins + 3) == Some(&b'-') => {}
                _ => return reply.trim_end().to_owned(),
            }
        }
    }

    fn ask(&mut self, line: &str) -> String {
        // A connection that the server has closed shows as an empty reply.
        let _ = self.stream.write_all(format!("{line}\r\n").as_bytes());
        self.reply()
    }
}

/// What happens in the conversation that both drivers have.
enum Step {
    Say(&'static str),
    Order(&'static str),
    Until(Level),
}

/// Everything that shows in one session: extensions, transactions, refusals at each stage, delays, errors, the end.
const SCRIPT: &[Step] = &[
    Step::Say("EHLO box.example.net"),
    Step::Say("MAIL FROM:<a@box.example.net> SIZE=100"),
    Step::Say("RCPT TO:<ann@example.com>"),
    Step::Say("RCPT TO:<ann@elsewhere.example>"),
    Step::Say("DATA"),
    Step::Say("Message-ID: <1@box.example.net>\r\n\r\n..\r\n."),
    Step::Order("disk 95%"),
    Step::Until(Level::Medium),
    Step::Say("MAIL FROM:<a@box.example.net>"),
    Step::Say("RCPT TO:<bob@example.com> NOTIFY=SUCCESS"),
    Step::Say("DATA"),
    Step::Say("Message-ID: <2@box.example.net>\r\n\r\n."),
    Step::Order("disk ok"),
    Step::Until(Level::Low),
    Step::Order("buckets 1200"),
    Step::Until(Level::Medium),
    Step::Say("MAIL FROM:<a@box.example.net>"),
    Step::Say("RCPT TO:<bob@example.com>"),
    Step::Say("BDAT 4\r\n\r\n"),
    Step::Say("RSET"),
    Step::Order("buckets 0"),
    Step::Until(Level::Low),
    Step::Say("FOO"),
    Step::Say("MAIL FROM:<a@box.example.net>"),
    Step::Order("state unconfigured"),
    Step::Say("RCPT TO:<ann@example.com>"),
    Step::Order("state unconfigured 530"),
    Step::Say("RSET"),
    Step::Say("MAIL FROM:<a@box.example.net>"),
    Step::Order("state ok"),
    Step::Order("poison X-Poison"),
    Step::Say("MAIL FROM:<a@box.example.net>"),
    Step::Say("RCPT TO:<ann@example.com>"),
    Step::Say("DATA"),
    Step::Say("X-Poison: yes\r\n\r\n."),
    Step::Say("NOOP"),
];

#[test]
fn real_and_simulated_time_give_the_same_replies() {
    let model = Background::start(options("")).unwrap();
    let mut talk = Talk::connect(model.address());
    let mut real = vec![talk.reply()];
    for step in SCRIPT {
        match step {
            Step::Say(line) => real.push(talk.ask(line)),
            Step::Order(line) => drop(model.command(line).unwrap()),
            Step::Until(level) => {
                wait_until("the level is there", || model.with(|server| server.level()) == *level);
            }
        }
    }

    let mut server = Server::new(1, EPOCH_S);
    server.scenario(0, PATIENCE).unwrap();
    let mut world = World::new(server);
    let connection = world.connect(ANY_PORT.ip()).unwrap();
    let mut simulated = vec![world.reply(connection).unwrap()];
    for step in SCRIPT {
        match step {
            Step::Say(line) => simulated.push(world.ask(connection, line)),
            Step::Order(line) => drop(world.command(line).unwrap()),
            Step::Until(level) => {
                while world.server.level() != *level {
                    let now_ms = world.now_ms();
                    world.run_until(now_ms + 100);
                }
            }
        }
    }

    // The seconds of the banner's clock are all that may differ, and the ends of lines.
    let plain = |replies: &[String]| -> Vec<String> {
        replies
            .iter()
            .map(|reply| reply.replace('\r', "").split(" ready at ").next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(plain(&real), plain(&simulated));
    let codes: Vec<&str> = simulated.iter().map(|reply| reply.get(..3).unwrap_or("")).collect();
    assert_eq!(
        codes,
        [
            "220", "250", "250", "250", "550", "354", "250", "250", "250", "354", "452", "250", "250", "250",
            "250", "500", "250", "550", "250", "530", "250", "250", "354", "", ""
        ]
    );
}

#[test]
fn swaks_delivers() {
    let model = Background::start(options("")).unwrap();
    let port = model.address().port().to_string();
    let status = Command::new("swaks")
        .args(["--server", "127.0.0.1", "--port", &port, "--helo", "client.example", "--silent", "3"])
        .args(["--from", "a@example.org", "--to", "ann@example.com,bob@example.com", "--body", ".\n..\nend"])
        .status()
        .unwrap();
    assert!(status.success());
    wait_until("it is delivered", || model.with(|server| server.deliveries().len()) == 2);
}

#[test]
fn smtp_source_delivers_from_several_connections() {
    let model = Background::start(options("capacity 1000")).unwrap();
    let status = Command::new("smtp-source")
        .args(["-s", "5", "-m", "200", "-l", "2000", "-f", "a@example.org", "-t", "ann@example.com"])
        .args(["-M", "client.example", &format!("inet:{}", model.address())])
        .status()
        .unwrap();
    assert!(status.success());
    wait_until("it is delivered", || model.with(|server| server.submission_queue()) == 0);
    let summary = model.with(|server| server.summary());
    assert_eq!(summary["accepted"], 200, "{summary}");
}

#[test]
fn a_server_that_is_down_refuses_connections_and_takes_them_again() {
    let model = Background::start(options("")).unwrap();
    let address = model.address();
    let mut talk = Talk::connect(address);
    talk.reply();
    model.command("state down").unwrap();
    assert_eq!(talk.reply(), "");
    wait_until("it refuses", || TcpStream::connect(address).is_err());
    model.command("state ok").unwrap();
    wait_until("it takes connections", || TcpStream::connect(address).is_ok());
    // A restart is the same, and ends by itself: 10 s, a two-hundredth of them.
    model.command("restart 10s").unwrap();
    wait_until("it is back", || {
        TcpStream::connect(address).is_ok_and(|stream| Talk::over(stream).reply().starts_with("220"))
    });
}

#[test]
fn a_server_that_moves_answers_at_its_new_address() {
    let model = Background::start(options("")).unwrap();
    let old = model.address();
    let new = SocketAddr::from(([127, 0, 0, 2], old.port()));
    model.command(&format!("move {new}")).unwrap();
    wait_until("it answers there", || TcpStream::connect(new).is_ok());
    assert!(TcpStream::connect(old).is_err());
    assert_eq!(model.address(), new);
}

#[test]
fn a_peer_that_is_cut_sees_the_last_words() {
    let model = Background::start(options("state inactive")).unwrap();
    for _ in 0..20 {
        let mut talk = Talk::connect(model.address());
        // It has sent before it was answered: a reset would take the answer from it.
        let _ = talk.stream.write_all(&b"EHLO too.early.example\r\n".repeat(100));
        assert!(talk.reply().starts_with("421 4.3.2"));
        assert_eq!(talk.reply(), "");
    }
}

/// One request; status and body.
fn http(to: SocketAddr, request: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(HANG_GUARD)).unwrap();
    let head =
        format!("{request} HTTP/1.1\r\nHost: model\r\nConnection: close\r\nContent-Length: {}", body.len());
    stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn counters_status_mailboxes_and_commands_are_served_over_http() {
    let model = Background::start(options("probe probe@example.com")).unwrap();
    let web = model.http().unwrap();
    let mut talk = Talk::connect(model.address());
    talk.reply();
    for line in [
        "EHLO a",
        "MAIL FROM:<>",
        "RCPT TO:<probe@example.com>",
        "DATA",
        "Message-ID: <1@a>\r\n\r\nhello\r\n.",
    ] {
        talk.ask(line);
    }
    wait_until("it is delivered", || model.with(|server| server.deliveries().len()) == 1);
    let (status, text) = http(web, "GET /metrics", "");
    assert_eq!(status, 200);
    assert!(
        text.contains("windows_exchange_transport_queues_submission_queue_length{name=\"_total\"} 0"),
        "{text}"
    );
    let (_, text) = http(web, "GET /mailboxes?address=Probe@example.com", "");
    assert!(text.contains("\"message_id\":\"<1@a>\"") && text.contains("hello"), "{text}");
    assert_eq!(http(web, "GET /mailboxes?after=1", "").1, "[]");
    assert!(http(web, "GET /status", "").1.contains("\"accepted\":1"));
    assert_eq!(http(web, "POST /command", "state unconfigured\n"), (200, "ok\n".into()));
    assert!(talk.ask("MAIL FROM:<>").starts_with("250"));
    assert!(talk.ask("RCPT TO:<probe@example.com>").starts_with("550 5.7.54"));
    let (status, text) = http(web, "POST /command", "disk 200%\n");
    assert!(status == 400 && text.contains("for example: disk 95%"), "{text}");
}

#[test]
fn reports_go_out_through_the_send_connector() {
    let home = Background::start(options("domain box.example.net\nprobe a@box.example.net")).unwrap();
    let away = Options { send_connector: Some(home.address()), ..options("directory empty") };
    let model = Background::start(away).unwrap();
    let mut talk = Talk::connect(model.address());
    talk.reply();
    for line in [
        "EHLO a",
        "MAIL FROM:<a@box.example.net>",
        "RCPT TO:<ann@example.com>",
        "DATA",
        "Subject: x\r\n\r\n.",
    ] {
        talk.ask(line);
    }
    wait_until("the report is there", || home.with(|server| server.deliveries().len()) == 1);
    let report = home.with(|server| server.deliveries()[0].clone());
    assert_eq!((report.mailbox.as_str(), report.from.as_str()), ("a@box.example.net", ""));
    assert!(String::from_utf8_lossy(&report.kept).contains("Status: 5.1.10"));
}

#[test]
fn the_program_serves_tells_and_sums_up() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_exchange-model"))
        .args(["--listen", "127.0.0.1:0", "--speed", "100", "--seed", "5", "--every", "5s"])
        .args([
            "--set",
            "idle 300d",
            "--set",
            "session 300d",
            "--set",
            "at 1s capacity 20",
            "--until-delivered",
            "1",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let first = lines.next().unwrap();
    let address = first.strip_prefix("listening on ").and_then(|rest| rest.split(',').next()).unwrap();
    assert!(first.contains("seed 5"), "{first}");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"disk 1000%\ncapacity 30\n").unwrap();
    let mut said = lines.by_ref().filter(|line| line.starts_with("error") || line == "ok");
    assert!(said.next().unwrap().contains("for example: disk 95%"));
    assert_eq!(said.next().unwrap(), "ok");
    let mut talk = Talk::connect(address.parse().unwrap());
    talk.reply();
    for line in ["EHLO a", "MAIL FROM:<>", "RCPT TO:<ann@example.com>", "DATA", "Subject: x\r\n\r\n."] {
        talk.ask(line);
    }
    let rest: Vec<String> = lines.collect();
    let summary: serde_json::Value = serde_json::from_str(rest.last().unwrap()).unwrap();
    assert_eq!((&summary["accepted"], &summary["delivered"]), (&1.into(), &1.into()));
    assert_eq!(summary["replies"]["354"], 1);
    assert!(child.wait().unwrap().success());
}

/// As Exim does.
#[test]
fn a_client_that_ends_its_direction_behind_the_final_dot_still_gets_its_answer() {
    let exchange = Background::start(options("commit 60s")).unwrap();
    let mut talk = Talk::connect(exchange.address());
    talk.reply();
    for line in ["EHLO a", "MAIL FROM:<>", "RCPT TO:<ann@example.com>", "DATA"] {
        talk.ask(line);
    }
    talk.stream.write_all(b"Subject: x\r\n\r\n.\r\nQUIT\r\n").unwrap();
    talk.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(talk.reply().starts_with("250 2.6.0"));
    assert!(talk.reply().starts_with("221"));
    assert_eq!(talk.reply(), "");
}

#[test]
fn a_scenario_that_is_wrong_is_refused_before_anything_starts() {
    let wrong = Options { scenario: "capacity 20\n\nat 90s disk much\n".to_owned(), ..options("") };
    let error = Background::start(wrong).unwrap_err().to_string();
    assert!(error.starts_with("line 3: 'disk' needs other words"), "{error}");
    let output =
        Command::new(env!("CARGO_BIN_EXE_exchange-model")).args(["--set", "dance"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no command 'dance'"));
}
