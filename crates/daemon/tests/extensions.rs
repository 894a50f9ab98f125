//! What the box offers to clients, and that all that was accepted by it goes on as it came, or waits.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::{Arc, Mutex};

use support::{Client, Got, Hop, Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const BODY: &str = "Subject: hello\r\n\r\ntext\r\n";

/// What a server says to EHLO.
fn ehlo(keywords: &[&str]) -> String {
    let mut lines = vec!["exchange.example.org"];
    lines.extend(keywords);
    let last = lines.pop().unwrap();
    let mut reply: String = lines.iter().map(|line| format!("250-{line}\r\n")).collect();
    reply.push_str(&format!("250 {last}"));
    reply
}

const ALL: &[&str] = &["PIPELINING", "SIZE 1000000", "DSN", "8BITMIME", "SMTPUTF8", "CHUNKING", "BINARYMIME"];

/// A server that offers these, and the commands that it hears.
fn hop_with(site: &Site, keywords: &'static [&'static str]) -> (Hop, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let hop = Hop::start_with(site.hop_port, move |line| {
        hears.lock().unwrap().push(line.to_owned());
        line.starts_with("EHLO").then(|| ehlo(keywords))
    });
    (hop, heard)
}

/// A client, and what it was offered.
fn offered(site: &Site) -> (Client, String) {
    let mut client = site.connect();
    client.expect("220");
    client.say("EHLO client.example");
    let offered = client.expect("250");
    (client, offered)
}

/// Waits until every one of these is offered and none of those.
fn offers(site: &Site, these: &[&str], not: &[&str]) {
    eventually("the offer", || {
        let (_, offered) = offered(site);
        let has = |keyword: &&str| offered.contains(&format!("250-{keyword}"));
        (these.iter().all(has) && !not.iter().any(has)).then_some(())
    });
}

/// What arrived below our line.
fn text(got: &Got) -> &str {
    let end = got.body.find("+0000\r\n").unwrap() + "+0000\r\n".len();
    &got.body[end..]
}

/// A message in one chunk. The verdict.
fn send_chunk(client: &mut Client, mail: &str, recipient: &str, message: &str) -> String {
    client.say(mail);
    client.expect("250");
    client.say(&format!("RCPT TO:<{recipient}>"));
    client.expect("250");
    client.raw(format!("BDAT {} LAST\r\n{message}", message.len()).as_bytes());
    client.reply()
}

#[test]
fn what_is_offered_follows_what_the_next_hop_said_last_even_over_a_restart() {
    let mut site = Site::new("");
    site.start();
    offers(&site, &["8BITMIME", "DSN", "CHUNKING", "SIZE 16777216"], &["SMTPUTF8", "BINARYMIME", "ETRN"]);
    let (hop, _) = hop_with(&site, ALL);
    offers(&site, &["SMTPUTF8", "BINARYMIME", "SIZE 995904"], &["SIZE 16777216"]);
    hop.answer(|line| line.starts_with("EHLO").then(|| "421 4.3.2 Service not active".to_owned()));
    assert!(site.stop());
    site.start();
    offers(&site, &["SMTPUTF8", "BINARYMIME", "SIZE 995904"], &[]);
    hop.answer(|line| line.starts_with("EHLO").then(|| ehlo(&["PIPELINING", "SIZE"])));
    offers(&site, &["CHUNKING", "SIZE 16777216"], &["SMTPUTF8", "BINARYMIME", "8BITMIME", "DSN"]);
}

#[test]
fn a_binary_message_goes_on_by_bdat_byte_for_byte() {
    let mut site = Site::new("");
    let (hop, heard) = hop_with(&site, ALL);
    site.start();
    offers(&site, &["BINARYMIME"], &[]);
    let message = "MIME-Version: 1.0\r\n\r\n\r\n.\r\nbare \r and \n and \0, no line at the end";
    let large = format!("Subject: large\r\n\r\n{}", "\n.\r\n\0".repeat(60_000));
    for message in [message, large.as_str()] {
        let (mut client, _) = offered(&site);
        let mail = "MAIL FROM:<sender@example.net> BODY=BINARYMIME";
        assert!(send_chunk(&mut client, mail, "one@example.org", message).starts_with("250"));
    }
    for got in hop.wait_for(2) {
        assert!([message, large.as_str()].contains(&text(&got)), "{} bytes", got.body.len());
    }
    let heard = heard.lock().unwrap();
    assert_eq!(heard.iter().filter(|line| line.contains(" BODY=BINARYMIME")).count(), 2);
    assert!(heard.iter().all(|line| line != "DATA"));
}

