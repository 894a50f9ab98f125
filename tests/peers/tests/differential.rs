//! The same bytes, given to the daemon, to Postfix and to Exim: the same messages are taken, for the same recipients,
//! byte for byte. Where that is not so it stands in `DIFFERENCES.md`, with what each does and why we do what we do.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::thread;

use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::exim::{Exim, Timers};
use penstock_peers::letter::without_trace;
use penstock_peers::postfix::{Postfix, Role};
use penstock_peers::process::{HANG_GUARD, wait_until};
use penstock_peers::random::Random;
use penstock_peers::sink::{Sink, Traits};

/// What a client sends before and after what is tried. `#` is the number of the dialogue, so that each has addresses of
/// its own.
const HELLO: &str = "EHLO client.example\r\n";
const MAIL: &str = "MAIL FROM:<s#@example.org>\r\n";
const RCPT: &str = "RCPT TO:<r#@example.com>\r\n";
const HEAD: &str =
    "Subject: #\r\nMessage-ID: <#@client.example>\r\nDate: Thu, 01 Jan 2026 00:00:00 +0000\r\n\r\n";

/// Dialogues with one thing in them that is not quite as usual.
fn oddities() -> Vec<(&'static str, Vec<u8>)> {
    // Envelopes, each with an ordinary message.
    let envelope = |hello: &str, mail: &str, rcpt: &str, data: &str| {
        format!("{hello}{mail}{rcpt}{data}{HEAD}body\r\n.\r\nQUIT\r\n").into_bytes()
    };
    let mail = |mail: &str| envelope(HELLO, &format!("MAIL {mail}\r\n"), RCPT, "DATA\r\n");
    let rcpt = |rcpt: &str| envelope(HELLO, MAIL, &format!("RCPT {rcpt}\r\n"), "DATA\r\n");
    // Messages in an ordinary envelope.
    let message = |message: &[u8]| {
        [format!("{HELLO}{MAIL}{RCPT}DATA\r\n").as_bytes(), message, b"\r\n.\r\nQUIT\r\n"].concat()
    };
    let body = |body: &[u8]| message(&[HEAD.as_bytes(), body].concat());
    let long = "x".repeat(1500);
    vec![
        ("HELO", envelope("HELO client.example\r\n", MAIL, RCPT, "DATA\r\n")),
        ("no HELO or EHLO", envelope("", MAIL, RCPT, "DATA\r\n")),
        ("EHLO without a name", envelope("EHLO\r\n", MAIL, RCPT, "DATA\r\n")),
        ("EHLO with an address literal", envelope("EHLO [192.0.2.1]\r\n", MAIL, RCPT, "DATA\r\n")),
        ("EHLO with an underscore", envelope("EHLO a_b\r\n", MAIL, RCPT, "DATA\r\n")),
        ("EHLO with more words", envelope("EHLO client.example and more\r\n", MAIL, RCPT, "DATA\r\n")),
        ("EHLO with parentheses", envelope("EHLO (x)\r\n", MAIL, RCPT, "DATA\r\n")),
        ("EHLO within a transaction", envelope(HELLO, MAIL, &format!("{RCPT}{HELLO}"), "DATA\r\n")),
        (
            "commands in lower case",
            envelope(
                "ehlo client.example\r\n",
                "mail from:<s#@example.org>\r\n",
                "rcpt to:<r#@example.com>\r\n",
                "data\r\n",
            ),
        ),
        ("blanks behind a command", envelope(HELLO, "MAIL FROM:<s#@example.org>  \r\n", RCPT, "DATA \r\n")),
        ("blanks before a command", envelope(HELLO, " MAIL FROM:<s#@example.org>\r\n", RCPT, "DATA\r\n")),
        ("a tab in a command", mail("FROM:\t<s#@example.org>")),
        ("a command ends in LF", envelope(HELLO, "MAIL FROM:<s#@example.org>\n", RCPT, "DATA\r\n")),
        ("a command ends in CR CR LF", envelope(HELLO, "MAIL FROM:<s#@example.org>\r\r\n", RCPT, "DATA\r\n")),
        ("a bare CR in a command", mail("FROM:<s#@example.org>\rX")),
        ("a NUL in a command", mail("FROM:<s#@example.org>\0")),
        ("an empty line", envelope(HELLO, &format!("\r\n{MAIL}"), RCPT, "DATA\r\n")),
        ("an unknown command", envelope(HELLO, &format!("FROB\r\n{MAIL}"), RCPT, "DATA\r\n")),
        ("a header field as a command", envelope(HELLO, &format!("Subject: x\r\n{MAIL}"), RCPT, "DATA\r\n")),
        (
            "an HTTP request as a command",
            envelope(HELLO, &format!("GET / HTTP/1.1\r\n{MAIL}"), RCPT, "DATA\r\n"),
        ),
        ("the null sender", mail("FROM:<>")),
        ("a blank behind FROM:", mail("FROM: <s#@example.org>")),
        ("a blank before FROM:'s colon", mail("FROM :<s#@example.org>")),
        ("a sender without brackets", mail("FROM:s#@example.org")),
        ("a sender without a domain", mail("FROM:<s#>")),
        ("a sender with two domains", mail("FROM:<s#@a@example.org>")),
        ("a sender with a quoted local part", mail("FROM:<\"s #\"@example.org>")),
        ("a sender with dots", mail("FROM:<.s#..x.@example.org>")),
        ("a sender with a blank", mail("FROM:<s #@example.org>")),
        ("a sender with a source route", mail("FROM:<@a.example,@b.example:s#@example.org>")),
        ("a sender at an address literal", mail("FROM:<s#@[192.0.2.1]>")),
        ("a sender with an underscore in its domain", mail("FROM:<s#@a_b.example.org>")),
        ("a sender in UTF-8 without SMTPUTF8", mail("FROM:<s#\u{e9}@example.org>")),
        ("a local part of 70 bytes", mail(&format!("FROM:<s#{}@example.org>", "x".repeat(66)))),
        ("a domain with a dot at its end", mail("FROM:<s#@example.org.>")),
        ("a bracket that is not closed", mail("FROM:<s#@example.org")),
        ("words behind the sender", mail("FROM:<s#@example.org> and more")),
        ("SIZE", mail("FROM:<s#@example.org> SIZE=100")),
        ("SIZE that is too small", mail("FROM:<s#@example.org> SIZE=1")),
        ("SIZE that is no number", mail("FROM:<s#@example.org> SIZE=x")),
        ("SIZE twice", mail("FROM:<s#@example.org> SIZE=1 SIZE=2")),
        ("BODY=8BITMIME", mail("FROM:<s#@example.org> BODY=8BITMIME")),
        ("BODY=NONSENSE", mail("FROM:<s#@example.org> BODY=NONSENSE")),
        ("a parameter that nobody knows", mail("FROM:<s#@example.org> FROB=1")),
        ("RET and ENVID", mail("FROM:<s#@example.org> RET=HDRS ENVID=x+2By")),
        ("ENVID that is no xtext", mail("FROM:<s#@example.org> ENVID=x+y")),
        ("MAIL twice", envelope(HELLO, &format!("{MAIL}{MAIL}"), RCPT, "DATA\r\n")),
        ("RCPT before MAIL", envelope(HELLO, &format!("{RCPT}{MAIL}"), RCPT, "DATA\r\n")),
        ("DATA without RCPT", envelope(HELLO, MAIL, "", "DATA\r\n")),
        ("DATA with a word", envelope(HELLO, MAIL, RCPT, "DATA now\r\n")),
        ("RSET with a word", envelope(HELLO, MAIL, &format!("{RCPT}RSET now\r\n"), "DATA\r\n")),
        ("RSET within a transaction", envelope(HELLO, MAIL, &format!("{RCPT}RSET\r\n"), "DATA\r\n")),
        ("NOOP with words", envelope(HELLO, MAIL, &format!("{RCPT}NOOP and more\r\n"), "DATA\r\n")),
        ("a recipient twice", envelope(HELLO, MAIL, &format!("{RCPT}{RCPT}"), "DATA\r\n")),
        ("the null recipient", rcpt("TO:<>")),
        ("a recipient without brackets", rcpt("TO:r#@example.com")),
        ("a recipient without a domain", rcpt("TO:<r#>")),
        ("a recipient with a quoted local part", rcpt("TO:<\"r #\"@example.com>")),
        ("a recipient whose quotes are not needed", rcpt("TO:<\"r#\"@example.com>")),
        ("a recipient with a source route", rcpt("TO:<@a.example:r#@example.com>")),
        ("a recipient with capitals", rcpt("TO:<R#@EXAMPLE.com>")),
        ("a recipient with a subaddress", rcpt("TO:<r#+tag@example.com>")),
        ("a recipient with a percent sign", rcpt("TO:<r#%x@example.com>")),
        ("NOTIFY and ORCPT", rcpt("TO:<r#@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y")),
        ("NOTIFY=NEVER with another word", rcpt("TO:<r#@example.com> NOTIFY=NEVER,SUCCESS")),
        ("a parameter of RCPT that nobody knows", rcpt("TO:<r#@example.com> FROB=1")),
        ("an empty message", [format!("{HELLO}{MAIL}{RCPT}DATA\r\n").as_bytes(), b".\r\nQUIT\r\n"].concat()),
        ("a message without a header", message(b"just text\r\n")),
        ("a message that begins with an empty line", message(b"\r\nbody\r\n")),
        ("a header that never ends", message(b"Subject: #\r\nX: y")),
        ("dots", body(b"..\r\n...\r\n..a\r\n.b\r\n")),
        ("8 bits", body("Gr\u{fc}\u{df}e\r\n".as_bytes())),
        ("a NUL in a message", body(b"a\0b\r\n")),
        ("a NUL behind the dot", body(b"a\r\n.\0\r\nb\r\n")),
        ("control characters in a message", body(b"a\x01\x1b\x7fb\r\n")),
        ("a bare LF in a message", body(b"a\nb\r\n")),
        ("a bare CR in a message", body(b"a\rb\r\n")),
        ("CR CR LF in a message", body(b"a\r\r\nb\r\n")),
        ("a bare LF in a header", message(b"Subject: #\nX: y\r\n\r\nbody\r\n")),
        ("LF . LF", body(b"a\n.\nb\r\n")),
        ("LF . CR LF", body(b"a\n.\r\nb\r\n")),
        ("CR LF . LF", body(b"a\r\n.\nb\r\n")),
        ("CR . CR", body(b"a\r.\rb\r\n")),
        ("CR . CR LF", body(b"a\r.\r\nb\r\n")),
        ("CR LF . CR", body(b"a\r\n.\rb\r\n")),
        ("CR CR LF . CR CR LF", body(b"a\r\r\n.\r\r\nb\r\n")),
        (
            "LF . LF and another transaction",
            body(format!("a\n.\n{MAIL}{RCPT}DATA\r\n{HEAD}second\r\n").as_bytes()),
        ),
        (
            "LF . CR LF and another transaction",
            body(format!("a\n.\r\n{MAIL}{RCPT}DATA\r\n{HEAD}second\r\n").as_bytes()),
        ),
        (
            "CR LF . LF and another transaction",
            body(format!("a\r\n.\n{MAIL}{RCPT}DATA\r\n{HEAD}second\r\n").as_bytes()),
        ),
        ("a line of 1,500 bytes", body(format!("{long}\r\n").as_bytes())),
        ("a header line of 1,500 bytes", message(format!("X: {long}\r\n{HEAD}body\r\n").as_bytes())),
        ("a command line of 1,500 bytes", mail(&format!("FROM:<s#@example.org> ENVID={long}"))),
        ("blanks at the end of a line", body(b"a  \r\n\t\r\n")),
        ("empty lines at the end", body(b"a\r\n\r\n\r\n")),
        (
            "no end, and the connection closes",
            format!("{HELLO}{MAIL}{RCPT}DATA\r\n{HEAD}body\r\n.\r").into_bytes(),
        ),
        (
            "QUIT before the message",
            format!("{HELLO}{MAIL}{RCPT}QUIT\r\nDATA\r\n{HEAD}body\r\n.\r\n").into_bytes(),
        ),
        (
            "two messages",
            format!(
                "{HELLO}{MAIL}{RCPT}DATA\r\n{HEAD}one\r\n.\r\n{MAIL}{RCPT}DATA\r\n{HEAD}two\r\n.\r\nQUIT\r\n"
            )
            .into_bytes(),
        ),
        (
            "a field of a trace that was there before",
            message(format!("Received: by a.example; now\r\n{HEAD}x\r\n").as_bytes()),
        ),
        ("a Bcc field", message(format!("Bcc: x@example.com\r\n{HEAD}x\r\n").as_bytes())),
        (
            "a Return-Path field",
            message(format!("X-First: 1\r\nReturn-Path: <x@example.org>\r\n{HEAD}x\r\n").as_bytes()),
        ),
        (
            "a From line as in a mailbox",
            message(format!("From s@example.org Thu Jan  1 00:00:00 2026\r\n{HEAD}x\r\n").as_bytes()),
        ),
    ]
}

