//! The daemon looks after what it keeps: rot is put right before the next hop is back, or told of.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::os::unix::fs::FileExt;

use serde_json::Value;
use support::{Hop, Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const BODY: &str = "Subject: hello\r\n\r\nthe bytes that will rot and the bytes that will not\r\n";

/// Flips bits in the volume file, at a place in the one message that contains these words.
fn flip(site: &Site, words: &str, mask: u8) {
    let path = site.directory.path().join("volume");
    let image = std::fs::read(&path).unwrap();
    let at = image.windows(words.len()).position(|window| window == words.as_bytes()).unwrap();
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[image[at] ^ mask], at as u64).unwrap();
}

fn events(site: &Site, kind: &str) -> Vec<Value> {
    site.json("GET", &format!("/v1/events?kind={kind}&limit=100"), "")["events"].as_array().unwrap().clone()
}

fn scrubbed(site: &Site) -> Value {
    eventually("a pass ends", || {
        let scrub = site.json("GET", "/v1/scrub", "");
        (scrub["running"].is_null() && !scrub["last"].is_null()).then(|| scrub["last"].clone())
    })
}

#[test]
fn a_flipped_bit_is_put_right_before_the_next_hop_is_back() {
    let mut site = Site::new("");
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    scrubbed(&site);
    assert!(site.stop());
    flip(&site, "bytes that will rot", 0x10);
    site.start();
    site.json("POST", "/v1/scrub", r#"{"repair":true}"#);
    let last = scrubbed(&site);
    assert_eq!((&last["found"]["repaired"], &last["found"]["messages"]), (&1.into(), &1.into()), "{last}");
    assert!(last["complete"].as_bool().unwrap() && last["ended_unix_ms"].is_u64(), "{last}");
    assert_eq!(events(&site, "repaired")[0]["message"], "d-1");
    assert_eq!(events(&site, "scrubbed").len(), 2);
    let status = site.status();
    assert_eq!(status["volumes"][0]["scrub"]["last"], last);
    let (_, metrics) = site.ask("GET", "/metrics", "");
    assert!(String::from_utf8(metrics).unwrap().contains("penstock_scrub_repaired_messages_total 1"));
    let hop = Hop::start(site.hop_port);
    assert!(hop.wait_for(1)[0].body.ends_with(BODY));
}

#[test]
fn what_cannot_be_put_right_is_told_of_and_not_delivered() {
    let mut site = Site::new("");
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    assert!(site.send(&["two@example.org"], "Subject: other\r\n\r\nintact\r\n").starts_with("250"));
    scrubbed(&site);
    assert!(site.stop());
    flip(&site, "bytes that will rot", 0x10);
    flip(&site, "bytes that will not", 0x02);
    site.start();
    let checked = site.json("POST", "/v1/scrub", r#"{"repair":false}"#);
    assert_eq!(checked["running"]["asked"], true);
    let last = scrubbed(&site);
    assert_eq!((&last["found"]["damaged"], &last["found"]["messages"]), (&1.into(), &1.into()), "{last}");
    assert_eq!(events(&site, "damaged")[0]["message"], "d-1");
    let status = site.status();
    assert_eq!(status["mail"]["damaged"], 1);
    let codes: Vec<_> = status["alerts"].as_array().unwrap().iter().map(|a| a["code"].clone()).collect();
    assert!(codes.contains(&"PS-D210".into()) && codes.contains(&"PS-D214".into()), "{codes:?}");
    let hop = Hop::start(site.hop_port);
    assert_eq!(hop.wait_for(1)[0].recipients, ["two@example.org"]);
    assert_eq!(hop.got().len(), 1);
}

#[test]
fn a_pass_by_itself_begins_with_the_first_start_and_not_with_the_next() {
    let mut site = Site::new("");
    site.start();
    let last = scrubbed(&site);
    assert!(site.stop());
    site.start();
    let scrub = site.json("GET", "/v1/scrub", "");
    assert_eq!(scrub["last"]["ended_unix_ms"], last["ended_unix_ms"]);
    assert!(scrub["next_in_s"].as_u64().unwrap() > 6 * 86_400, "{scrub}");
    let stopped = site.json("DELETE", "/v1/scrub", "");
    assert_eq!(stopped["summary"], "No scrub was running.");
    assert_eq!(site.json("GET", "/v1/volume", "")["segments"]["total"], 64);
}
