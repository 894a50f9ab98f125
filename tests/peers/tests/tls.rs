//! TLS with the software that people use: what clients are shown and what that protects, and what happens when a next hop
//! shows another certificate than before.

#![allow(missing_docs, clippy::unwrap_used)]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use penstock_exchange::real::{Background, Options};
use penstock_peers::client::Client;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::postfix::{Postfix, Role};
use penstock_peers::process::{run, wait_until};
use penstock_peers::scratch::Scratch;
use penstock_peers::sink::Sink;

fn exchange(scenario: &str) -> Background {
    let options = Options {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        http: None,
        send_connector: None,
        speed: 20.0,
        seed: 1,
        epoch_s: 1_700_000_000,
        scenario: scenario.to_owned(),
    };
    Background::start(options).unwrap()
}

fn submit(daemon: &Daemon, subject: &str) {
    let mut client = Client::connect(daemon.address());
    client.ask("EHLO client.example");
    let message = format!("Message-ID: <{subject}@client.example>\r\n\r\n{subject}\r\n");
    assert_eq!(client.message("a@client.example", &["ann@example.com"], message.as_bytes()).code, 250);
}

fn delivered(exchange: &Background) -> usize {
    exchange.with(|server| server.deliveries().len())
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Sends a message, and waits until it lies in its mailbox.
fn passes(daemon: &Daemon, exchange: &Background, subject: &str) {
    let before = delivered(exchange);
    submit(daemon, subject);
    wait_until("it arrives", || delivered(exchange) > before);
}

/// Other connections than those that there are.
fn anew(exchange: &Background, command: &str) {
    exchange.command(command).unwrap();
    exchange.command("restart 5s").unwrap();
}

#[test]
fn a_renewed_certificate_changes_nothing_and_another_one_holds_the_mail_until_somebody_accepts_it() {
    let exchange = exchange("certificate new");
    let mut daemon = Daemon::start(Settings::before(exchange.address()));
    passes(&daemon, &exchange, "first");
    assert!(daemon.metric("penstock_hop_connections_encrypted_total") >= 1);
    let first = daemon.tls()["hops"][0]["certificate"].clone();
    assert_eq!(text(&first["names"][0]), "exchange.example.com");

    anew(&exchange, "certificate renewed");
    passes(&daemon, &exchange, "second");
    let renewed = daemon.tls()["hops"][0]["certificate"].clone();
    assert_ne!(renewed["certificate_sha256"], first["certificate_sha256"]);
    assert_eq!(renewed["key_sha256"], first["key_sha256"]);

    anew(&exchange, "certificate new");
    submit(&daemon, "third");
    wait_until("it has to prove itself", || daemon.hop()["state"] == "unproven");
    assert!(text(&daemon.hop()["cause"]).contains("another certificate"), "{}", daemon.hop());
    // What is known outlives a restart.
    daemon.stop();
    daemon.up();
    wait_until("it still has to", || daemon.hop()["state"] == "unproven");
    assert_eq!(delivered(&exchange), 2);
    daemon.accept_certificate();
    wait_until("the third arrives", || delivered(&exchange) == 3);
    assert_eq!(daemon.alerts(), Vec::<String>::new());
    passes(&daemon, &exchange, "fourth");
}

#[test]
fn a_pinned_certificate_lets_nothing_pass_to_another_until_that_is_accepted() {
    let exchange = exchange("certificate new");
    let settings = Settings::before(exchange.address()).set("next_hop.tls", "\"pinned\"");
    let daemon = Daemon::start(settings);
    passes(&daemon, &exchange, "first");
    anew(&exchange, "certificate new");
    submit(&daemon, "second");
    wait_until("it is told", || daemon.alerts().contains(&"PS-D404".to_owned()));
    let shown = daemon.tls()["hops"][0].clone();
    assert_ne!(shown["unpinned"]["key_sha256"], shown["certificate"]["key_sha256"]);
    assert_eq!(delivered(&exchange), 1);
    daemon.accept_certificate();
    wait_until("the second arrives", || delivered(&exchange) == 2);
}

#[test]
fn without_tls_mail_goes_in_plain_text_and_says_so_or_waits_where_tls_is_required() {
    for (wants, alert) in [("opportunistic", "PS-D403"), ("required", "PS-D406")] {
        let exchange = exchange("certificate broken");
        let settings = Settings::before(exchange.address()).set("next_hop.tls", &format!("\"{wants}\""));
        let daemon = Daemon::start(settings);
        submit(&daemon, "first");
        wait_until("it is told", || daemon.alerts().contains(&alert.to_owned()));
        if wants == "opportunistic" {
            wait_until("it arrives all the same", || delivered(&exchange) == 1);
        } else {
            assert_eq!(delivered(&exchange), 0);
            exchange.command("certificate new").unwrap();
            wait_until("it arrives with TLS", || delivered(&exchange) == 1);
            assert!(daemon.metric("penstock_hop_connections_encrypted_total") >= 1);
        }
    }
}

#[test]
fn swaks_and_postfix_send_encrypted_and_the_trace_says_so() {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(Settings::before(sink.address()));
    let server = daemon.address().to_string();
    let mut swaks = Command::new("swaks");
    swaks.args(["--server", &server, "--tls", "--from", "a@client.example", "--to", "b@example.com"]);
    let said = String::from_utf8(run(&mut swaks)).unwrap();
    assert!(said.contains("TLS started with cipher"), "{said}");
    wait_until("it arrives", || sink.count() == 1);
    assert!(sink.deliveries()[0].trace.contains("with ESMTPS id"), "{}", sink.deliveries()[0].trace);

    let postfix = Postfix::start_with(Role::Relay(daemon.address()), "smtp_tls_security_level = encrypt\n");
    let mut client = Client::connect(postfix.address());
    client.ask("EHLO client.example");
    assert_eq!(client.message("a@client.example", &["b@example.com"], b"Subject: x\r\n\r\nx\r\n").code, 250);
    wait_until("it arrives", || sink.count() == 2);
    assert_eq!(daemon.metric("penstock_sessions_encrypted_total"), 2);
}

/// What a Python client sees that sends a command behind STARTTLS in plain text.
const INJECTION: &str = "
import socket, ssl, sys
plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
def reply(stream):
    text = b''
    while not any(line[3:4] == b' ' for line in text.split(b'\\r\\n') if len(line) > 3):
        more = stream.recv(4096)
        if not more: break
        text += more
    return text.decode()
reply(plain)
plain.sendall(b'EHLO a.example\\r\\n'); reply(plain)
plain.sendall(b'STARTTLS\\r\\nMAIL FROM:<injected@example.org>\\r\\nRCPT TO:<b@example.com>\\r\\n')
assert reply(plain) == '220 2.0.0 Ready to start TLS\\r\\n' or True
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, sys.argv[2])
stream = context.wrap_socket(plain)
for line in ['RCPT TO:<b@example.com>', 'EHLO a.example', 'RCPT TO:<b@example.com>', 'STARTTLS', 'QUIT']:
    stream.sendall(line.encode() + b'\\r\\n')
    print(stream.version(), reply(stream).splitlines()[0])
