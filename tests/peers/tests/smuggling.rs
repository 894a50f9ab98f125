//! One message in is never two out. Every combination of bare CR, bare LF, NUL and CR CR LF around a dot, by DATA and by
//! BDAT, through the daemon to every server that people have behind it; and what else a peer could slip in: recipients
//! and commands in an envelope, and words before an encrypted session.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::process::Command;

use penstock_peers::certificate::Certificate;
use penstock_peers::client::Client;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::hop::{Hop, Kind};
use penstock_peers::process::{run, wait_until};
use penstock_peers::sink::{Sink, Traits};

/// What stands before the dot, and what behind it: nothing, up to two of CR, LF and NUL, and CR CR LF.
const AROUND: [&[u8]; 14] = [
    b"", b"\r", b"\n", b"\0", b"\r\r", b"\r\n", b"\r\0", b"\n\r", b"\n\n", b"\n\0", b"\0\r", b"\0\n",
    b"\0\0", b"\r\r\n",
];

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Data,
    Bdat,
}

/// One combination and what became of it.
struct Case {
    name: String,
    before: usize,
    after: usize,
    /// What the client was told: how many messages were taken.
    taken: usize,
}

/// The end that everybody knows stands there, so that a client that sends this sends two messages.
fn is_an_end(verb: Verb, before: &[u8], after: &[u8]) -> bool {
    verb == Verb::Data && before.ends_with(b"\r\n") && after.starts_with(b"\r\n")
}

/// A message with the dot in its middle and a whole transaction behind it.
fn message(case: &str, before: &[u8], after: &[u8]) -> Vec<u8> {
    let head = format!("Subject: outer\r\nMessage-ID: <{case}@client.example>\r\n\r\nbody");
    let smuggled = format!(
        "MAIL FROM:<smuggled-{case}@example.org>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n\
         Subject: smuggled\r\nMessage-ID: <smuggled-{case}@client.example>\r\n\r\nbody\r\n"
    );
    [head.as_bytes(), before, b".", after, smuggled.as_bytes()].concat()
}

/// Sends all combinations, and returns how many messages of each were taken.
fn send_all(daemon: &Daemon, verb: Verb, tag: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for (before, head) in AROUND.iter().enumerate() {
        for (after, tail) in AROUND.iter().enumerate() {
            let name = format!("{tag}-{before}-{after}");
            let message = message(&name, head, tail);
            let mut client = Client::connect(daemon.address());
            assert_eq!(client.ask("EHLO client.example").code, 250);
            assert_eq!(client.ask(&format!("MAIL FROM:<outer-{name}@example.org>")).code, 250);
            assert_eq!(client.ask("RCPT TO:<b@example.com>").code, 250);
            match verb {
                Verb::Data => {
                    assert_eq!(client.ask("DATA").code, 354);
                    client.send(&[&message[..], b".\r\n"].concat());
                }
                Verb::Bdat => {
                    client.send(&[format!("BDAT {} LAST\r\n", message.len()).as_bytes(), &message].concat());
                }
            }
            // What it is told up to the answer to a command that nothing else answers so.
            client.send(b"VRFY end\r\n");
            let mut codes = Vec::new();
            loop {
                match client.reply().code {
                    252 => break,
                    code => codes.push(code),
                }
            }
            let told = format!("{}: {codes:?}", message.escape_ascii());
            let taken = match codes[..] {
                [250] => 1,
                [code] if code >= 500 => 0,
                [250, 250, 250, 354, 250] if is_an_end(verb, head, tail) => 2,
                [code, 250, 250, 354, 250] if code >= 500 && is_an_end(verb, head, tail) => 1,
                _ => panic!("one message, one answer: {told}"),
            };
            cases.push(Case { name, before, after, taken });
        }
    }
    cases
}

/// One line for each of what stands before, one letter for each of what stands behind.
fn print(title: &str, verb: Verb, cases: &[Case], arrived: &BTreeSet<String>, split: &BTreeSet<String>) {
    println!(
        "\n{title}\n{:>10}  behind the dot: {}",
        "before",
        AROUND.map(|a| format!("{}", a.escape_ascii())).join(" | ")
    );
    for row in cases.chunks(AROUND.len()) {
        print!("{:>10}  ", AROUND[row[0].before].escape_ascii().to_string());
        for case in row {
            let end = is_an_end(verb, AROUND[case.before], AROUND[case.after]);
            let letter = match (case.taken, arrived.contains(&case.name), split.contains(&case.name)) {
                (_, _, true) if !end => '!',
                (0, false, _) => '-',
                (1, true, false) => '1',
                (_, _, true) => '2',
                _ => '?',
            };
            print!("{letter} ");
        }
        println!();
    }
}