#[test]
fn a_message_in_chunks_goes_on_by_data_with_its_dots_stuffed_and_a_line_end() {
    let mut site = Site::new("");
    let (hop, heard) = hop_with(&site, ALL);
    site.start();
    let (mut client, _) = offered(&site);
    client.say("MAIL FROM:<sender@example.net>");
    client.expect("250");
    client.say("RCPT TO:<one@example.org>");
    client.expect("250");
    client.raw(b"BDAT 14\r\nSubject: x\r\n\r\nBDAT 5\r\n.\r\n..BDAT 0 LAST\r\n");
    for _ in 0..3 {
        client.expect("250");
    }
    assert_eq!(text(&hop.wait_for(1)[0]), "Subject: x\r\n\r\n.\r\n..\r\n");
    assert!(heard.lock().unwrap().iter().all(|line| !line.starts_with("BDAT")));
}

#[test]
fn an_address_in_utf8_goes_on_with_its_parameter() {
    let mut site = Site::new("");
    let (hop, heard) = hop_with(&site, ALL);
    site.start();
    offers(&site, &["SMTPUTF8"], &[]);
    let (mut client, _) = offered(&site);
    client.say("MAIL FROM:<j\u{fc}rgen@example.net> SMTPUTF8 BODY=8BITMIME");
    client.expect("250");
    client.say("RCPT TO:<\u{7528}\u{6237}@example.org> ORCPT=utf-8;\u{7528}@example.org");
    client.expect("250");
    client.say("DATA");
    client.expect("354");
    assert!(client.message("Subject: \u{e9}\r\n\r\n\u{e9}\r\n").starts_with("250"));
    let got = hop.wait_for(1);
    assert_eq!(
        (text(&got[0]), got[0].sender.as_str()),
        ("Subject: \u{e9}\r\n\r\n\u{e9}\r\n", "j\u{fc}rgen@example.net")
    );
    assert_eq!(got[0].recipients, ["\u{7528}\u{6237}@example.org"]);
    let heard = heard.lock().unwrap();
    assert!(heard.iter().any(|line| line.starts_with("MAIL ") && line.contains(" SMTPUTF8")), "{heard:?}");
    assert!(heard.iter().any(|line| line.contains("ORCPT=utf-8;\u{7528}@example.org")), "{heard:?}");
}

#[test]
fn a_message_that_its_hop_can_no_longer_take_is_held_and_told() {
    let mut site = Site::new("");
    let (hop, _) = hop_with(&site, ALL);
    hop.hang_up_after_a_message();
    site.start();
    offers(&site, &["SMTPUTF8", "BINARYMIME"], &[]);
    hop.answer(|line| line.starts_with("EHLO").then(|| "421 4.3.2 Service not active".to_owned()));
    let eight_bits = "Subject: x\r\n\r\n\u{e9}\r\n";
    let binary = "MAIL FROM:<sender@example.net> BODY=BINARYMIME";
    let (mut client, _) = offered(&site);
    assert!(send_chunk(&mut client, binary, "binary@example.org", BODY).starts_with("250"));
    for (mail, recipient, message) in [
        ("MAIL FROM:<j\u{fc}rgen@example.net> SMTPUTF8", "utf8@example.org", BODY),
        ("MAIL FROM:<sender@example.net> SMTPUTF8", "header@example.org", eight_bits),
        ("MAIL FROM:<sender@example.net> BODY=8BITMIME", "eight@example.org", eight_bits),
        // These said more than they need.
        ("MAIL FROM:<sender@example.net> SMTPUTF8 BODY=8BITMIME", "plain@example.org", BODY),
        // And this one less: it goes as its sender would have sent it.
        ("MAIL FROM:<sender@example.net>", "undeclared@example.org", eight_bits),
    ] {
        assert!(send_chunk(&mut client, mail, recipient, message).starts_with("250"), "{mail}");
    }
    hop.answer(|line| line.starts_with("EHLO").then(|| ehlo(&["PIPELINING"])));
    eventually("the server is seen to be another", || {
        (site.status()["hops"][0]["state"] == "unproven").then_some(())
    });
    site.json("POST", "/v1/confirm", "{}");
    let got = hop.wait_for(2);
    let mut arrived: Vec<&str> = got.iter().flat_map(|got| &got.recipients).map(String::as_str).collect();
    arrived.sort_unstable();
    assert_eq!(arrived, ["plain@example.org", "undeclared@example.org"]);
    let rows = eventually("the others are held", || {
        let page = site.json("GET", "/v1/quarantine", "");
        Some(page["rows"].as_array().unwrap().clone()).filter(|rows| rows.len() == 4)
    });
    for row in rows {
        assert_eq!(row["why"], "unfit", "{row}");
        let said = row["said"].as_str().unwrap();
        let needs = match row["recipients"][0].as_str().unwrap() {
            "binary@example.org" => "BINARYMIME",
            "eight@example.org" => "8BITMIME",
            _ => "SMTPUTF8",
        };
        assert!(said.starts_with("PS-D350") && said.contains(needs), "{said}");
    }
    assert_eq!(site.status()["mail"]["held"], 4);
}

