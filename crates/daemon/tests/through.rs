//! Through mode: a client is told what the next hop says of its message, if that can be told; and whatever happens
//! meanwhile, no message is lost, delivered twice, or both refused and delivered.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::panic,
    reason = "in a test a panic is the verdict"
)]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use support::{Hop, Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const BODY: &str = "Subject: hello\r\n\r\nhello\r\n";
const SPAM: &str = "550 5.7.1 Message rejected as spam by Content Filtering.";
const GONE: &str = "550 5.1.10 RESOLVER.ADR.RecipientNotFound";

/// A site before a server that has taken a message, so that clients wait for its word.
fn well(site: &mut Site) -> Hop {
    let hop = Hop::start(site.hop_port);
    site.start();
    assert!(site.send(&["first@example.org"], BODY).starts_with("250 2.0.0 queued as d-"), "not waited for");
    hop.wait_for(1);
    eventually("clients wait", || (site.status()["through"]["on"] == true).then_some(()));
    hop
}

/// What became of the message that a reply names.
fn shown(site: &Site, reply: &str) -> serde_json::Value {
    let at = reply.rfind("d-").unwrap_or_else(|| panic!("no id in {reply:?}"));
    let id: String = reply[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    site.json("GET", &format!("/v1/messages/{id}"), "")
}

fn kinds(shown: &serde_json::Value) -> Vec<&str> {
    shown["events"].as_array().unwrap().iter().map(|event| event["kind"].as_str().unwrap()).collect()
}

#[test]
fn a_refusal_is_told_and_leaves_nothing_behind_that_is_delivered_held_or_reported() {
    let mut site = Site::new("");
    let hop = well(&mut site);
    hop.answer(|line| (line == ".").then(|| SPAM.into()));
    let reply = site.send(&["one@example.org", "two@example.org"], BODY);
    assert!(reply.starts_with("550 5.7.1 Message rejected as spam by Content Filtering. (d-"), "{reply}");
    hop.answer(|_| None);
    let message = shown(&site, &reply);
    let fates: Vec<_> =
        message["recipient_list"].as_array().unwrap().iter().map(|it| it["fate"].clone()).collect();
    assert_eq!(
        (&fates[..], kinds(&message)),
        (&["refused_in_session".into(), "refused_in_session".into()][..], vec!["refused"])
    );
    let text = message["events"][0]["text"].as_str().unwrap();
    assert!(text.contains("one@example.org, two@example.org") && text.contains("5.7.1"), "{text}");
    let status = site.status();
    assert_eq!((&status["mail"]["messages"], &status["through"]["refused"]), (&0.into(), &1.into()));
    // As by a power cut right after: it is as final as the client was told.
    site.kill();
    site.start();
    assert_eq!(site.status()["mail"]["messages"], 0);
    let good = site.send(&["one@example.org"], "Subject: good\r\n\r\ngood\r\n");
    assert!(good.starts_with("250"), "{good}");
    assert!(hop.wait_for(2)[1].body.contains("good"), "what was refused does not come back");
}

#[test]
fn an_acceptance_is_handed_on_with_our_number() {
    let mut site = Site::new("");
    let hop = well(&mut site);
    let reply = site.send(&["one@example.org"], BODY);
    assert!(reply.starts_with("250 2.6.0 queued as d-"), "{reply}");
    assert!(reply.ends_with(", and taken by the next hop: Queued mail for delivery"), "{reply}");
    assert_eq!(hop.got().len(), 2, "it lies there when the client is told");
    assert_eq!(kinds(&shown(&site, reply.split(", and").next().unwrap())), ["delivered"]);
}

#[test]
fn recipients_that_fare_differently_have_one_answer_and_the_refused_one_is_held() {
    let mut site = Site::new("");
    let hop = well(&mut site);
    hop.answer(|line| line.contains("<gone@").then(|| GONE.into()));
    let reply = site.send(&["one@example.org", "gone@example.org"], BODY);
    assert!(reply.starts_with("250 2.0.0 queued as d-"), "{reply}");
    assert_eq!(hop.wait_for(2)[1].recipients, ["one@example.org"]);
    eventually("the other one is held", || (site.status()["mail"]["held"] == 1).then_some(()));
    // Where all of them are gone, there is one answer.
    let reply = site.send(&["gone@example.org", "gone@example.org"], BODY);
    assert!(reply.starts_with("550 5.1.10 RESOLVER.ADR.RecipientNotFound (d-"), "{reply}");
    assert_eq!(site.status()["mail"]["held"], 1);
}

#[test]
fn one_of_several_recipients_that_spoils_the_message_is_found_before_anybody_is_told() {
    let mut site = Site::new("");
    let hop = well(&mut site);
    let last = std::sync::Mutex::new(Vec::new());
    hop.answer(move |line| {
        let mut recipients = last.lock().unwrap();
        if line.starts_with("MAIL") {
            recipients.clear();
        } else if line.starts_with("RCPT") {
            recipients.push(line.to_owned());
        }
        (line == "." && recipients.iter().any(|line| line.contains("<gone@"))).then(|| GONE.into())
    });
    let reply = site.send(&["one@example.org", "gone@example.org", "two@example.org"], BODY);
    assert!(reply.starts_with("250 2.0.0 queued as d-"), "{reply}");
    assert_eq!(hop.wait_for(3).len(), 3, "each of the others has it");
    let reply = site.send(&["gone@example.org", "gone@example.org"], BODY);
    assert!(reply.starts_with("550 5.1.10"), "{reply}");
}

#[test]
fn what_is_put_off_is_ours() {
    let mut site = Site::new("retry_schedule = [\"1h\"]\n");
    let hop = well(&mut site);
    hop.answer(|line| (line == ".").then(|| "451 4.7.1 Greylisted".into()));
    let reply = site.send(&["one@example.org"], BODY);
    assert!(reply.starts_with("250 2.0.0 queued as d-"), "{reply}");
    eventually("it is put off", || {
        (site.json("GET", "/v1/queue", "")["rows"][0]["state"] == "deferred").then_some(())
    });
    assert_eq!(site.status()["through"]["untold"], 1);
}

#[test]
fn what_may_be_the_servers_own_fault_is_held_and_not_told() {
    for (at, says) in [
        ("RCPT", "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain"),
        ("RCPT", "530 5.7.57 SMTP; Client was not authenticated to send anonymous mail"),
        ("MAIL", "550 5.7.1 Client does not have permissions to send as this sender"),
        (".", "554 5.4.6 Hop count exceeded - possible mail loop"),
        (".", "554 Transaction failed"),
    ] {
        let mut site = Site::new("");
        let hop = well(&mut site);
        hop.answer(move |line| line.starts_with(at).then(|| says.into()));
        let reply = site.send(&["one@example.org"], BODY);
        assert!(reply.starts_with("250 2.0.0 queued as d-"), "{says}: {reply}");
        assert_eq!(site.status()["mail"]["messages"], 1, "{says}");
    }
}

#[test]
fn a_mailbox_that_is_known_to_be_there_is_not_told_to_be_gone() {
    let mut site = Site::new("");
    let hop = well(&mut site);
    hop.answer(|line| line.contains("<nobody@").then(|| GONE.into()));
    // From a server that looks at recipients: who is taken is there.
    assert!(site.send(&["nobody@example.org"], BODY).starts_with("550 5.1.10"));
    assert!(site.send(&["ann@example.org"], BODY).starts_with("250 2.6.0"));
    hop.answer(|line| line.starts_with("RCPT").then(|| GONE.into()));
    let reply = site.send(&["ann@example.org"], BODY);
    assert!(reply.starts_with("250 2.0.0 queued as d-"), "{reply}");
    eventually("it is held", || (site.status()["mail"]["held"] == 1).then_some(()));
}

#[test]
fn nobody_waits_for_a_server_that_is_away_or_where_the_settings_say_so() {
    let mut site = Site::new("through = \"off\"\n");
    let hop = Hop::start(site.hop_port);
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    hop.wait_for(1);
    hop.answer(|line| (line == ".").then(|| SPAM.into()));
    assert!(site.send(&["one@example.org"], BODY).starts_with("250 2.0.0 queued as d-"));
    eventually("it is held", || (site.status()["mail"]["held"] == 1).then_some(()));
    let through = site.status()["through"].clone();
    assert_eq!((&through["on"], &through["why_not"]), (&false.into(), &"the settings say so".into()));

    let mut site = Site::new("");
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250 2.0.0 queued as d-"));
    let through = eventually("it is known to be away", || {
        let through = site.status()["through"].clone();
        (through["why_not"] == "the next hop is down").then_some(through)
    });
    assert_eq!([&through["late"], &through["untold"]], [0, 0]);
}

/// A server that keeps silent at the end of data until it is told to go on.
fn silent(hop: &Hop, then: &'static str) -> Arc<AtomicBool> {
    let (go_on, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let told = Arc::clone(&go_on);
    hop.answer(move |line| {
        if line != "." || !waits.load(Relaxed) {
            return None;
        }
        while !told.load(Relaxed) {
            thread::sleep(Duration::from_millis(5));
        }
        waits.store(false, Relaxed);
        (!then.is_empty()).then(|| then.into())
    });
    go_on
}

#[test]
fn who_has_waited_long_enough_is_told_250_and_what_is_refused_later_is_held() {
    let mut site = Site::new("through_wait = \"1s\"\n");
    let hop = well(&mut site);
    let go_on = silent(&hop, SPAM);
    let reply = site.send(&["one@example.org"], BODY);
    assert!(reply.starts_with("250 2.0.0 queued as d-"), "{reply}");
    assert_eq!(site.status()["through"]["late"], 1);
    go_on.store(true, Relaxed);
    eventually("it is held", || (site.status()["mail"]["held"] == 1).then_some(()));
    assert_eq!(kinds(&shown(&site, &reply)), ["held"]);
}

#[test]
fn a_client_that_goes_away_comes_back_to_the_same_answer() {
    let mut site = Site::new("");
    let hop = well(&mut site);
    let go_on = silent(&hop, SPAM);
    let mut client = site.client();
    client.envelope("sender@example.net", &["one@example.org"]);
    client.raw(BODY.as_bytes());
    client.raw(b".\r\n");
    let row =
        eventually("the message is there", || site.json("GET", "/v1/queue", "")["rows"].get(0).cloned());
    drop(client);
    go_on.store(true, Relaxed);
    let id = row["id"].as_str().unwrap();
    eventually("it is refused", || {
        let message = site.json("GET", &format!("/v1/messages/{id}"), "");
        (message["recipient_list"][0]["fate"] == "refused_in_session").then_some(())
    });
    assert_eq!(site.status()["mail"]["messages"], 0);
    eventually("its session has ended", || (site.status()["listener"]["sessions"] == 0).then_some(()));
    hop.answer(|line| (line == ".").then(|| SPAM.into()));
    assert!(site.send(&["one@example.org"], BODY).starts_with("550 5.7.1"));
    assert_eq!(hop.got().len(), 1);
}

#[test]
fn a_stop_lets_everybody_go_who_waits_and_the_mail_is_delivered_after_the_next_start() {
    let mut site = Site::new("");
    let hop = well(&mut site);
    let go_on = silent(&hop, "");
    let mut client = site.client();
    client.envelope("sender@example.net", &["one@example.org"]);
    client.raw(BODY.as_bytes());
    client.raw(b".\r\n");
    eventually("the message is on its way", || (site.status()["progress"]["in_flight"] == 1).then_some(()));
    assert!(site.stop());
    client.expect("250 2.0.0 queued as d-");
    client.expect("421 4.3.2");
    go_on.store(true, Relaxed);
    site.start();
    hop.wait_for(2);
    eventually("nothing is left", || (site.status()["mail"]["messages"] == 0).then_some(()));
}

#[test]
fn a_power_cut_while_a_client_waits_leaves_the_message_to_be_delivered() {
    let mut site = Site::new("");
    let hop = well(&mut site);
    let _go_on = silent(&hop, "");
    let mut client = site.client();
    client.envelope("sender@example.net", &["one@example.org"]);
    client.raw(BODY.as_bytes());
    client.raw(b".\r\n");
    eventually("the message is on its way", || (site.status()["progress"]["in_flight"] == 1).then_some(()));
    site.kill();
    hop.answer(|_| None);
    site.start();
    assert!(hop.wait_for(2).iter().any(|got| got.recipients == ["one@example.org"]));
}

/// A refusal is durable before it is told: where it cannot be, the client is told to come back, and what it brought is
/// neither delivered nor held when the volume can be written again.
#[test]
fn a_refusal_that_cannot_be_recorded_is_not_told() {
    let mut site = Site::new("");
    let control = site.directory.path().join("faults");
    site.faults = format!("control={}", control.display());
    let hop = well(&mut site);
    let faults = control.clone();
    hop.answer(move |line| {
        (line == ".").then(|| {
            // It must never be seen half written.
            let draft = faults.with_extension("draft");
            std::fs::write(&draft, "fail_program_after=0,fail_sync_after=0").unwrap();
            std::fs::rename(draft, &faults).unwrap();
            SPAM.into()
        })
    });
    let reply = site.send(&["one@example.org"], BODY);
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
    hop.answer(|_| None);
    std::fs::remove_file(&control).unwrap();
    eventually("it is mounted anew", || (site.status()["volumes"][0]["health"] == "good").then_some(()));
    eventually("nothing is left", || (site.status()["mail"]["messages"] == 0).then_some(()));
    assert!(site.send(&["two@example.org"], BODY).starts_with("250"));
    assert_eq!(hop.wait_for(2)[1].recipients, ["two@example.org"]);
}

#[test]
fn a_large_message_waits_as_well_and_a_refusal_frees_its_room() {
    let mut site = Site::new("");
    let hop = well(&mut site);
    hop.answer(|line| {
        (line == ".").then(|| "552 5.3.4 Message size exceeds fixed maximum message size".into())
    });
    let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(300_000));
    let before = site.status()["volumes"][0]["live_bytes"].as_u64().unwrap();
    let reply = site.send(&["one@example.org"], &large);
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    let after = site.status()["volumes"][0]["live_bytes"].as_u64().unwrap();
    assert!(after < before + 1_000_000, "{before}, {after}");
}

#[test]
fn the_reserve_lets_clients_wait_as_the_disk_does() {
    let mut site = Site::with_reserve("");
    std::fs::remove_dir(site.directory.path().join("disk")).unwrap();
    let hop = Hop::start(site.hop_port);
    site.start();
    eventually("the reserve takes mail", || {
        let reply = site.send(&["first@example.org"], BODY);
        reply.starts_with("250 2.0.0 queued as n-").then_some(())
    });
    hop.wait_for(1);
    eventually("clients wait", || (site.status()["through"]["on"] == true).then_some(()));
    hop.answer(|line| (line == ".").then(|| SPAM.into()));
    let reply = site.send(&["one@example.org"], BODY);
    assert!(reply.starts_with("550 5.7.1 ") && reply.contains("(n-"), "{reply}");
    assert_eq!(site.status()["mail"]["messages"], 0);
}
