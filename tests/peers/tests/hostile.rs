//! Clients that break the rules by accident or on purpose: bounded memory and time, the right answer, and never a
//! message half accepted.

#![allow(missing_docs, clippy::unwrap_used)]

use std::thread;
use std::time::Duration;

use penstock_peers::client::{Client, stuffed};
use penstock_peers::content::Content;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::process::wait_until;
use penstock_peers::sink::Sink;

/// What one client may make the daemon hold, in KiB, with room for what the allocator keeps.
const ONE_CLIENT_KIB: u64 = 8 * 1024;

fn start(change: impl Fn(Settings) -> Settings) -> (Sink, Daemon) {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(change(Settings::before(sink.address())));
    (sink, daemon)
}

fn greeted(daemon: &Daemon) -> Client {
    let mut client = Client::connect(daemon.address());
    assert_eq!(client.ask("EHLO client.example").code, 250);
    client
}

/// The daemon still takes mail and passes it on, and nothing but this one message arrives.
fn assert_only_good_mail_arrives(daemon: &Daemon, sink: &Sink) {
    assert_eq!(greeted(daemon).message("good@example.org", &["b@example.com"], b"good\r\n").code, 250);
    wait_until("the good message has arrived", || sink.count() > 0);
    daemon.wait_until_empty();
    let senders: Vec<_> = sink.deliveries().into_iter().map(|delivery| delivery.from.address).collect();
    assert_eq!(senders, ["good@example.org"]);
}

#[test]
fn a_line_that_never_ends_is_refused_then_cut() {
    let (sink, daemon) = start(|settings| settings);
    let idle_kib = daemon.allocated_kib();
    let mut client = greeted(&daemon);
    let endless = [b'A'; 64 * 1024];
    let sent_at_most = 1024;
    let sent = (0..sent_at_most).take_while(|_| client.try_send(&endless)).count();
    assert!(sent < sent_at_most, "64 MiB of one line were taken");
    assert!(daemon.allocated_kib() < idle_kib + ONE_CLIENT_KIB);
    assert_only_good_mail_arrives(&daemon, &sink);
}

#[test]
fn a_message_line_that_never_ends_ends_at_the_size_limit() {
    let (sink, daemon) = start(|settings| settings.set("listen.size_max", "\"1MiB\""));
    let idle_kib = daemon.allocated_kib();
    let mut client = greeted(&daemon);
    client.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n");
    (0..3).for_each(|_| drop(client.reply()));
    let endless = [b'A'; 64 * 1024];
    let sent_at_most = 16 * 1024;
    let sent = (0..sent_at_most).take_while(|_| client.try_send(&endless)).count();
    assert!(sent < sent_at_most, "1 GiB was taken where 1 MiB is allowed");
    assert!(daemon.allocated_kib() < idle_kib + ONE_CLIENT_KIB);
    assert_only_good_mail_arrives(&daemon, &sink);
}

#[test]
fn a_client_that_trickles_is_cut() {
    let (sink, daemon) = start(|settings| {
        settings
            .set("listen.command_timeout", "\"10s\"")
            .set("listen.block_timeout", "\"10s\"")
            .set("listen.busy_timeout", "\"10s\"")
    });
    thread::scope(|scope| {
        // A byte every three seconds never lets the connection fall silent for long.
        let trickle = |mut client: Client| {
            while client.try_send(b"x") {
                thread::sleep(Duration::from_secs(3));
            }
        };
        let command = greeted(&daemon);
        let mut message = greeted(&daemon);
        message.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n");
        (0..3).for_each(|_| drop(message.reply()));
        scope.spawn(move || trickle(command));
        scope.spawn(move || trickle(message));
    });
    assert_only_good_mail_arrives(&daemon, &sink);
}

#[test]
fn recipients_beyond_the_limit_wait_for_another_transaction() {
    let (sink, daemon) = start(|settings| settings);
    let mut client = greeted(&daemon);
    assert_eq!(client.ask("MAIL FROM:<a@example.org>").code, 250);
    let codes: Vec<_> = (0..1500).map(|n| client.ask(&format!("RCPT TO:<r{n}@example.com>")).code).collect();
    assert!(codes[..1000].iter().all(|code| *code == 250));
    assert!(codes[1000..].iter().all(|code| *code == 452));
    assert_eq!(client.ask("DATA").code, 354);
    assert_eq!(client.ask("to a thousand\r\n.").code, 250);
    let recipients = || -> Vec<String> {
        sink.deliveries().into_iter().flat_map(|delivery| delivery.to).map(|path| path.address).collect()
    };
    wait_until("all have it", || recipients().len() >= 1000);
    daemon.wait_until_empty();
    let mut expected: Vec<_> = (0..1000).map(|n| format!("r{n}@example.com")).collect();
    let mut got = recipients();
    expected.sort();
    got.sort();
    assert_eq!(got, expected);
}

#[test]
fn ten_thousand_recipients_end_the_session() {
    let (sink, daemon) = start(|settings| settings);
    let idle_kib = daemon.allocated_kib();
    let mut client = greeted(&daemon);
    client.ask("MAIL FROM:<a@example.org>");
    let mut last = 0;
    for n in 0..10_000 {
        if !client.try_send(format!("RCPT TO:<r{n}@example.com>\r\n").as_bytes()) {
            break;
        }
        match client.try_reply() {
            Some(reply) => last = reply.code,
            None => break,
        }
    }
    assert_eq!(last, 421);
    assert!(daemon.allocated_kib() < idle_kib + ONE_CLIENT_KIB);
    assert_only_good_mail_arrives(&daemon, &sink);
}

