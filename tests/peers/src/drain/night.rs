//! A rebuild night: the server dies, comes back as somebody else, forgets who works here, and is well in the morning.
//! Mail comes all the while. What becomes of it is the question.

use std::collections::{BTreeMap, BTreeSet};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::backlog::{self, Mail};
use super::site::{Place, Site};
use super::spool::{Kind, Spool};
use crate::client::Client;
use crate::sink::Sink;

/// The evening, as the model is told it. Times are hours after the server died.
const EVENING: [(&str, u64, &[&str]); 6] = [
    ("the server is down", 0, &["state down"]),
    (
        "rebuilt, and not yet configured: 550 5.7.54",
        2,
        &["identity rebuilt.example.com", "state unconfigured"],
    ),
    ("configured; the directory is empty behind 250", 3, &["directory empty", "dismount DB2", "state ok"]),
    ("the directory is back; a third of the mailboxes is not", 4, &["directory full"]),
    ("all databases are mounted", 7, &["mount DB2"]),
    ("no more mail is sent; an operator confirms the server to who asks for that", 8, &[]),
];
/// When the night ends whatever is still to come, in hours: longer after the last mail than any back-off.
const OVER_H: u64 = 13;
const HOUR_MS: u64 = 3_600_000;
/// A message comes this often.
const EVERY_MS: u64 = 30_000;
/// A client that is put off comes back after this.
const AGAIN_AFTER_MS: u64 = 300_000;
const LOOK_EVERY: Duration = Duration::from_millis(5);
const TELL_EVERY: Duration = Duration::from_secs(15);

/// What became of one night's mail. Each message has one recipient.
#[derive(Clone, Debug)]
pub struct Night {
    kind: Kind,
    speed: u32,
    /// How many were sent.
    messages: u64,
    /// In the mailbox, once.
    delivered_once: u64,
    /// In the mailbox more often, or sent again and suppressed by the server.
    again: u64,
    /// Refused to the client for good.
    refused: u64,
    /// Sent back to the sender by the spool.
    bounced: u64,
    /// Taken by the server with 250, and reported undeliverable after that.
    reported_after_250: u64,
    /// Still in the spool.
    kept: u64,
    /// Of the server, when the last one came to lie in its mailbox: hours after it died.
    last_h: f64,
    /// None of these.
    lost: u64,
}

impl Night {
    /// As one JSON object.
    pub fn to_json(&self) -> Value {
        let (spool, knows) = self.kind.sender_and_knowledge();
        json!({
            "spool": spool,
            "knows": knows,
            "speed": self.speed,
            "messages": self.messages,
            "delivered_once": self.delivered_once,
            "again": self.again,
            "refused": self.refused,
            "bounced": self.bounced,
            "reported_after_250": self.reported_after_250,
            "kept": self.kept,
            "lost": self.lost,
            "last_h": (self.last_h * 100.0).round() / 100.0,
        })
    }

    /// The head of the table for people.
    pub fn header() -> String {
        format!(
            "{:<18} {:>8} {:>14} {:>6} {:>8} {:>8} {:>19} {:>5} {:>5} {:>9}",
            "spool",
            "messages",
            "delivered once",
            "again",
            "refused",
            "bounced",
            "reported after 250",
            "kept",
            "lost",
            "last at h"
        )
    }

    /// A line of it.
    pub fn line(&self) -> String {
        format!(
            "{:<18} {:>8} {:>14} {:>6} {:>8} {:>8} {:>19} {:>5} {:>5} {:>9.2}",
            self.kind.name(),
            self.messages,
            self.delivered_once,
            self.again,
            self.refused,
            self.bounced,
            self.reported_after_250,
            self.kept,
            self.lost,
            self.last_h
        )
    }
}

/// The evening for people.
pub fn programme() -> String {
    EVENING.iter().map(|(what, at_h, _)| format!("{at_h:>3} h  {what}\n")).collect()
}

