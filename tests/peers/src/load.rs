//! Clients that send a lot of mail.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use crate::client::{Client, stuffed};
use crate::content::{Content, Digester};
use crate::process::Process;
use crate::random::Random;

/// One run of Postfix's `smtp-source`.
#[derive(Clone, Debug)]
pub struct Source {
    /// Connections at the same time.
    pub sessions: u32,
    /// Messages in all.
    pub messages: u32,
    /// The length of each body in bytes.
    pub len_bytes: u32,
    /// Recipients of each message.
    pub recipients: u32,
    /// Keep connections open from one message to the next.
    pub keep_open: bool,
}

impl Source {
    /// The command that sends this to a server.
    pub fn command(&self, to: SocketAddr) -> Command {
        let mut command = Command::new("smtp-source");
        if self.keep_open {
            command.arg("-d");
        }
        command
            // A recipient of its own for each session, as a site's mail has.
            .arg("-N")
            .args(["-s", &self.sessions.to_string(), "-m", &self.messages.to_string()])
            .args(["-l", &self.len_bytes.to_string(), "-r", &self.recipients.to_string()])
            .args(["-f", "sender@example.org", "-t", "someone@example.com", "-M", "client.example"])
            .arg(format!("inet:{to}"));
        command
    }

    /// Starts sending. That it ends badly when its server is killed is not worth a word.
    pub fn spawn(&self, to: SocketAddr) -> Process {
        Process::spawn(self.command(to).stdout(Stdio::null()).stderr(Stdio::null()))
    }
}

/// A message that no other one equals: lines of chance, some of them beginning with dots, some of eight bits, none
/// longer than SMTP allows.
pub fn random_message(random: &mut Random, len_bytes: usize) -> Vec<u8> {
    let mut message =
        format!("Subject: {:016x}\r\nFrom: <a@example.org>\r\n\r\n", random.bits()).into_bytes();
    while message.len() < len_bytes {
        let line_len = random.within(0..990);
        if random.within(0..4) == 0 {
            message.push(b'.');
        }
        for _ in 0..line_len / 8 {
            // Any byte but NUL, CR and LF.
            message.extend(
                random.bits().to_le_bytes().map(|byte| if matches!(byte, 0 | 10 | 13) { b'x' } else { byte }),
            );
        }
        message.extend_from_slice(b"\r\n");
    }
    message
}

/// Sends one message of this many MiB, never two equal lines in it, and returns what it is.
pub fn send_big_message(to: SocketAddr, len_mib: u32) -> Content {
    let mut random = Random::announced();
    let mut digester = Digester::after_fields(0);
    let mut client = Client::connect(to);
    client.send(b"EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n");
    (0..4).for_each(|_| drop(client.reply()));
    for _ in 0..len_mib * 16 {
        let mut block = Vec::with_capacity(64 * 1024);
        while block.len() < 64 * 1024 {
            block.extend_from_slice(format!("{:016x}", random.bits()).repeat(32).as_bytes());
            let end = block.len();
            block[end - 2..].copy_from_slice(b"\r\n");
        }
        digester.update(&block);
        client.send(&block);
    }
    client.send(b".\r\n");
    let reply = client.reply();
    assert_eq!(reply.code, 250, "{reply:?}");
    digester.finish().1
}

/// Sends messages of chance until the server is gone or `messages` were sent.
pub fn send_random(to: SocketAddr, seed: u64, messages: u32, len_bytes_max: u64) {
    let mut random = Random::seeded(seed);
    let Some(mut client) = Client::try_connect(to) else { return };
    if !client.try_send(b"EHLO client.example\r\n") || client.try_reply().is_none() {
        return;
    }
    for _ in 0..messages {
        let recipients: Vec<String> =
            (0..random.within(1..5)).map(|n| format!("r{n}-{:x}@example.com", random.bits())).collect();
        let len_bytes = random.within(1..len_bytes_max) as usize;
        let message = stuffed(&random_message(&mut random, len_bytes));
        let mut step =
            |bytes: &[u8]| client.try_send(bytes) && client.try_reply().is_some_and(|reply| reply.code < 400);
        let sent = step(b"MAIL FROM:<sender@example.org> BODY=8BITMIME\r\n")
            && recipients.iter().all(|to| step(format!("RCPT TO:<{to}>\r\n").as_bytes()))
            && step(b"DATA\r\n")
            && step(&message);
        if !sent {
            return;
        }
    }
}
