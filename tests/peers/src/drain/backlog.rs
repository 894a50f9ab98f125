//! The mail that has come while the server was away: mixed as real mail is, and the same for every sender.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use crate::client::Client;
use crate::random::Random;

/// Connections that bring it.
const CONNECTIONS: usize = 8;
/// Messages that one of them brings: servers end a session after so many (Exim: 1000).
const MESSAGES_PER_CONNECTION: u32 = 200;
/// Mailboxes that it goes to.
pub const MAILBOXES: u64 = 2000;
/// One message in so many is a big one.
const BIG_ONE_IN: u64 = 50;
const BIG_BYTES: usize = 1024 * 1024;
/// The others are between these, small ones more often: log-uniform.
const SMALL_BYTES_MIN: f64 = 4.0 * 1024.0;
const SMALL_BYTES_MAX: f64 = 40.0 * 1024.0;
/// One message in so many goes to several mailboxes, up to this many.
const SEVERAL_ONE_IN: u64 = 20;
const RECIPIENTS_MAX: u64 = 8;
/// What is drawn from must not depend on the run.
const SEED: u64 = 0x7065_6e73_746f_636b;

/// One message of a backlog.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Which one it is, from 0.
    pub number: u32,
    /// Its mailboxes, no two alike.
    pub to: Vec<String>,
    /// Its length in bytes.
    pub len_bytes: usize,
}

impl Mail {
    /// The message of this number; always the same one.
    pub fn numbered(number: u32) -> Self {
        let mut random = Random::seeded(SEED ^ u64::from(number).wrapping_mul(0x9e37_79b9));
        let recipients =
            if random.within(0..SEVERAL_ONE_IN) == 0 { random.within(2..RECIPIENTS_MAX + 1) } else { 1 };
        let first = random.within(0..MAILBOXES);
        let to = (0..recipients).map(|n| format!("user{}@example.com", (first + n) % MAILBOXES)).collect();
        let len_bytes = if random.within(0..BIG_ONE_IN) == 0 {
            BIG_BYTES
        } else {
            let share = random.within(0..1_000_000) as f64 / 1e6;
            (SMALL_BYTES_MIN * (SMALL_BYTES_MAX / SMALL_BYTES_MIN).powf(share)) as usize
        };
        Self { number, to, len_bytes }
    }

    /// Its text.
    fn text(&self) -> Vec<u8> {
        text(&message_id("backlog", self.number), self.len_bytes)
    }
}

/// The Message-ID of a message of a kind.
pub fn message_id(kind: &str, number: u32) -> String {
    format!("<{kind}-{number}@client.example>")
}

/// Kind and number of a message, from its Message-ID.
pub fn kind_and_number(message_id: &str) -> Option<(&str, u32)> {
    let name = message_id.strip_prefix('<')?.strip_suffix("@client.example>")?;
    let (kind, number) = name.rsplit_once('-')?;
    Some((kind, number.parse().ok()?))
}

/// A message with this Message-ID, about so long.
pub fn text(message_id: &str, len_bytes: usize) -> Vec<u8> {
    let mut text = format!(
        "Message-ID: {message_id}\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\nFrom: <a@client.example>\r\n\
         To: <undisclosed@example.com>\r\nSubject: {message_id}\r\n\r\n"
    )
    .into_bytes();
    let line = [b"0123456789abcdef".repeat(4).as_slice(), b"\r\n"].concat();
    while text.len() + line.len() <= len_bytes {
        text.extend_from_slice(&line);
    }
    text
}

/// Sends messages 0 to `messages` to a server, which must take each. `told` hears how many it has, now and then.
pub fn submit(to: SocketAddr, messages: u32, told: &(impl Fn(u32) + Sync)) {
    let next = AtomicU32::new(0);
    thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(MESSAGES_PER_CONNECTION, Ordering::Relaxed);
                    if first >= messages {
                        break;
                    }
                    let mut client = Client::connect(to);
                    client.ask("EHLO client.example");
                    for number in first..messages.min(first + MESSAGES_PER_CONNECTION) {
                        let mail = Mail::numbered(number);
                        let recipients: Vec<&str> = mail.to.iter().map(String::as_str).collect();
                        let reply = client.message("a@client.example", &recipients, &mail.text());
                        assert_eq!(reply.code, 250, "message {number}: {reply:?}");
                    }
                    client.ask("QUIT");
                    told(first);
                }
            });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_mixed_as_real_mail_is() {
        let all: Vec<Mail> = (0..10_000).map(Mail::numbered).collect();
        let big = all.iter().filter(|mail| mail.len_bytes == BIG_BYTES).count();
        assert!((100..300).contains(&big), "{big} of 1 MiB");
        let others = all.iter().filter(|mail| mail.len_bytes != BIG_BYTES);
        assert!(others.clone().all(|mail| (4096..=40_960).contains(&mail.len_bytes)));
        let several = all.iter().filter(|mail| mail.to.len() > 1).count();
        assert!((300..700).contains(&several), "{several} to several mailboxes");
        assert!(all.iter().all(|mail| {
            let mut to = mail.to.clone();
            to.sort();
            to.dedup();
            to.len() == mail.to.len()
        }));
        assert_eq!(all[7].to, Mail::numbered(7).to, "the same every time");
    }

    #[test]
    fn a_message_is_known_by_its_id() {
        assert_eq!(kind_and_number(&message_id("backlog", 7)), Some(("backlog", 7)));
        assert_eq!(kind_and_number("<report-7@exchange.example.com>"), None);
    }
}