/// Lives through a night with a spool of this kind. `tell` hears how far it is.
pub fn live_through(kind: Kind, speed: u32, tell: &impl Fn(&str)) -> Night {
    // Who sent the mail, and is told where it cannot be delivered.
    let senders = Sink::start(0, 0);
    let place = Place::free();
    let mut spool = Spool::start(kind, place, speed, 512 * 1024 * 1024);
    spool.tell_senders_at(senders.address());
    spool.prepare();
    let mut evening: String = EVENING
        .iter()
        .flat_map(|(_, at_h, commands)| commands.iter().map(move |command| (at_h, command)))
        .map(|(at_h, command)| format!("at {at_h}h {command}\n"))
        .collect();
    evening.push_str(&kind.site_commands());
    let site = Site::start(place, speed, &evening, spool.reports_to());
    spool.let_go();

    let mut clients = Clients::default();
    let (mut seen, mut told, mut confirmed) = (0, Instant::now(), false);
    let mut arrived: BTreeMap<u32, u64> = BTreeMap::new();
    let (mut last_ms, mut again) = (0, 0);
    let stop_ms = EVENING[EVENING.len() - 1].1 * HOUR_MS;
    loop {
        let now_ms = site.now_ms();
        if now_ms < stop_ms {
            clients.send_due(&spool, now_ms);
        } else {
            if !confirmed {
                spool.confirm(kind);
                confirmed = true;
            }
            clients.send_again(&spool, now_ms);
        }
        let (new, all) = site.seen_after(seen);
        seen = all;
        for copy in new {
            let times = arrived.entry(copy.number).or_default();
            *times += 1;
            again += u64::from(*times > 1);
            last_ms = copy.delivered_ms;
        }
        let reported = site.reported();
        let settled = arrived.len() + reported.len() + senders.count() + clients.refused.len();
        let is_over = now_ms >= stop_ms && clients.waiting.is_empty() && settled >= clients.taken();
        if is_over || now_ms > OVER_H * HOUR_MS {
            break;
        }
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            tell(&format!("{} sent, {} sent back; {}", clients.next, senders.count(), site.status_line()));
        }
        sleep(LOOK_EVERY);
    }
    // What was reported may also have been delivered, at another attempt; and what is reported is told only once.
    let reported: BTreeSet<u32> =
        site.reported().into_iter().filter(|number| !arrived.contains_key(number)).collect();
    let messages = u64::from(clients.next);
    let delivered = arrived.len() as u64;
    let delivered_once = arrived.values().filter(|times| **times == 1).count() as u64;
    let (refused, bounced, kept) = (clients.refused.len() as u64, senders.count() as u64, spool.queued());
    let accounted =
        delivered + reported.len() as u64 + refused + bounced + kept + clients.waiting.len() as u64;
    let suppressed = site.summary()["duplicates_suppressed"].as_u64().unwrap_or(0);
    Night {
        kind,
        speed,
        messages,
        delivered_once,
        again: again + suppressed,
        refused,
        bounced,
        reported_after_250: reported.len() as u64,
        kept,
        last_h: last_ms as f64 / HOUR_MS as f64,
        lost: messages.saturating_sub(accounted),
    }
}

/// Those who send mail to the site, a message each.
#[derive(Default)]
struct Clients {
    /// How many have begun.
    next: u32,
    /// Who was put off comes back at this time.
    waiting: Vec<(u64, u32)>,
    /// Who was refused for good.
    refused: Vec<u32>,
}

impl Clients {
    fn taken(&self) -> usize {
        self.next as usize - self.waiting.len()
    }

    fn send_due(&mut self, spool: &Spool, now_ms: u64) {
        while u64::from(self.next) * EVERY_MS <= now_ms {
            let number = self.next;
            self.next += 1;
            self.send(spool, number, now_ms);
        }
        self.send_again(spool, now_ms);
    }

    fn send_again(&mut self, spool: &Spool, now_ms: u64) {
        let (due, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(at_ms, _)| *at_ms <= now_ms);
        self.waiting = waiting;
        let due: Vec<(u64, u32)> = due;
        due.into_iter().for_each(|(_, number)| self.send(spool, number, now_ms));
    }

    fn send(&mut self, spool: &Spool, number: u32, now_ms: u64) {
        let mail = Mail::numbered(number);
        let send = || {
            let mut client = Client::try_connect(spool.address())?;
            client.ask("EHLO client.example");
            let text = backlog::text(&backlog::message_id("backlog", number), mail.len_bytes);
            let code = client.message("a@client.example", &[&mail.to[0]], &text).code;
            client.ask("QUIT");
            Some(code)
        };
        match send() {
            Some(250) => {}
            Some(500..) => self.refused.push(number),
            _ => self.waiting.push((now_ms + AGAIN_AFTER_MS, number)),
        }
    }
}