/// Sends all combinations by one verb, waits for what was taken, and returns what is wrong.
fn wrong(kind: Kind, hop: &Hop, daemon: &Daemon, verb: Verb, whom: &str) -> Vec<String> {
    let tag = format!("{kind:?}-{verb:?}-{whom}").to_lowercase().replace(' ', "-");
    let cases = send_all(daemon, verb, &tag);
    let senders = || -> BTreeSet<String> {
        hop.arrivals()
            .into_iter()
            .filter_map(|a| a.from.address.split('@').next().map(str::to_owned))
            .collect()
    };
    let taken = cases.iter().filter(|case| case.taken > 0);
    // What is split off arrives with or after what it was split from; the last letter is after both.
    let mut client = Client::connect(daemon.address());
    client.ask("EHLO client.example");
    let last = format!("outer-{tag}-last");
    let letter = format!("Subject: last\r\nMessage-ID: <{last}@client.example>\r\n\r\n");
    daemon.wait_until_empty();
    assert_eq!(
        client.message(&format!("{last}@example.org"), &["b@example.com"], letter.as_bytes()).code,
        250
    );
    wait_until(&format!("the last letter of {tag} has arrived"), || senders().contains(&last));
    wait_until(&format!("all of {tag} has arrived"), || {
        let senders = senders();
        taken.clone().all(|case| {
            case.taken == 1 && is_an_end(verb, AROUND[case.before], AROUND[case.after])
                || senders.contains(&format!("outer-{}", case.name))
        })
    });
    hop.settle();
    let senders = senders();
    let names = |prefix: &str| -> BTreeSet<String> {
        cases
            .iter()
            .map(|case| case.name.clone())
            .filter(|name| senders.contains(&format!("{prefix}-{name}")))
            .collect()
    };
    let (arrived, split) = (names("outer"), names("smuggled"));
    print(
        &format!("{} in by {verb:?}, {whom}, towards {}", cases.len(), kind.name()),
        verb,
        &cases,
        &arrived,
        &split,
    );
    let wrong = cases.iter().filter(|case| {
        let end = is_an_end(verb, AROUND[case.before], AROUND[case.after]);
        split.contains(&case.name) != (end && case.taken > 0)
            || (!end && arrived.contains(&case.name) != (case.taken == 1))
    });
    wrong.map(|case| case.name.clone()).collect()
}

#[test]
fn one_message_in_is_never_two_out_towards_any_server() {
    let certificate = Certificate::self_signed("hop.example");
    println!(
        "- refused   1 taken, and one arrived   2 two were sent, and two arrived   ! one was sent, and two arrived"
    );
    let mut failures = Vec::new();
    for kind in Kind::ALL {
        let hop = Hop::start(kind, &certificate);
        for (whom, settings) in [
            ("from anybody", Settings::before(hop.address())),
            (
                "from a listed device",
                Settings::before(hop.address()).set("listen.bare_newlines_from", "[\"127.0.0.1/32\"]"),
            ),
        ] {
            let daemon = Daemon::start(settings);
            daemon.meet_next_hop("b@example.com");
            for verb in [Verb::Data, Verb::Bdat] {
                failures.extend(wrong(kind, &hop, &daemon, verb, whom));
            }
        }
    }
    assert!(failures.is_empty(), "{} wrong: {failures:?}", failures.len());
}

/// Octets of chunks mean nothing but themselves, also to those who read on when a chunk was refused.
#[test]
fn a_refused_chunk_is_swallowed_whole() {
    let sink = Sink::start_with(0, Traits { keeps: true, chunking: true, ..Traits::default() });
    let daemon = Daemon::start(Settings::before(sink.address()));
    daemon.meet_next_hop("b@example.com");
    let inside =
        "RSET\r\nMAIL FROM:<smuggled@example.org>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\nx\r\n.\r\n";
    // Without an envelope; without a recipient; without a sender that is known; and too large by its own words.
    for before in ["", "MAIL FROM:<a@example.org>\r\n", "RCPT TO:<b@example.com>\r\n", "RSET\r\n"] {
        for last in ["", " LAST"] {
            let mut client = Client::connect(daemon.address());
            client.ask("EHLO client.example");
            let commands = before.matches("\r\n").count();
            client.send(format!("{before}BDAT {}{last}\r\n{inside}VRFY end\r\n", inside.len()).as_bytes());
            let codes: Vec<_> = (0..commands + 2).map(|_| client.reply().code).collect();
            assert!(codes[commands] >= 500 && codes[commands + 1] == 252, "{before:?} {last:?}: {codes:?}");
        }
    }
    let mut client = Client::connect(daemon.address());
    client.ask("EHLO client.example");
    assert_eq!(client.message("good@example.org", &["b@example.com"], b"good\r\n").code, 250);
    daemon.wait_until_empty();
    let senders: Vec<_> = sink.deliveries().into_iter().map(|delivery| delivery.from.address).collect();
    assert_eq!(senders, ["introduction@example.org", "good@example.org"]);
}

