//! What the service finds out about who sends mail, and what it lets nobody say in its name.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::time::Instant;

use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;
use mail_parser::decoders::base64::base64_decode;
use support::dns::NameServer;
use support::{Hop, Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const SEED: &[u8] = b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const FORGED: &str =
    "AUTHENTICATION-Results : (trust me)\r\n MX.example.org;\r\n\tdkim=pass header.d=bank.example\r\n";
const HONEST: &str = "Authentication-Results: relay.example.net; spf=pass\r\n";

/// A message that example.net has signed, of about that size.
fn signed(body_bytes: usize) -> String {
    let line = "0123456789 abcdef \t0123456789\r\n";
    let message = format!(
        "From: Author <author@example.net>\r\nTo: one@example.org\r\nSubject: hello\r\n\r\n{}",
        line.repeat(body_bytes / line.len() + 1)
    );
    let key = |text: &[u8]| base64_decode(text).unwrap();
    let key = Ed25519Key::from_seed_and_public_key(&key(SEED), &key(PUBLIC.as_bytes())).unwrap();
    let signer =
        DkimSigner::from_key(key).domain("example.net").selector("s1").headers(["From", "To", "Subject"]);
    format!("{}{message}", signer.sign(message.as_bytes()).unwrap().to_header())
}

/// A name server with the domain of the sender, whose mail comes from this machine.
fn example_net() -> NameServer {
    let server = NameServer::start();
    server
        .text("example.net", "v=spf1 ip4:127.0.0.1 -all")
        .text("s1._domainkey.example.net", &format!("v=DKIM1; k=ed25519; p={PUBLIC}"))
        .text("_dmarc.example.net", "v=DMARC1; p=reject");
    server
}

/// What the ledger says of a message, once there are so many entries of that kind.
fn told(site: &Site, reply: &str, kind: &str) -> String {
    let id = support::number_in(reply);
    eventually("the ledger has it", || {
        let shown = site.json("GET", &format!("/v1/messages/{id}"), "");
        let events = shown["events"].as_array().unwrap().clone();
        let found = events.iter().find(|event| event["kind"] == kind)?;
        Some(found["text"].as_str().unwrap().to_owned())
    })
}

const PASSES: &str = "spf=pass smtp.mailfrom=sender@example.net; dkim=pass header.d=example.net header.s=s1; \
                      dmarc=pass header.from=example.net policy.dmarc=reject";

#[test]
fn what_the_dns_says_at_acceptance_is_in_the_ledger_small_and_large() {
    let server = example_net();
    let mut site = Site::with_names(&server, "", "");
    site.start();
    for body_bytes in [100, 3_000_000] {
        let reply = site.send(&["one@example.org"], &signed(body_bytes));
        assert_eq!(told(&site, &reply, "authenticity"), PASSES);
    }
    server.text("liar.example", "v=spf1 -all");
    let mut client = site.client();
    client.envelope("a@liar.example", &["one@example.org"]);
    let reply = client.message("From: author@example.net\r\n\r\nbody\r\n");
    assert!(reply.starts_with("250"), "nothing is refused for it: {reply}");
    let said = told(&site, &reply, "authenticity");
    assert!(said.starts_with("spf=fail smtp.mailfrom=a@liar.example; dkim=none; dmarc=fail"), "{said}");
}

#[test]
fn a_large_message_is_passed_over_with_the_reason() {
    let server = example_net();
    let mut site = Site::with_names(&server, "", "size_max = \"64KiB\"\n");
    site.start();
    let reply = site.send(&["one@example.org"], &signed(100_000));
    let said = told(&site, &reply, "authenticity");
    assert_eq!(said, "all skipped (it is larger than 64KiB, which is authenticity.size_max)");
}

#[test]
fn what_claims_to_be_ours_is_taken_out_and_nothing_else_changes() {
    let server = example_net();
    let mut site = Site::with_names(&server, "", "");
    let hop = Hop::start(site.hop_port);
    site.start();
    for (n, body_bytes) in [100, 200_000].into_iter().enumerate() {
        let message = signed(body_bytes);
        let sent = format!("{FORGED}{HONEST}{FORGED}{message}");
        let reply = site.send(&["one@example.org"], &sent);
        let got = hop.wait_for(n + 1)[n].body.clone();
        let ours_end = got.find("+0000\r\n").unwrap() + "+0000\r\n".len();
        assert_eq!(&got[ours_end..], format!("{HONEST}{message}"));
        assert_eq!(
            told(&site, &reply, "altered"),
            "Authentication-Results that claimed to be ours taken out: 2"
        );
        assert_eq!(told(&site, &reply, "authenticity"), PASSES, "the signature still holds");
    }
}

#[test]
fn a_field_says_what_was_found_if_the_settings_ask_for_it() {
    let server = example_net();
    let mut site = Site::with_names(&server, "", "header = true\n");
    let hop = Hop::start(site.hop_port);
    site.start();
    let small = signed(100);
    let reply = site.send(&["one@example.org"], &format!("{FORGED}{small}"));
    let got = hop.wait_for(1)[0].body.clone();
    let field =
        format!("Authentication-Results: mx.example.org;\r\n\t{}\r\n", PASSES.replace("; ", ";\r\n\t"));
    assert!(got.starts_with(&format!("{field}Received: from client.example (")), "{got}");
    assert!(got.ends_with(&format!("+0000\r\n{small}")));
    assert_eq!(told(&site, &reply, "authenticity"), PASSES);
    let large = signed(200_000);
    let reply = site.send(&["one@example.org"], &large);
    let got = hop.wait_for(2)[1].body.clone();
    let field = "Authentication-Results: mx.example.org;\r\n\tspf=pass smtp.mailfrom=sender@example.net\r\n";
    assert!(
        got.starts_with(&format!("{field}Received: ")),
        "its end was not known when it went to the volume"
    );
    assert!(got.ends_with(&format!("+0000\r\n{large}")));
    assert_eq!(told(&site, &reply, "authenticity"), PASSES);
}

#[test]
fn with_dead_name_servers_mail_is_taken_as_ever_and_the_ledger_says_why_it_was_not_checked() {
    let server = example_net();
    server.be_silent(true);
    let mut site = Site::with_names(&server, "", "header = true\ntime_limit = \"1s\"\n");
    let hop = Hop::start(site.hop_port);
    site.start();
    let mut sent = 0;
    let reply = eventually("the name servers are known to be dead", || {
        let reply = site.send(&["one@example.org"], &signed(100));
        assert!(reply.starts_with("250"), "{reply}");
        sent += 1;
        let said = told(&site, &reply, "authenticity");
        said.contains("do not answer, and are left alone").then_some(reply)
    });
    assert!(site.log().contains("PS-D340"), "{}", site.log());
    hop.wait_for(sent);
    let began = Instant::now();
    let asked = server.asked();
    for _ in 0..20 {
        assert!(site.send(&["one@example.org"], &signed(100)).starts_with("250"));
    }
    // Only now and then is it tried whether they are alive.
    assert!(server.asked() - asked <= 20, "{} questions, {:?}", server.asked() - asked, began.elapsed());
    assert_eq!(
        told(&site, &reply, "authenticity"),
        "all skipped (the name servers do not answer, and are left alone for a while)"
    );
}

#[test]
fn bare_newlines_are_refused_from_strangers_and_made_cr_lf_from_devices_that_are_listed() {
    let server = NameServer::start();
    let mut strict = Site::with_names(&server, "bare_newlines_from = [\"192.0.2.0/24\"]\n", "");
    strict.start();
    let body = "Subject: fax\r\n\r\nfirst\nsecond\r\r\n.\nthird\r\n";
    assert!(strict.send(&["one@example.org"], body).starts_with("550 5.6.11"));
    let mut site = Site::with_names(&server, "bare_newlines_from = [\"127.0.0.0/8\"]\n", "");
    let hop = Hop::start(site.hop_port);
    site.start();
    let reply = site.send(&["one@example.org"], body);
    let got = hop.wait_for(1)[0].body.clone();
    assert!(got.ends_with("Subject: fax\r\n\r\nfirst\r\nsecond\r\n\r\n.\r\nthird\r\n"), "{got:?}");
    assert_eq!(told(&site, &reply, "altered"), "bare CR or LF from 127.0.0.1 became CR LF");
}
