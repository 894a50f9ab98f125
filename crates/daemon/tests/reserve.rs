//! What the service promises while its disk fails, is missing or hangs, and a second volume stands in.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use support::{Hop, Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const BODY: &str = "Subject: hello\r\n\r\nlast line\r\n";
const HELD: &str = "initial_mode = \"hold\"\n";
const FAILS: &str = "fail_program_after=0,fail_sync_after=0";

fn site(more: &str) -> Site {
    let mut site = Site::with_reserve(more);
    site.faults = format!("control={}", site.directory.path().join("faults").display());
    site.start();
    site
}

fn send(site: &Site, recipient: &str) -> String {
    site.send(&[&format!("{recipient}@example.org")], BODY)
}

/// The volume that took a message, by the reply.
fn taken_by(reply: &str) -> char {
    let id = reply.strip_prefix("250 2.0.0 queued as ");
    assert!(id.is_some(), "{reply}");
    id.unwrap().chars().next().unwrap()
}

fn health(site: &Site) -> [serde_json::Value; 2] {
    let status = site.status();
    [0, 1].map(|n| status["volumes"][n]["health"].clone())
}

fn wait_for_disk(site: &Site, state: &str) {
    eventually(&format!("the disk is {state}"), || (health(site)[0] == state).then_some(()));
}