/// Steps of which dialogues are put together at random, where all three agree about each.
const STEPS: &[&str] = &[
    HELLO,
    HELLO,
    "HELO client.example\r\n",
    MAIL,
    MAIL,
    MAIL,
    RCPT,
    RCPT,
    RCPT,
    "RCPT TO:<r#+a@example.com>\r\n",
    "MAIL FROM:<>\r\n",
    "MAIL FROM:<s#@example.org> BODY=8BITMIME\r\n",
    "RSET\r\n",
    "NOOP\r\n",
    "FROB\r\n",
    "VRFY r#@example.com\r\n",
];

/// Messages of the dialogues that are put together, with DATA before them.
const MESSAGES: &[&str] =
    &["body\r\n", "..\r\n.\u{fc}\r\n", "\r\n\r\n", "a\r\nMAIL FROM:<x@example.org>\r\nQUIT\r\n", "..."];

/// How many dialogues are put together.
const RANDOM: usize = 150;

/// A dialogue whose DATA always has a message behind it, and only where there is an envelope: what servers do with a
/// message that they did not ask for differs and stands in the list.
fn random_dialogue(random: &mut Random) -> Vec<u8> {
    let mut text = HELLO.to_owned();
    let (mut extended, mut mail, mut named) = (true, false, Vec::new());
    for _ in 0..random.within(3..14) {
        if !named.is_empty() && random.within(0..3) == 0 {
            let message = MESSAGES[random.within(0..MESSAGES.len() as u64) as usize];
            text.push_str(&format!("DATA\r\n{HEAD}{message}\r\n.\r\n"));
            (mail, named) = (false, Vec::new());
            continue;
        }
        let step = STEPS[random.within(0..STEPS.len() as u64) as usize];
        match &step[..4] {
            hello @ ("EHLO" | "HELO") => (extended, mail, named) = (hello == "EHLO", false, Vec::new()),
            "RSET" => (mail, named) = (false, Vec::new()),
            // Whether a parameter may follow HELO is not agreed on.
            "MAIL" if step.contains("BODY") && !extended => continue,
            "MAIL" => mail = true,
            // The same recipient twice is in the list.
            "RCPT" if named.contains(&step) => continue,
            "RCPT" if mail => named.push(step),
            _ => {}
        }
        text.push_str(step);
    }
    text.push_str("QUIT\r\n");
    text.into_bytes()
}