";

#[test]
fn nothing_that_was_said_in_plain_text_survives_starttls() {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(Settings::before(sink.address()));
    for version in ["TLSv1_2", "TLSv1_3"] {
        let mut python = Command::new("python3");
        python.args(["-c", INJECTION, &daemon.address().port().to_string(), version]);
        let said = String::from_utf8(run(&mut python)).unwrap();
        let codes: Vec<&str> = said.lines().map(|line| &line[8..11]).collect();
        // No EHLO, an answer to it alone, no transaction, no second STARTTLS.
        assert_eq!(codes, ["503", "250", "503", "503", "221"], "{said}");
        assert!(said.starts_with(&version.replace('_', ".")), "{said}");
    }
}

#[test]
fn a_handshake_that_does_not_go_on_is_cut() {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(Settings::before(sink.address()).set("tls.handshake_timeout", "\"5s\""));
    let mut silent = Client::connect(daemon.address());
    silent.ask("EHLO client.example");
    assert_eq!(silent.ask("STARTTLS").code, 220);
    let mut nonsense = Client::connect(daemon.address());
    nonsense.ask("EHLO client.example");
    assert_eq!(nonsense.ask("STARTTLS").code, 220);
    nonsense.send(&[b'x'; 4096]);
    // Mail goes on meanwhile.
    submit(&daemon, "meanwhile");
    wait_until("it arrives", || sink.count() == 1);
    wait_until("nonsense is cut", || daemon.metric("penstock_handshakes_failed_total") >= 1);
    wait_until("silence is cut", || daemon.metric("penstock_handshakes_failed_total") == 2);
    assert_eq!(daemon.metric("penstock_sessions_open"), 0);
}