fn queued(site: &Site) -> Vec<String> {
    let page = site.json("GET", "/v1/queue", "");
    let rows = page["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| row["recipient"].as_str().unwrap().trim_end_matches("@example.org").to_owned())
        .collect()
}

/// Waits for so many messages, and gives their recipients in the order in which they came.
fn arrived(hop: &Hop, count: usize) -> Vec<String> {
    let got = hop.wait_for(count);
    got.iter().map(|got| got.recipients[0].trim_end_matches("@example.org").to_owned()).collect()
}

#[test]
fn mail_goes_to_the_reserve_while_the_disk_fails_and_all_of_it_comes_out_in_order() {
    let mut site = site(&format!("{HELD}connections_max = 1\n"));
    assert_eq!(health(&site), ["good", "good"]);
    assert_eq!(taken_by(&send(&site, "one")), 'd');
    // What was under way on the disk when it failed is answered with 4xx.
    let mut client = site.client();
    client.envelope("sender@example.net", &["lost@example.org"]);
    site.set_faults(FAILS);
    let reply = client.message(BODY);
    assert!(reply.starts_with("452"), "{reply}");
    assert_eq!(taken_by(&send(&site, "two")), 'n');
    assert_eq!(taken_by(&send(&site, "three")), 'n');

    let status = site.status();
    let volumes = &status["volumes"];
    assert_eq!((&volumes[0]["health"], &volumes[0]["takes_mail"]), (&"read_only".into(), &false.into()));
    assert_eq!((&volumes[1]["health"], &volumes[1]["takes_mail"]), (&"good".into(), &true.into()));
    assert_eq!(
        (&status["alerts"][0]["severity"], &status["alerts"][0]["code"]),
        (&"critical".into(), &"PS-D201".into())
    );
    let lost = eventually("it is in the ledger", || {
        let events = site.json("GET", "/v1/events?kind=volume_lost", "");
        events["events"].get(0).cloned()
    });
    assert!(lost["text"].as_str().unwrap().starts_with("the disk, "), "{lost}");
    assert!(site.log().contains("PS-D206"), "{}", site.log());
    assert_eq!(queued(&site), ["one", "two", "three"], "what is on the disk can still be seen");

    site.set_faults("");
    wait_for_disk(&site, "good");
    assert_eq!(taken_by(&send(&site, "four")), 'd');
    assert_eq!(queued(&site), ["one", "two", "three", "four"]);
    // A restart finds the same order.
    site.kill();
    site.start();
    assert_eq!(queued(&site), ["one", "two", "three", "four"]);
    let hop = Hop::start(site.hop_port);
    site.json("PUT", "/v1/mode", r#"{"mode":"auto"}"#);
    assert_eq!(arrived(&hop, 4), ["one", "two", "three", "four"]);
    eventually("the queue is empty", || (site.status()["mail"]["messages"] == 0).then_some(()));
    site.kill();
    site.start();
    assert_eq!(site.status()["mail"]["messages"], 0);
    assert!(site.stop());
    assert_eq!(hop.got().len(), 4, "nothing goes twice, and what was refused does not go");
}

#[test]
fn what_is_in_the_reserve_is_released_while_the_disk_fails() {
    let site = site("");
    let hop =
        Hop::start_with(site.hop_port, |line| line.contains("<stays@").then(|| "451 4.2.1 Busy".into()));
    assert_eq!(taken_by(&send(&site, "stays")), 'd');
    eventually("it was tried", || {
        (site.json("GET", "/v1/queue", "")["rows"][0]["attempts"] == 1).then_some(())
    });
    site.set_faults(FAILS);
    eventually("the disk is found to fail", || send(&site, "goes").starts_with("250").then_some(()));
    eventually("it arrives", || (arrived(&hop, 1) == ["goes"]).then_some(()));
    hop.answer(|_| None);
    site.json("POST", "/v1/release", "\"all\"");
    assert!(send(&site, "too").contains("n-"));
    assert_eq!(arrived(&hop, 2), ["goes", "too"], "what is on the disk waits for it");
    assert_eq!(site.status()["mail"]["held"], 0, "and is not set aside");
    site.set_faults("");
    wait_for_disk(&site, "good");
    site.json("POST", "/v1/release", "\"all\"");
    assert_eq!(arrived(&hop, 3), ["goes", "too", "stays"]);
}

#[test]
fn without_its_disk_a_box_serves_on_the_reserve_alone_and_picks_the_disk_up_when_it_comes() {
    let mut site = site(HELD);
    assert_eq!(taken_by(&send(&site, "one")), 'd');
    assert!(site.stop());
    let (here, away) = (site.directory.path().join("disk"), site.directory.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    site.start();
    assert_eq!(health(&site), ["absent", "good"]);
    assert!(site.log().contains("PS-D204"), "{}", site.log());
    assert_eq!(site.status()["mode"]["mode"], "hold", "the state of the box is on both");
    assert_eq!(taken_by(&send(&site, "two")), 'n');
    let page = site.json("GET", "/v1/queue", "");
    assert_eq!((&page["unreachable"][0], &page["messages"]), (&"disk".into(), &1.into()));
    site.json("PUT", "/v1/mode", r#"{"mode":"stop","reason":"the disk is gone"}"#);
    site.kill();
    site.start();
    assert_eq!(queued(&site), ["two"]);

    std::fs::rename(&away, &here).unwrap();
    wait_for_disk(&site, "good");
    assert_eq!(site.status()["mode"]["reason"], "the disk is gone", "what the disk has of it is older");
    assert_eq!(taken_by(&send(&site, "three")), 'd');
    assert_eq!(queued(&site), ["one", "two", "three"], "in order of arrival, whichever took what");
    // Now the disk has it, too.
    assert!(site.stop());
    std::fs::remove_file(site.directory.path().join("reserve")).unwrap();
    site.start();
    assert_eq!(site.status()["mode"]["reason"], "the disk is gone");
    let hop = Hop::start(site.hop_port);
    site.json("PUT", "/v1/mode", r#"{"mode":"auto"}"#);
    hop.wait_for(2);
}

#[test]
fn a_disk_that_hangs_is_not_waited_for() {
    let site = site(HELD);
    assert_eq!(taken_by(&send(&site, "one")), 'd');
    let mut client = site.client();
    client.envelope("sender@example.net", &["late@example.org"]);
    site.set_faults("hang");
    let reply = client.message(BODY);
    assert!(reply.starts_with("452"), "{reply}");
    assert_eq!(health(&site), ["stalled", "good"]);
    assert!(site.log().contains("PS-D205"), "{}", site.log());
    assert_eq!(taken_by(&send(&site, "two")), 'n');
    let page = site.json("GET", "/v1/queue", "");
    assert_eq!((page["rows"].as_array().unwrap().len(), &page["unreachable"][0]), (1, &"disk".into()));

    site.set_faults("");
    wait_for_disk(&site, "good");
    assert_eq!(taken_by(&send(&site, "three")), 'd');
    // Its sender was told to come back, and will: it must not go.
    eventually("what came too late is marked", || {
        (site.status()["mail"]["messages"] == 3 && queued(&site) == ["one", "two", "three"]).then_some(())
    });
    let hop = Hop::start(site.hop_port);
    site.json("PUT", "/v1/mode", r#"{"mode":"auto"}"#);
    let mut all = arrived(&hop, 3);
    all.sort();
    assert_eq!(all, ["one", "three", "two"]);
    eventually("the queue is empty", || (site.status()["mail"]["messages"] == 0).then_some(()));
    assert_eq!(hop.got().len(), 3);
}

#[test]
fn a_disk_that_hangs_when_it_is_tried_again_holds_nobody_up() {
    let site = site(HELD);
    assert_eq!(taken_by(&send(&site, "one")), 'd');
    site.set_faults(FAILS);
    eventually("the disk is found to fail", || send(&site, "two").starts_with("250").then_some(()));
    site.set_faults("hang");
    wait_for_disk(&site, "stalled");
    assert_eq!(taken_by(&send(&site, "three")), 'n');
    site.set_faults("");
    wait_for_disk(&site, "good");
    assert_eq!(queued(&site), ["one", "two", "three"]);
}

#[test]
fn large_messages_come_back_when_the_disk_does() {
    let site = site(HELD);
    site.set_faults(FAILS);
    eventually("the disk is found to fail", || send(&site, "one").starts_with("250").then_some(()));
    let mut client = site.connect();
    client.expect("220");
    client.say("EHLO client.example");
    assert!(client.expect("250").contains("SIZE 16777216"), "what is announced is policy");
    client.say("MAIL FROM:<sender@example.net> SIZE=4194305");
    client.expect("452");
    client.envelope("sender@example.net", &["one@example.org"]);
    let reply = client.message(&"0123456789abcdef\r\n".repeat(300_000));
    assert!(reply.starts_with("452"), "{reply}");
    let fits = "0123456789abcdef\r\n".repeat((4 << 20) / 18);
    client.say(&format!("MAIL FROM:<sender@example.net> SIZE={}", fits.len()));
    client.expect("250");
    client.say("RCPT TO:<one@example.org>");
    client.expect("250");
    client.say("DATA");
    client.expect("354");
    assert_eq!(taken_by(&client.message(&fits)), 'n');
}

#[test]
fn operators_reach_both_volumes() {
    let site = site(HELD);
    send(&site, "one");
    site.set_faults(FAILS);
    eventually("the disk is found to fail", || send(&site, "two").starts_with("250").then_some(()));
    let rows = site.json("GET", "/v1/queue", "")["rows"].clone();
    let id = rows.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("n-"));
    let shown = site.json("GET", &format!("/v1/messages/{id}"), "");
    assert_eq!(shown["recipient_list"][0]["address"], "two@example.org");
    let (status, body) = site.ask("POST", &format!("/v1/messages/{id}/export"), r#"{"reason":"a look"}"#);
    assert!(status == 200 && String::from_utf8(body).unwrap().ends_with(BODY));
    let events = site.json("GET", &format!("/v1/events?message={id}"), "");
    assert_eq!(events["events"][0]["kind"], "exported");
    assert_eq!(site.json("GET", "/v1/volume?volume=nor", "")["messages"], 1);
    assert_ne!(site.json("GET", "/v1/volume?volume=nor", "")["id"], site.json("GET", "/v1/volume", "")["id"]);
    let scrubs = site.json("POST", "/v1/scrub?volume=nor", r#"{"repair":false}"#);
    assert_eq!(scrubs["running"]["asked"], true);
    assert_eq!(
        site.ask("POST", "/v1/scrub", r#"{"repair":false}"#).0,
        503,
        "the disk cannot be read through now"
    );
    let removed = site.json("POST", "/v1/remove", &format!(r#"{{"ids":["{id}"],"reason":"no need"}}"#));
    assert_eq!(removed["messages"], 1);
    assert_eq!(site.json("GET", "/v1/volume?volume=nor", "")["messages"], 0);
    let (status, figures) = site.ask("GET", "/metrics", "");
    let figures = String::from_utf8(figures).unwrap();
    assert!(
        status == 200
            && figures.contains("penstock_volume_failed 1\npenstock_volume_failed{volume=\"nor\"} 0"),
        "{figures}"
    );
}