/// A message as it came out behind a server: sender, recipients, bytes below the trace.
type Message = (String, Vec<String>, Vec<u8>);

/// Sends one dialogue all at once and reads what is said to it, to the end.
fn converse(to: SocketAddr, dialogue: &[u8]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(HANG_GUARD)).unwrap();
    // A server that has heard enough may close before all is sent.
    let _ = stream.write_all(dialogue);
    let _ = stream.shutdown(Shutdown::Write);
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    String::from_utf8_lossy(&said).into_owned()
}

/// The bytes of a dialogue with its number in it.
fn numbered(dialogue: &[u8], number: usize) -> Vec<u8> {
    let parts: Vec<_> = dialogue.split(|byte| *byte == b'#').collect();
    parts.join(number.to_string().as_bytes())
}

/// What each dialogue came to, by the number in its recipients.
fn by_dialogue(sink: &Sink, count: usize) -> Vec<Vec<Message>> {
    let mut messages = vec![Vec::new(); count];
    let number_of = |address: &str| -> Option<usize> {
        let digits: String =
            address.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        digits.parse().ok()
    };
    for delivery in sink.deliveries() {
        let mut to: Vec<_> = delivery.to.iter().map(|path| path.address.clone()).collect();
        to.sort();
        let number =
            to.iter().find_map(|to| number_of(to)).unwrap_or_else(|| panic!("whose is this? {delivery:?}"));
        messages[number].push((delivery.from.address.clone(), to, without_trace(&delivery.raw).to_vec()));
    }
    messages.iter_mut().for_each(|messages| messages.sort());
    messages
}

