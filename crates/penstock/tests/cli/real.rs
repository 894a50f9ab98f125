//! The commands against the real daemon, with nobody at the other end of its next hop.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::fake::{Ran, penstock, run};

/// A hang is not waited for longer than this.
const HANG: Duration = Duration::from_secs(60);
const TEXT: &str = "Subject: hello\r\n\r\nworld\r\n";

pub(crate) struct Appliance {
    pub(crate) dir: TempDir,
    smtp: SocketAddr,
    child: Child,
}

/// An address on which nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Appliance {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (smtp, next_hop) = (free_address(), free_address());
        let here = dir.path().display();
        let settings = format!(
            "\
[system]
hostname = \"mx.example.org\"
control_socket = \"{here}/control.sock\"
[dns]
servers = [\"127.0.0.1:9\"]
[volume]
path = \"{here}/volume\"
size = \"64MiB\"
segment_size = \"1MiB\"
[listen]
addresses = [\"{smtp}\"]
size_max = \"1MiB\"
[domains]
accepted = [\"example.org\"]
[[next_hop]]
name = \"exchange\"
address = \"{next_hop}\"
"
        );
        fs::write(dir.path().join("settings.toml"), settings).unwrap();
        let child = Self::start(&dir);
        let it = Self { dir, smtp, child };
        it.wait_until_ready();
        it
    }

    fn start(dir: &TempDir) -> Child {
        let log = fs::OpenOptions::new().create(true).append(true).open(dir.path().join("log")).unwrap();
        Command::new(env!("CARGO_BIN_EXE_penstock"))
            .args(["serve", "--settings"])
            .arg(dir.path().join("settings.toml"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    fn wait_until_ready(&self) {
        let begun = Instant::now();
        while self.run(&["status"]).exit != Some(0) {
            assert!(begun.elapsed() < HANG, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and whatever it exits with.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }

    pub(crate) fn restart(&mut self) {
        assert_eq!(self.stop(), Some(0), "{}", self.log());
        self.restart_stopped();
    }

    pub(crate) fn restart_stopped(&mut self) {
        self.child = Self::start(&self.dir);
        self.wait_until_ready();
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&self.socket(), args)
    }

    fn queue(&self) -> serde_json::Value {
        self.run(&["queue", "--json"]).json()
    }

    /// Hands in a message and has its name.
    pub(crate) fn hand_in(&self, recipient: &str) -> String {
        let stream = TcpStream::connect(self.smtp).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        let mut replies = BufReader::new(stream.try_clone().unwrap());
        let mut dialogue = stream;
        let mut say = |line: &str, code: &str| {
            dialogue.write_all(line.as_bytes()).unwrap();
            loop {
                let mut reply = String::new();
                replies.read_line(&mut reply).unwrap();
                assert!(reply.starts_with(code), "{line:?} → {reply:?}");
                if reply.as_bytes()[3] == b' ' {
                    return;
                }
            }
        };
        say("", "220");
        say("EHLO client.example.com\r\n", "250");
        say("MAIL FROM:<bob@example.com>\r\n", "250");
        say(&format!("RCPT TO:<{recipient}>\r\n"), "250");
        say("DATA\r\n", "354");
        say(&format!("{TEXT}.\r\n"), "250");
        say("QUIT\r\n", "221");
        let rows = self.queue()["rows"].clone();
        rows.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn mail_that_came_in_is_listed_shown_exported_and_removed_with_every_step_in_the_ledger() {
    let mut the_box = Appliance::new();
    let first = the_box.hand_in("mia@example.org");
    let second = the_box.hand_in("ann@example.org");
    assert_ne!(first, second);

    let row = &the_box.run(&["queue", "--address", "MIA@", "--json"]).json()["rows"][0];
    assert_eq!((&row["id"], &row["sender"]), (&json!(first), &json!("bob@example.com")));
    let shown = the_box.run(&["show", &first, "--json"]).json();
    assert_eq!(shown["recipient_list"][0]["address"], "mia@example.org");
    assert_eq!(shown["helo"], "client.example.com");

    let path = the_box.dir.path().join("first.eml");
    let export = ["export", &first, "--reason", "Mia asked", "-o", path.to_str().unwrap(), "--json"];
    let exported = the_box.run(&export).json();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("Received: ") && text.ends_with(TEXT), "{text}");
    assert_eq!((&exported["size_bytes"], &exported["sha256"]), (&json!(text.len()), &shown["sha256"]));

    the_box.run(&["remove", &second, "--reason", "spam"]).printed();
    let again = the_box.run(&["remove", &second, "--reason", "spam"]);
    assert_eq!(again.exit, Some(1), "{again:?}");
    let ids: Vec<_> =
        the_box.queue()["rows"].as_array().unwrap().iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, [json!(first)]);

    the_box.restart();
    assert_eq!(the_box.queue()["messages"], 1);
    let ledger = |id: &str, kind: &str, words: &str| {
        let page = the_box.run(&["events", "--message", id, "--kind", kind, "--json"]).json();
        let events = page["events"].as_array().unwrap();
        assert_eq!(events.len(), 1, "{page}");
        assert!(events[0]["text"].as_str().unwrap().contains(words), "{page}");
    };
    ledger(&first, "exported", "Mia asked");
    ledger(&second, "removed", "spam");
}

#[test]
fn a_hold_outlives_a_restart_with_who_and_why() {
    let mut the_box = Appliance::new();
    the_box.run(&["hold", "--reason", "restoring"]).printed();
    the_box.restart();
    let mode = the_box.run(&["status", "--json"]).json()["mode"].clone();
    assert_eq!((&mode["mode"], &mode["reason"]), (&json!("hold"), &json!("restoring")));
    assert!(mode["by"].is_string(), "{mode}");
    the_box.run(&["release"]).printed();
    assert_eq!(the_box.run(&["status", "--json"]).json()["mode"]["mode"], "auto");
}

#[test]
fn on_a_host_the_settings_are_shown_and_changed_in_their_file() {
    let the_box = Appliance::new();
    let file = the_box.dir.path().join("settings.toml");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(the_box.run(&["settings", "export"]).printed(), text);
    let ran = the_box.run(&["settings", "import", file.to_str().unwrap()]);
    assert_eq!(ran.exit, Some(1));
    assert!(ran.stderr.contains("PS-D245") && ran.stderr.contains(file.to_str().unwrap()), "{ran:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let events = the_box.run(&["events", "--kind", "settings", "--json"]).json();
    assert_eq!(events["events"], json!([]), "nothing was tried");
}

#[test]
fn status_tells_of_mail_that_waits_for_a_next_hop_that_is_not_there() {
    let the_box = Appliance::new();
    the_box.hand_in("mia@example.org");
    let status = the_box.run(&["status"]);
    let text = status.printed();
    assert!(text.contains("Mail      safe: 1 message, "), "{text}");
    assert!(text.contains("1 message ("), "{text}");
    let hop = the_box.run(&["status", "--json"]).json()["hops"][0].clone();
    assert_eq!((&hop["name"], &hop["takes_mail"]), (&json!("exchange"), &json!(false)), "{hop}");
}

#[test]
fn a_second_daemon_and_wrong_settings_are_refused_with_a_code() {
    let the_box = Appliance::new();
    let serve = |settings: &str| -> Ran {
        penstock(&the_box.socket()).args(["serve", "--settings", settings]).output().unwrap().into()
    };
    let path = the_box.dir.path().join("settings.toml");
    let second = serve(path.to_str().unwrap());
    assert_eq!(second.exit, Some(1), "{second:?}");
    assert!(second.stderr.contains("(PS-"), "{second:?}");
    the_box.run(&["status"]).printed();

    let wrong = the_box.dir.path().join("wrong.toml");
    fs::write(&wrong, "[sytem]\n").unwrap();
    let refused = serve(wrong.to_str().unwrap());
    assert_eq!(refused.exit, Some(1));
    assert!(refused.stderr.contains("PS-C04 line 1"), "{refused:?}");
}