#[test]
fn commands_with_control_characters_are_errors_and_do_nothing() {
    let (sink, daemon) = start(|settings| settings);
    let lines: [&[u8]; 5] = [
        b"MAIL FROM:<a\0b@example.org>\r\n",
        b"MAIL FROM:<a@example.org>\rRCPT TO:<b@example.com>\r\n",
        b"MAIL FROM:<a@example.org>\nRCPT TO:<b@example.com>\r\n",
        b"MAIL FROM:<a\x1bb@example.org>\r\n",
        b"\0\0\0\0\r\n",
    ];
    for line in lines {
        let mut client = greeted(&daemon);
        client.send(line);
        let reply = client.reply();
        assert_eq!(reply.code / 100, 5, "{}: {reply:?}", line.escape_ascii());
        assert_eq!(client.ask("RCPT TO:<b@example.com>").code, 503, "{}", line.escape_ascii());
    }
    assert_only_good_mail_arrives(&daemon, &sink);
}

/// What some servers take for the end of a message.
const ENDS: [&[u8]; 7] = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\n.\r"];

#[test]
fn nothing_but_crlf_dot_crlf_lets_a_second_message_in() {
    let (sink, daemon) = start(|settings| settings);
    for end in ENDS {
        let mut client = greeted(&daemon);
        client.send(b"MAIL FROM:<outer@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n");
        (0..3).for_each(|_| drop(client.reply()));
        let mut message = b"Subject: outer\r\n\r\nbody".to_vec();
        message.extend_from_slice(end);
        message.extend_from_slice(b"MAIL FROM:<smuggled@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n");
        message.extend_from_slice(b"Subject: smuggled\r\n\r\nbody\r\n.\r\n");
        client.send(&message);
        let reply = client.reply();
        assert_eq!(reply.code, 550, "{}: {reply:?}", end.escape_ascii());
        assert_eq!(client.ask("NOOP").code, 250, "one message, one reply: {}", end.escape_ascii());
    }
    assert_only_good_mail_arrives(&daemon, &sink);
}

#[test]
fn bare_newlines_of_a_device_that_is_listed_arrive_as_cr_lf() {
    let (sink, daemon) = start(|settings| settings.set("listen.bare_newlines_from", "[\"127.0.0.1\"]"));
    let message = b"Subject: old device\r\n\r\na\nb\rc\n.\nd\r\n";
    let normal = b"Subject: old device\r\n\r\na\r\nb\r\nc\r\n.\r\nd\r\n";
    assert_eq!(greeted(&daemon).message("a@example.org", &["b@example.com"], message).code, 250);
    wait_until("it has arrived", || sink.count() == 1);
    assert_eq!(sink.deliveries()[0].content, Content::of(normal));
}

#[test]
fn nuls_and_long_lines_in_a_message_arrive_as_they_came() {
    let (sink, daemon) = start(|settings| settings);
    let mut message = b"Subject: \0\r\n\r\n\0.\r\n\0\0\0\r\n".to_vec();
    message.extend_from_slice(&[b'x'; 100_000]);
    message.extend_from_slice(b"\r\n");
    assert_eq!(greeted(&daemon).message("a@example.org", &["b@example.com"], &message).code, 250);
    wait_until("it has arrived", || sink.count() == 1);
    assert_eq!(sink.deliveries()[0].content, Content::of(&message));
}

#[test]
fn a_connection_cut_at_any_byte_leaves_a_whole_message_or_none() {
    let (sink, daemon) = start(|settings| settings);
    let commands = b"EHLO x\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<c@example.com>\r\nDATA\r\n";
    let message = |n: usize| format!("Subject: {n:06}\r\n\r\n.dots\r\n..\r\nand an end\r\n").into_bytes();
    let whole = |n: usize| [&commands[..], &stuffed(&message(n)), b"QUIT\r\n"].concat();
    let complete = whole(0).len() - b"QUIT\r\n".len();
    for n in 0..=whole(0).len() {
        let mut client = Client::connect(daemon.address());
        let session = whole(n);
        client.send(&session[..n.min(commands.len())]);
        if n > commands.len() {
            // The message begins when the daemon asks for it.
            while client.reply().code != 354 {}
            client.send(&session[commands.len()..n]);
        }
        // Every other time the end is orderly; otherwise unread replies make it a reset.
        if n % 2 == 0 {
            client.finish_sending();
            while client.try_reply().is_some() {}
        }
    }
    assert_eq!(greeted(&daemon).message("a@example.org", &["last@example.com"], b"last\r\n").code, 250);
    wait_until("what was sent last has arrived", || {
        sink.deliveries().iter().any(|delivery| delivery.to[0].address == "last@example.com")
    });
    daemon.wait_until_empty();
    let arrived = sink.deliveries();
    for n in 0..=whole(0).len() {
        let content = Content::of(&message(n));
        let copies: Vec<_> = arrived.iter().filter(|delivery| delivery.content == content).collect();
        match copies[..] {
            [] => {
                let whole_and_in_order = n >= complete && n % 2 == 0;
                assert!(!whole_and_in_order, "{n}: sent whole, ended in order, and did not arrive");
            }
            [copy] => {
                assert!(n >= complete, "{n}: cut before its end, and arrived");
                assert_eq!(copy.to.len(), 2, "{n}: half its recipients");
            }
            _ => panic!("{n}: arrived {} times", copies.len()),
        }
    }
    let known: Vec<_> =
        (0..=whole(0).len()).map(|n| Content::of(&message(n))).chain([Content::of(b"last\r\n")]).collect();
    assert!(arrived.iter().all(|delivery| known.contains(&delivery.content)), "a message that nobody sent");
}