/// What a server made of a dialogue, in words: against what the first message is by the rules.
fn in_words(messages: &[Message], dialogue: &[u8]) -> String {
    let sent = sent_in(dialogue);
    match messages {
        [] => "refused".to_owned(),
        messages => {
            let one = |(_, to, message): &Message| {
                let whole = if sent.contains(message) { "as sent" } else { "altered" };
                if to.len() == 1 { whole.to_owned() } else { format!("{whole}, to {}", to.len()) }
            };
            messages.iter().map(one).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The messages in a dialogue: what stands between DATA and CR LF . CR LF, without the doubled dots.
fn sent_in(dialogue: &[u8]) -> Vec<Vec<u8>> {
    let mut sent = Vec::new();
    let mut rest = dialogue;
    let upper = |bytes: &[u8]| bytes.to_ascii_uppercase();
    while let Some(at) = upper(rest).windows(4).position(|word| word == b"DATA") {
        let Some(line) = rest[at..].windows(2).position(|pair| pair == b"\r\n") else { break };
        let mut reader = penstock_peers::content::DataReader::new();
        let mut message = Vec::new();
        let (taken, ended) = reader.feed(&rest[at + line + 2..], |bytes| message.extend_from_slice(bytes));
        if !ended {
            break;
        }
        sent.push(message);
        rest = &rest[at + line + 2 + taken..];
    }
    sent
}

#[test]
fn the_same_bytes_come_to_the_same_as_with_postfix_and_exim_or_it_is_listed_why_not() {
    let sinks = [0; 3].map(|port| Sink::start_with(port, Traits { keeps: true, ..Traits::default() }));
    let settings = Settings::before(sinks[0].address()).set("listen.protocol_errors_max", "100");
    let daemon = Daemon::start(settings);
    let postfix = Postfix::start_with(
        Role::Relay(sinks[1].address()),
        "smtpd_error_sleep_time = 0\nsmtpd_hard_error_limit = 1000\nsmtpd_junk_command_limit = 1000\n",
    );
    let exim = Exim::start_with(
        sinks[2].address(),
        // That a client does not wait for replies is what we try here; its limits are its administrator's affair.
        &Timers::with_main(
            "smtp_enforce_sync = false\nsmtp_max_synprot_errors = 100\nsmtp_max_unknown_commands = 100\n\
             smtp_accept_max_nonmail = 100\nchunking_advertise_hosts =\n",
        ),
    );
    let servers = [daemon.address(), postfix.address(), exim.address()];

    let odd = oddities();
    let mut random = Random::seeded(6);
    let mut dialogues: Vec<Vec<u8>> = odd.iter().map(|(_, dialogue)| dialogue.clone()).collect();
    dialogues.extend((0..RANDOM).map(|_| random_dialogue(&mut random)));
    let dialogues: Vec<_> =
        dialogues.iter().enumerate().map(|(number, dialogue)| numbered(dialogue, number)).collect();
    let said: Vec<Vec<String>> = thread::scope(|scope| {
        let dialogues = &dialogues;
        let threads = servers.map(|server| {
            scope.spawn(move || dialogues.iter().map(|dialogue| converse(server, dialogue)).collect())
        });
        threads.map(|thread| thread.join().unwrap()).into()
    });
    daemon.wait_until_empty();
    wait_until("Postfix has passed on everything", || postfix.queued() == 0);
    wait_until("Exim has passed on everything", || exim.queued() == 0);
    let came: Vec<_> = sinks.iter().map(|sink| by_dialogue(sink, dialogues.len())).collect();

    let mut failures = Vec::new();
    for number in odd.len()..dialogues.len() {
        if came[0][number] != came[1][number] || came[0][number] != came[2][number] {
            let each = (0..3).map(|server| format!("{:?}\n{}", came[server][number], said[server][number]));
            let each = each.collect::<Vec<_>>().join("\n");
            failures.push(format!("{}\n{each}", dialogues[number].escape_ascii()));
        }
    }
    let messages: usize = came[0].iter().map(Vec::len).sum();
    println!("{} dialogues, {messages} messages taken by us", dialogues.len());

    let found: BTreeMap<String, [String; 3]> = odd
        .iter()
        .enumerate()
        .map(|(number, (name, _))| {
            let words = [0, 1, 2].map(|server| in_words(&came[server][number], &dialogues[number]));
            ((*name).to_owned(), words)
        })
        .filter(|(_, words)| words[0] != words[1] || words[0] != words[2])
        .collect();
    println!("{} of {} oddities are taken alike", odd.len() - found.len(), odd.len());
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("DIFFERENCES.md");
    let listed = Listed::read(&fs::read_to_string(&list).unwrap());
    for (name, words) in &found {
        match listed.rows.get(name) {
            None => failures.push(format!("not listed: | {name} | {} | |", words.join(" | "))),
            Some((known, _)) if known != words => {
                failures.push(format!("listed otherwise: | {name} | {} |", words.join(" | ")));
            }
            Some((_, why)) if why.is_empty() => failures.push(format!("no reason: {name}")),
            Some(_) => {}
        }
    }
    for name in listed.rows.keys().filter(|name| !found.contains_key(*name)) {
        failures.push(format!("listed, and there is no difference any more: {name}"));
    }
    assert!(failures.is_empty(), "{} wrong\n{}", failures.len(), failures.join("\n"));
}

/// The table in `DIFFERENCES.md`: oddity, what each of the three makes of it, and why.
struct Listed {
    rows: BTreeMap<String, ([String; 3], String)>,
}

impl Listed {
    fn read(text: &str) -> Self {
        let rows = text.lines().filter_map(|line| {
            let cells: Vec<_> =
                line.trim().trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
            let [name, ours, postfix, exim, why] = <[String; 5]>::try_from(cells).ok()?;
            (line.starts_with("| ") && name != "oddity").then_some((name, ([ours, postfix, exim], why)))
        });
        Self { rows: rows.collect() }
    }
}