/// A certificate of its own making in the folder, as `openssl` makes it. Its SHA-256.
fn make_certificate(folder: &Scratch, name: &str) -> String {
    let path = |file: &str| folder.join(file).display().to_string();
    let (key, certificate) = (path("new.key"), path("new.pem"));
    let subject = format!("/CN={name}");
    run(Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args([
            "-days",
            "5",
            "-subj",
            &subject,
            "-addext",
            &format!("subjectAltName=DNS:{name}"),
            "-keyout",
            &key,
            "-out",
            &certificate,
        ]));
    // As a client of ACME does: the key first, each at once.
    fs::rename(&key, folder.join("mx.key")).unwrap();
    fs::rename(&certificate, folder.join("mx.pem")).unwrap();
    let mut digest = Command::new("openssl");
    digest.args(["x509", "-in", &path("mx.pem"), "-noout", "-fingerprint", "-sha256"]);
    fingerprint(&String::from_utf8(run(&mut digest)).unwrap())
}

fn fingerprint(said: &str) -> String {
    said.trim().rsplit('=').next().unwrap().replace(':', "").to_ascii_lowercase()
}

/// The SHA-256 of the certificate that a client is shown now.
fn shown(daemon: &Daemon) -> String {
    let fetch = format!(
        "openssl s_client -starttls smtp -connect {} </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256",
        daemon.address()
    );
    fingerprint(&String::from_utf8(run(Command::new("sh").args(["-c", &fetch]))).unwrap())
}

#[test]
fn a_certificate_file_that_changes_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let folder = Scratch::new("certificate");
    let first = make_certificate(&folder, "mx.example.com");
    let sink = Sink::start(0, 1);
    let path = |file: &str| format!("\"{}\"", folder.join(file).display());
    let settings = Settings::before(sink.address())
        .set("tls.certificate_file", &path("mx.pem"))
        .set("tls.key_file", &path("mx.key"));
    let daemon = Daemon::start(settings);
    assert_eq!(shown(&daemon), first);
    // Five days are less than seven.
    assert!(daemon.alerts().contains(&"PS-D401".to_owned()));
    let second = make_certificate(&folder, "mx.example.com");
    assert_ne!(second, first);
    wait_until("the new one is shown", || shown(&daemon) == second);
    fs::write(folder.join("mx.pem"), "rubbish").unwrap();
    wait_until("it is told", || daemon.alerts().contains(&"PS-D402".to_owned()));
    assert_eq!(shown(&daemon), second);
    let third = make_certificate(&folder, "mx.example.com");
    wait_until("the third is shown", || shown(&daemon) == third);
    assert!(!daemon.alerts().contains(&"PS-D402".to_owned()));
}

#[test]
fn a_certificate_that_was_given_to_the_box_outlives_a_restart() {
    let folder = Scratch::new("certificate");
    let sink = Sink::start(0, 1);
    let mut daemon = Daemon::start(Settings::before(sink.address()));
    let own = shown(&daemon);
    daemon.stop();
    daemon.up();
    assert_eq!(shown(&daemon), own, "so does the one that it made");
    let given = make_certificate(&folder, "mx.example.com");
    let pfx = folder.join("mx.pfx").display().to_string();
    let path = |file: &str| folder.join(file).display().to_string();
    run(Command::new("openssl")
        .args(["pkcs12", "-export", "-in", &path("mx.pem"), "-inkey", &path("mx.key"), "-passout"])
        .args(["pass:secret", "-out", &pfx]));
    fs::write(folder.join("password"), "secret\n").unwrap();
    daemon.install_certificate(&pfx, &path("password"));
    assert_eq!(shown(&daemon), given);
    daemon.kill();
    daemon.up();
    assert_eq!(shown(&daemon), given);
    assert_eq!(text(&daemon.tls()["origin"]), "installed");
}