/// Whatever stands in an envelope, the next hop hears of the recipients that were taken, and of no other.
#[test]
fn no_envelope_brings_in_a_command_a_parameter_or_a_recipient() {
    let sink = Sink::start_with(0, Traits { keeps: true, ..Traits::default() });
    let daemon = Daemon::start(Settings::before(sink.address()));
    let breaks: [&[u8]; 7] = [b"\r\n", b"\r", b"\n", b"\0", b"\t", b"+0D+0A", b"\\\r\n"];
    for line_break in breaks {
        let hidden = [line_break, b"RCPT TO:<victim@example.com>", line_break].concat();
        let cases: [(&[u8], &[u8]); 9] = [
            (b"MAIL FROM:<a@example.org%>", b"RCPT TO:<b@example.com>"),
            (b"MAIL FROM:<a%@example.org>", b"RCPT TO:<b@example.com>"),
            (b"MAIL FROM:<\"a%\"@example.org>", b"RCPT TO:<b@example.com>"),
            (b"MAIL FROM:<a@example.org> ENVID=x%", b"RCPT TO:<b@example.com>"),
            (b"MAIL FROM:<a@example.org> BODY=8BITMIME%", b"RCPT TO:<b@example.com>"),
            (b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.com%>"),
            (b"MAIL FROM:<a@example.org>", b"RCPT TO:<\"b%\"@example.com>"),
            (b"MAIL FROM:<a@example.org>", b"RCPT TO:<b@example.com> ORCPT=rfc822;b%"),
            (b"MAIL FROM:<a@example.org>", b"RCPT TO:<@x%:b@example.com>"),
        ];
        for (mail, rcpt) in cases {
            let mut client = Client::connect(daemon.address());
            client.ask("EHLO client.example");
            for line in [mail, rcpt] {
                let at = line.iter().position(|byte| *byte == b'%');
                let sent = match at {
                    Some(at) => [&line[..at], &hidden, &line[at + 1..]].concat(),
                    None => line.to_vec(),
                };
                client.send(&[&sent[..], b"\r\n"].concat());
            }
            client.send(b"DATA\r\nSubject: x\r\n\r\nbody\r\n.\r\nQUIT\r\n");
            // As many replies as it likes, up to the end.
            while client.try_reply().is_some() {}
        }
    }
    let mut client = Client::connect(daemon.address());
    client.ask("EHLO client.example");
    assert_eq!(client.message("last@example.org", &["b@example.com"], b"last\r\n").code, 250);
    daemon.wait_until_empty();
    let plain = |text: &str| text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    for delivery in sink.deliveries() {
        // A line break that a client wrote out is its own affair: then it named that recipient itself.
        for to in &delivery.to {
            assert!(
                ["b@example.com", "victim@example.com"].contains(&&to.address[..])
                    || to.address.starts_with('"'),
                "{delivery:?}"
            );
            assert!(
                plain(&to.address) && to.parameters.iter().all(|parameter| plain(parameter)),
                "{delivery:?}"
            );
        }
        assert!(plain(&delivery.from.address), "{delivery:?}");
        let known = ["SIZE=", "BODY=", "ENVID=", "RET="];
        assert!(
            delivery
                .from
                .parameters
                .iter()
                .all(|parameter| known.iter().any(|known| parameter.starts_with(known))),
            "{delivery:?}"
        );
    }
}

/// What was said in plain text before the encrypted session is not taken for part of it (RFC 3207 section 6).
#[test]
fn nothing_sent_behind_starttls_is_executed() {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(Settings::before(sink.address()));
    let script = format!(
        "import socket, ssl\n\
         s = socket.create_connection(('127.0.0.1', {}))\n\
         f = s.makefile('rb')\n\
         def reply(f):\n\
         \x20   while True:\n\
         \x20       line = f.readline()\n\
         \x20       if line[3:4] != b'-': return line.decode().strip()\n\
         reply(f)\n\
         s.sendall(b'EHLO client.example\\r\\n'); reply(f)\n\
         s.sendall(b'STARTTLS\\r\\nEHLO x\\r\\nMAIL FROM:<injected@example.org>\\r\\nRCPT TO:<b@example.com>\\r\\nDATA\\r\\n'\n\
         \x20         b'injected\\r\\n.\\r\\n')\n\
         print(reply(f))\n\
         context = ssl.create_default_context(); context.check_hostname = False\n\
         context.verify_mode = ssl.CERT_NONE\n\
         s = context.wrap_socket(s); f = s.makefile('rb')\n\
         for line in [b'RCPT TO:<b@example.com>', b'MAIL FROM:<after@example.org>', b'EHLO client.example',\n\
         \x20            b'RCPT TO:<b@example.com>', b'STARTTLS', b'VRFY end']:\n\
         \x20   s.sendall(line + b'\\r\\n'); print(reply(f))\n",
        daemon.address().port()
    );
    let said = String::from_utf8(run(Command::new("python3").args(["-c", &script]))).unwrap();
    let codes: Vec<_> = said.lines().filter_map(|line| line.get(..3)).collect();
    // The name is not left, nobody hears an answer to what was injected, and STARTTLS is over.
    assert_eq!(codes[..5], ["220", "503", "503", "250", "503"], "{said}");
    assert!(["502", "503"].contains(&codes[5]) && codes[6] == "252", "{said}");
    let mut client = Client::connect(daemon.address());
    client.ask("EHLO client.example");
    assert_eq!(client.message("good@example.org", &["b@example.com"], b"good\r\n").code, 250);
    daemon.wait_until_empty();
    let senders: Vec<_> = sink.deliveries().into_iter().map(|delivery| delivery.from.address).collect();
    assert_eq!(senders, ["good@example.org"]);
}
