//! What an operator can take back: mail that was delivered goes out once more, and what is held is looked after.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use serde_json::Value;
use support::{Got, Hop, Site, eventually, free_port, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const BODY: &str = "Subject: hello\r\nMessage-ID: <1@example.net>\r\n\r\nlast line\r\n";

/// Sends a message and waits until it was delivered; its name.
fn deliver(site: &Site, hop: &Hop, recipients: &[&str], body: &str) -> String {
    let before = hop.got().len();
    let reply = site.send(recipients, body);
    assert!(reply.starts_with("250"), "{reply}");
    hop.wait_for(before + 1);
    eventually("it is recorded", || (site.status()["mail"]["messages"] == 0).then_some(()));
    support::number_in(&reply).to_owned()
}

fn replay(site: &Site, body: &str) -> Value {
    site.json("POST", "/v1/replay", body)
}

fn sorted(mut got: Vec<Got>) -> Vec<Got> {
    got.sort_by(|one, other| one.body.cmp(&other.body));
    got
}

#[test]
fn what_was_delivered_goes_out_once_more_to_whom_it_was_delivered_and_only_when_asked() {
    let mut site = Site::new("");
    let refuses = |line: &str| line.contains("<gone@").then(|| "550 5.1.1 no such user".into());
    let hop = Hop::start_with(site.hop_port, refuses);
    site.start();
    assert!(site.send(&["mia@example.org", "gone@example.org", "tom@example.org"], BODY).starts_with("250"));
    hop.wait_for(1);
    let id = eventually("one recipient is held", || {
        site.json("GET", "/v1/quarantine", "")["rows"]
            .get(0)
            .map(|row| row["id"].as_str().unwrap().to_owned())
    });
    let counted = replay(&site, r#"{"which":"all","dry_run":true}"#);
    assert_eq!((&counted["messages"], &counted["recipients"]), (&1.into(), &2.into()));
    assert!(counted["oldest_unix_ms"].is_u64());
    let mia = r#"{"which":{"mailbox":"MIA@example.org"},"reason":"mailbox restored"}"#;
    assert_eq!(replay(&site, mia)["recipients"], 1);
    let got = hop.wait_for(2);
    assert_eq!(got[1].recipients, ["mia@example.org"]);
    assert_eq!(got[0].body, got[1].body, "byte for byte");
    let shown = eventually("it is recorded", || {
        let shown = site.json("GET", &format!("/v1/messages/{id}"), "");
        (shown["recipient_list"][0]["fate"] == "delivered").then_some(shown)
    });
    let fates: Vec<_> = (0..3).map(|n| shown["recipient_list"][n]["fate"].clone()).collect();
    assert_eq!(fates, ["delivered", "held", "delivered"]);
    let events = shown["events"].as_array().unwrap();
    let replayed = events.iter().find(|event| event["kind"] == "replayed").unwrap();
    let text = replayed["text"].as_str().unwrap();
    assert!(text.contains("mia@example.org") && text.contains("mailbox restored"), "{text}");
    site.kill();
    site.start();
    eventually("the next hop is known", || (site.status()["hops"][0]["state"] == "healthy").then_some(()));
    assert_eq!(site.status()["progress"]["left_messages"], 0);
    assert_eq!(hop.got().len(), 2, "nothing goes out once more by itself");
}

#[test]
fn a_replay_that_was_asked_for_outlives_a_kill() {
    let mut site = Site::new("");
    let hop = Hop::start(site.hop_port);
    site.start();
    for number in 0..5 {
        deliver(&site, &hop, &["mia@example.org"], &format!("Subject: {number}\r\n\r\n"));
    }
    site.json("PUT", "/v1/mode", r#"{"mode":"hold"}"#);
    let page = replay(&site, r#"{"which":{"domain":"example.org"}}"#);
    assert_eq!((&page["messages"], &page["next"]), (&5.into(), &Value::Null));
    site.kill();
    site.start();
    assert_eq!(site.status()["mail"]["messages"], 5);
    assert_eq!(replay(&site, r#"{"which":"all"}"#)["messages"], 0, "they are on their way already");
    site.json("PUT", "/v1/mode", r#"{"mode":"auto"}"#);
    let got = hop.wait_for(10);
    assert_eq!(sorted(got[..5].to_vec()), sorted(got[5..].to_vec()));
}

#[test]
fn a_replay_takes_what_was_delivered_in_a_time_and_messages_that_are_named() {
    let mut site = Site::new("");
    let hop = Hop::start(site.hop_port);
    site.start();
    let first = deliver(&site, &hop, &["mia@example.org"], "Subject: first\r\n\r\n");
    let between = site.status()["now_unix_ms"].as_u64().unwrap() + 1;
    eventually("the clock goes on", || {
        (site.status()["now_unix_ms"].as_u64().unwrap() > between).then_some(())
    });
    let second = deliver(&site, &hop, &["mia@example.org"], "Subject: second\r\n\r\n");
    let count = |body: String| replay(&site, &body)["messages"].as_u64().unwrap();
    let hour = 3_600_000;
    assert_eq!(count(format!(r#"{{"which":"all","dry_run":true,"from_unix_ms":{between}}}"#)), 1);
    assert_eq!(count(format!(r#"{{"which":"all","dry_run":true,"until_unix_ms":{between}}}"#)), 1);
    assert_eq!(count(format!(r#"{{"which":"all","dry_run":true,"from_unix_ms":{}}}"#, between - hour)), 2);
    assert_eq!(count(format!(r#"{{"which":"all","dry_run":true,"from_unix_ms":{}}}"#, between + hour)), 0);
    let page = replay(&site, &format!(r#"{{"which":"all","from_unix_ms":{between}}}"#));
    assert_eq!((&page["messages"], &page["undated"]), (&1.into(), &0.into()));
    let got = hop.wait_for(3);
    assert!(got[2].body.contains("Subject: second"));
    eventually("it is recorded", || (site.status()["mail"]["messages"] == 0).then_some(()));
    let page = replay(&site, &format!(r#"{{"which":{{"ids":["{first}","{second}","d-999"]}}}}"#));
    assert_eq!((&page["messages"], &page["refused"][0]["id"]), (&2.into(), &"d-999".into()));
    assert_eq!(page["refused"][0]["error"]["code"], "PS-D102");
    hop.wait_for(5);
}

#[test]
fn a_replay_of_a_database_is_of_the_mail_to_those_whose_mailboxes_lie_there() {
    let mut site = Site::new("");
    let hop = Hop::start(site.hop_port);
    site.start();
    deliver(&site, &hop, &["mia@example.org", "tom@example.org"], BODY);
    deliver(&site, &hop, &["tom@example.org"], BODY);
    let asked = r#"{"which":{"database":"db2"}}"#;
    let (status, refused) = site.ask("POST", "/v1/replay", asked);
    assert!(status == 409 && String::from_utf8_lossy(&refused).contains("PS-D258"));
    site.json(
        "PUT",
        "/v1/recipients",
        "PrimarySmtpAddress,Database\nmia@example.org,DB2\ntom@example.org,DB1\n",
    );
    let page = replay(&site, asked);
    assert_eq!((&page["messages"], &page["recipients"]), (&1.into(), &1.into()));
    assert_eq!(hop.wait_for(3)[2].recipients, ["mia@example.org"]);
}

#[test]
fn a_replay_as_an_attachment_is_a_new_message_with_the_old_one_in_it() {
    let mut site = Site::new("");
    let hop = Hop::start(site.hop_port);
    site.start();
    let large = format!("{BODY}{}", "0123456789abcdef\r\n".repeat(100_000));
    let id = deliver(&site, &hop, &["mia@example.org", "tom@example.org"], &large);
    let page = replay(&site, r#"{"which":{"mailbox":"mia@example.org"},"as_attachment":true}"#);
    assert_eq!(page["messages"], 1);
    let got = hop.wait_for(2);
    assert_eq!(
        (&got[1].sender[..], &got[1].recipients[..]),
        ("postmaster@example.org", &["mia@example.org".to_owned()][..])
    );
    let new = &got[1].body;
    let (head, rest) = new.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nSubject: Replay: hello\r\n") && head.contains("\r\nDate: "), "{head}");
    let message_id = head.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap();
    assert!(message_id.contains(&id) && message_id.ends_with("@mx.example.org>"), "{message_id}");
    let boundary = head.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
    let parts: Vec<_> = rest.split(&format!("--{boundary}")).collect();
    assert_eq!(parts.len(), 4, "a text, the message, and the end");
    let (kind, inner) = parts[2].split_once("\r\n\r\n").unwrap();
    assert!(kind.contains("Content-Type: message/rfc822"), "{kind}");
    assert_eq!(inner.strip_suffix("\r\n").unwrap(), got[0].body, "byte for byte");
    let shown = site.json("GET", &format!("/v1/messages/{id}"), "");
    let kinds: Vec<_> =
        shown["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["delivered", "replayed"]);
    assert_eq!(shown["recipient_list"][0]["fate"], "delivered");
    eventually("it is recorded", || (site.status()["mail"]["messages"] == 0).then_some(()));
    let page = replay(&site, r#"{"which":"all","as_attachment":true}"#);
    assert_eq!(page["messages"], 1, "an attachment is not wrapped once more");
}

#[test]
fn a_replay_is_of_what_was_there_when_it_began() {
    let mut site = Site::new("");
    let hop = Hop::start(site.hop_port);
    site.start();
    let ids: Vec<_> = (0..3)
        .map(|number| deliver(&site, &hop, &["mia@example.org"], &format!("Subject: {number}\r\n\r\n")))
        .collect();
    site.json("PUT", "/v1/mode", r#"{"mode":"hold"}"#);
    // One that began before the last message came, and is asked for all that is below it.
    let last: u64 = ids[2].trim_start_matches("d-").parse().unwrap();
    let cut = format!(r#"{{"which":"all","as_attachment":true,"position":"{}","below":{last}}}"#, ids[0]);
    let page = replay(&site, &cut);
    assert_eq!((&page["messages"], &page["next"], &page["below"]), (&2.into(), &Value::Null, &last.into()));
    // That came to its end, so the same begins anew.
    let again = replay(&site, r#"{"which":"all","as_attachment":true}"#);
    assert_eq!((&again["resumed_at"], &again["messages"]), (&Value::Null, &3.into()));
    assert_eq!(site.status()["mail"]["messages"], 5);
    site.json("PUT", "/v1/mode", r#"{"mode":"auto"}"#);
    hop.wait_for(8);
}

#[test]
fn what_is_held_is_listed_with_its_reason_after_a_restart_and_tried_again_by_it() {
    let mut site = Site::new("");
    let hop = Hop::start_with(site.hop_port, |line| {
        let said = |who: &str, what: &str| line.contains(who).then(|| what.to_owned());
        said("<gone@", "550 5.1.10 RESOLVER.ADR.RecipientNotFound")
            .or_else(|| said("<x@", "550 5.2.1 disabled"))
    });
    site.start();
    assert!(site.send(&["gone@example.org"], BODY).starts_with("250"));
    assert!(site.send(&["x@example.org"], BODY).starts_with("250"));
    eventually("both are held", || (site.status()["mail"]["held"] == 2).then_some(()));
    site.kill();
    site.start();
    let all = site.json("GET", "/v1/quarantine", "");
    let rows = all["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["recipients"][0], "gone@example.org");
    assert_eq!(rows[0]["said"], "550 5.1.10 RESOLVER.ADR.RecipientNotFound (RCPT)");
    assert_eq!(rows[0]["why"], "refused");
    assert!(rows[0]["held_unix_ms"].is_u64());
    let one = site.json("GET", "/v1/quarantine?said=disabled", "");
    assert_eq!(
        (one["rows"].as_array().unwrap().len(), &one["rows"][0]["sender"]),
        (1, &"sender@example.net".into())
    );
    assert_eq!(
        site.json("GET", "/v1/quarantine?domain=example.com", "")["rows"].as_array().unwrap().len(),
        0
    );
    hop.answer(|_| None);
    let id = one["rows"][0]["id"].as_str().unwrap();
    site.json("POST", "/v1/release", &format!(r#"{{"ids":["{id}"]}}"#));
    assert_eq!(hop.wait_for(1)[0].recipients, ["x@example.org"]);
}

#[test]
fn a_sender_is_told_through_the_smarthost_and_only_where_the_rule_allows_it() {
    let smarthost_port = free_port();
    let mut site = Site::new(&format!("[bounce]\nsmarthost = \"127.0.0.1:{smarthost_port}\"\n"));
    let hop = Hop::start_with(site.hop_port, |line| {
        line.contains("<gone@").then(|| "550 5.1.1 no such user".to_owned())
    });
    site.start();
    let mut client = site.client();
    client.say("MAIL FROM:<sender@example.net> ENVID=QQ+3D1");
    client.expect("250");
    client.say("RCPT TO:<gone@example.org> ORCPT=rfc822;old@example.org");
    client.expect("250");
    client.say("DATA");
    client.expect("354");
    client.message(BODY);
    eventually("it is held", || (site.status()["mail"]["held"] == 1).then_some(()));
    let id = site.json("GET", "/v1/quarantine", "")["rows"][0]["id"].as_str().unwrap().to_owned();
    let refused = |body: String| {
        let (status, answer) = site.ask("POST", "/v1/bounce", &body);
        assert_ne!(status, 200);
        serde_json::from_slice::<Value>(&answer).unwrap()["code"].as_str().unwrap().to_owned()
    };
    let asked = |force: bool| format!(r#"{{"id":"{id}","force":{force},"reason":"has left"}}"#);
    assert_eq!(refused(asked(false)), "PS-D278", "nobody vouches for the sender");
    assert_eq!(refused(asked(true)), "PS-D279", "the smarthost is away");
    assert_eq!(site.status()["mail"]["held"], 1, "nothing was changed");
    let smarthost = Hop::start(smarthost_port);
    site.json("POST", "/v1/bounce", &asked(true));
    let got = smarthost.got();
    assert_eq!(
        (got.len(), &got[0].sender[..], &got[0].recipients[..]),
        (1, "", &["sender@example.net".to_owned()][..])
    );
    for part in [
        "report-type=delivery-status",
        "Original-Envelope-Id: QQ=1",
        "Original-Recipient: rfc822; old@example.org",
        "Final-Recipient: rfc822; gone@example.org",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user",
        "Message-ID: <1@example.net>",
    ] {
        assert!(got[0].body.contains(part), "{part:?} is not in {}", got[0].body);
    }
    assert!(!got[0].body.contains("last line"), "nothing of the text");
    assert_eq!(site.status()["mail"]["messages"], 0);
    assert_eq!(refused(asked(true)), "PS-D280", "nobody is told twice");
    let events = site.json("GET", "/v1/events?kind=bounced", "");
    assert!(events["events"][0]["text"].as_str().unwrap().contains("has left"));

    // Spam, and mail without a sender, whatever the operator says.
    hop.answer(|line| (line == ".").then(|| "550 5.7.1 content rejected".into()));
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    eventually("it is held", || (site.status()["mail"]["held"] == 1).then_some(()));
    let id = site.json("GET", "/v1/quarantine", "")["rows"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(refused(format!(r#"{{"id":"{id}","force":true,"reason":"x"}}"#)), "PS-D274");
    assert_eq!(smarthost.got().len(), 1);
}
