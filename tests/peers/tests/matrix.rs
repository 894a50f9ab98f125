//! Every program that people send with, through the daemon, to every server that people have behind it: envelope, what
//! was asked for, and every byte arrive, and a signature made before is right after.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::collections::BTreeMap;

use penstock_peers::certificate::Certificate;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::hop::{Hop, Kind};
use penstock_peers::letter::{Arrival, Letter, SENDER, Signer};
use penstock_peers::process::wait_until;
use penstock_peers::submitter::{Program, Submitter};

/// A daemon before one of the next hops, and the domain whose mail it takes.
struct Target {
    kind: Kind,
    /// Whether it gives mail on encrypted only, or never so.
    tls: bool,
    domain: String,
    daemon: Daemon,
}

impl Target {
    fn before(kind: Kind, hop: &Hop, tls: bool) -> Self {
        // The model knows one domain.
        let domain = match kind {
            Kind::Exchange => "example.com".to_owned(),
            _ if tls => format!("tls.{}.example.com", kind.name().to_lowercase()),
            _ => format!("{}.example.com", kind.name().to_lowercase()),
        };
        let settings = Settings::before(hop.address())
            .set("domains.accepted", &format!("[\"{domain}\"]"))
            .set("next_hop.tls", if tls { "\"required\"" } else { "\"never\"" });
        let daemon = Daemon::start(settings);
        daemon.meet_next_hop(&format!("first@{domain}"));
        Self { kind, tls, domain, daemon }
    }

    fn name(&self) -> String {
        format!("{}{}", self.kind.name(), if self.tls { " TLS" } else { "" })
    }
}

/// A letter on its way, from a program that went over to TLS or did not.
struct Cell<'a> {
    program: Program,
    tls: bool,
    target: &'a Target,
}

/// The protocol that a server says a message came in by, in capitals: of the trace field that it wrote.
fn protocol(arrival: &Arrival, server: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&arrival.message).replace("\r\n\t", " ").replace("\r\n ", " ");
    let by = format!("by {server}");
    let field =
        text.lines().take_while(|line| line.starts_with("Received:")).find(|line| line.contains(&by))?;
    let words: Vec<_> = field.split_whitespace().collect();
    let with = words.windows(2).find(|pair| pair[0] == "with")?;
    Some(with[1].to_ascii_uppercase())
}

/// What of a letter did not arrive as it was sent; nothing if all did.
fn complaints(cell: &Cell<'_>, letter: &Letter, arrivals: &[&Arrival], verified: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut expect = |holds: bool, what: String| {
        if !holds {
            complaints.push(what);
        }
    };
    let mut to: Vec<_> = arrivals.iter().map(|arrival| arrival.to.address.clone()).collect();
    to.sort();
    expect(to == letter.to, format!("arrived for {to:?}"));
    for arrival in arrivals {
        expect(arrival.from.address == SENDER, format!("from {:?}", arrival.from));
        let sent: BTreeMap<_, _> = [letter.mail_wishes(), letter.rcpt_wishes(&arrival.to.address)]
            .iter()
            .flat_map(|wishes| wishes.split(' '))
            .filter_map(|wish| wish.split_once('='))
            .filter(|(keyword, _)| cell.program.wishes().contains(keyword))
            .map(|(keyword, value)| (keyword.to_owned(), value.to_owned()))
            .collect();
        for keyword in ["RET", "ENVID", "NOTIFY", "ORCPT"] {
            let path = if ["RET", "ENVID"].contains(&keyword) { &arrival.from } else { &arrival.to };
            let (asked, got) = (sent.get(keyword).map(String::as_str), path.parameter(keyword));
            // A relay may say what the recipient was called before, where nobody had said it.
            let original = format!("rfc822;{}", arrival.to.address);
            let added = keyword == "ORCPT" && asked.is_none() && got == Some(&original);
            expect(asked == got || added, format!("{keyword} {asked:?} became {got:?}"));
        }
        let hop = hop_name(cell.target.kind).map(|name| (name, cell.target.tls));
        for (server, tls) in hop.into_iter().chain([("penstock.example", cell.tls)]) {
            let protocol = protocol(arrival, server);
            let encrypted = protocol.as_ref().is_some_and(|protocol| protocol.ends_with("SMTPS"));
            expect(protocol.is_some() && encrypted == tls, format!("{server} took it by {protocol:?}"));
        }
        let same = arrival.without_trace() == letter.message;
        expect(same, format!("altered:\n{}", arrival.message.escape_ascii()));
    }
    expect(verified.contains(&letter.name), "the signature is wrong".to_owned());
    complaints
}