#[test]
fn etrn_releases_what_waits_for_those_who_may_ask() {
    let mut site = Site::with_listen("etrn_from = [\"127.0.0.0/8\"]\n");
    let hop = Hop::start_with(site.hop_port, |line| (line == ".").then(|| "451 4.7.1 Greylisted".into()));
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    eventually("the message is put off", || {
        (site.json("GET", "/v1/queue", "")["rows"][0]["state"] == "deferred").then_some(())
    });
    hop.answer(|_| None);
    let (mut client, offered_now) = offered(&site);
    assert!(offered_now.contains("250-ETRN"));
    site.json("PUT", "/v1/mode", r#"{"mode":"hold"}"#);
    client.say("ETRN example.org");
    client.expect("458");
    assert_eq!(hop.got(), []);
    site.json("PUT", "/v1/mode", r#"{"mode":"auto"}"#);
    client.say("ETRN example.org");
    client.expect("250");
    hop.wait_for(1);

    let mut other = Site::new("");
    other.start();
    let (mut client, offered) = offered(&other);
    assert!(!offered.contains("ETRN"));
    client.say("ETRN example.org");
    client.expect("502");
}

#[test]
fn a_report_of_success_that_the_hop_cannot_give_is_noted_and_by_default_nobody_is_told() {
    let mut site = Site::new("[bounce]\nsmarthost = \"127.0.0.1:9\"\n");
    site.start();
    let (mut client, _) = offered(&site);
    client.say("MAIL FROM:<sender@example.net>");
    client.expect("250");
    for (recipient, notify) in [("one", "SUCCESS,FAILURE"), ("two", "FAILURE"), ("three", "NEVER")] {
        client.say(&format!("RCPT TO:<{recipient}@example.org> NOTIFY={notify}"));
        client.expect("250");
    }
    client.say("DATA");
    client.expect("354");
    assert!(client.message(BODY).starts_with("250"));
    // It was accepted before anybody met the hop.
    let (hop, heard) = hop_with(&site, &["PIPELINING", "8BITMIME"]);
    hop.wait_for(1);
    assert!(heard.lock().unwrap().iter().all(|line| !line.contains("NOTIFY")));
    let text = eventually("the ledger says so", || {
        let events = site.json("GET", "/v1/events?kind=relayed", "");
        events["events"][0]["text"].as_str().map(str::to_owned)
    });
    assert_eq!(
        text,
        "exchange reports no delivery, which was asked for one@example.org; its sender was not told: as bounce.relayed has it"
    );
    offers(&site, &["8BITMIME"], &["DSN"]);
}

#[test]
fn a_session_brings_as_many_messages_as_it_is_told() {
    let mut site = Site::with_listen("session_messages_max = 2\n");
    Hop::start(site.hop_port);
    site.start();
    let (mut client, offered) = offered(&site);
    assert!(offered.contains("250-LIMITS RCPTMAX=1000 MAILMAX=2"), "{offered}");
    for _ in 0..2 {
        client.envelope("sender@example.net", &["one@example.org"]);
        assert!(client.message(BODY).starts_with("250"));
    }
    client.say("MAIL FROM:<sender@example.net>");
    client.expect("421");
}