#[test]
fn all_programs_deliver_to_all_servers_byte_for_byte_with_what_was_asked_for() {
    let certificate = Certificate::self_signed("hop.example");
    let hops: Vec<(Kind, Hop)> =
        Kind::ALL.into_iter().map(|kind| (kind, Hop::start(kind, &certificate))).collect();
    let targets: Vec<Target> = hops
        .iter()
        .flat_map(|(kind, hop)| [false, true].map(|tls| (*kind, hop, tls)))
        .filter(|(kind, _, tls)| !tls || kind.has_tls())
        .map(|(kind, hop, tls)| Target::before(kind, hop, tls))
        .collect();
    let routes: Vec<_> =
        targets.iter().map(|target| (target.domain.clone(), target.daemon.address())).collect();

    let mut letters = Vec::new();
    let mut cells = Vec::new();
    for (program, tls) in Program::ALL.into_iter().flat_map(|program| [(program, false), (program, true)]) {
        for target in &targets {
            cells.push(Cell { program, tls, target });
            letters.push(Letter::new(&format!("letter-{}", letters.len()), &target.domain));
        }
    }
    let signer = Signer::new();
    signer.sign(&mut letters);
    for (cells, letters) in cells.chunks(targets.len()).zip(letters.chunks(targets.len())) {
        let (program, tls) = (cells[0].program, cells[0].tls);
        let submitter = Submitter::start(program, tls, &routes, &certificate);
        letters.iter().for_each(|letter| submitter.send(letter));
        // A relay may not end before all has gone.
        wait_until(&format!("the mail of {program:?} has arrived"), || {
            cells.iter().zip(letters).all(|(cell, letter)| {
                let (_, hop) = hops.iter().find(|(kind, _)| *kind == cell.target.kind).unwrap();
                of(&hop.arrivals(), letter).len() >= letter.to.len()
            })
        });
    }

    let arrivals: Vec<Arrival> = hops.iter().flat_map(|(_, hop)| hop.arrivals()).collect();
    let names: Vec<_> = arrivals.iter().map(|arrival| Letter::name_of(&arrival.message).unwrap()).collect();
    let messages = arrivals.iter().map(|arrival| &arrival.message[..]);
    let verified = signer.verified(names.iter().map(String::as_str).zip(messages));
    let mut failures = Vec::new();
    print!("{:<15}", "");
    targets.iter().for_each(|target| print!("{:<18}", target.name()));
    for (index, (cell, letter)) in cells.iter().zip(&letters).enumerate() {
        let name = format!("{}{}", cell.program.name(), if cell.tls { " TLS" } else { "" });
        if index % targets.len() == 0 {
            print!("\n{name:<15}");
        }
        let found = complaints(cell, letter, &of(&arrivals, letter), &verified);
        print!("{:<18}", if found.is_empty() { "ok" } else { "WRONG" });
        failures.extend(found.into_iter().map(|what| format!("{name} to {}: {what}", cell.target.name())));
    }
    println!();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What a server calls itself in its trace field; the model writes none.
fn hop_name(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Postfix => Some("postfix.example"),
        Kind::Exim => Some("exim.example"),
        Kind::OpenSmtpd => Some("opensmtpd.example"),
        Kind::Exchange => None,
    }
}

/// What arrived of a letter.
fn of<'a>(arrivals: &'a [Arrival], letter: &Letter) -> Vec<&'a Arrival> {
    arrivals
        .iter()
        .filter(|arrival| Letter::name_of(&arrival.message).as_ref() == Some(&letter.name))
        .collect()
}
