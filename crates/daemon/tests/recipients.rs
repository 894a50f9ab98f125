//! What the service promises about its list of recipients.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::fmt::Write as _;
use std::thread;

use serde_json::Value;
use support::{Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const EXPORT: &str = "\"PrimarySmtpAddress\",\"EmailAddresses\",\"RecipientType\",\"Database\"\r\n\
\"mia@example.org\",\"SMTP:mia@example.org smtp:m@example.org\",\"UserMailbox\",\"DB01\"\r\n\
\"leo@example.org\",\"SMTP:leo@example.org\",\"UserMailbox\",\"DB02\"\r\n\
\"all@example.org\",\"SMTP:all@example.org\",\"MailUniversalDistributionGroup\",\"\"\r\n";

fn started() -> Site {
    let mut site = Site::new("");
    site.start();
    site
}

fn find(site: &Site, address: &str) -> Value {
    site.json("GET", &format!("/v1/recipients/find?address={address}"), "")
}

fn database(site: &Site, address: &str) -> Value {
    let found = find(site, address);
    assert_eq!(found["known"], true, "{address}");
    found["database"].clone()
}

fn addresses(site: &Site) -> Value {
    site.json("GET", "/v1/recipients", "")["list"]["addresses"].clone()
}

/// A list of so many recipients in three databases.
fn large(count: usize, domain: &str) -> String {
    let mut file = "PrimarySmtpAddress,Database\n".to_owned();
    for n in 0..count {
        writeln!(file, "user{n}@{domain},DB{}", n % 3).unwrap();
    }
    file
}

#[test]
fn an_imported_list_counts_at_once_and_after_any_end_of_the_service() {
    let mut site = started();
    assert_eq!(find(&site, "mia@example.org")["known"], Value::Null, "there is no list");
    let imported = site.json("PUT", "/v1/recipients", EXPORT);
    assert_eq!((&imported["kept"], &imported["lines"]), (&true.into(), &4.into()));
    assert_eq!(imported["list"]["databases"][0], serde_json::json!({ "name": "DB01", "addresses": 2 }));
    assert_eq!(imported["volumes"], serde_json::json!(["disk"]));
    let knows = |site: &Site| {
        assert_eq!(database(site, "M@EXAMPLE.ORG"), "DB01");
        assert_eq!(database(site, "leo%2Bnews@example.org"), "DB02");
        assert_eq!(database(site, "all@example.org"), Value::Null);
        assert_eq!(find(site, "eve@example.org")["known"], false);
    };
    knows(&site);
    site.kill();
    site.start();
    knows(&site);
    assert!(site.stop());
    site.start();
    knows(&site);
    let view = site.json("GET", "/v1/recipients", "");
    assert_eq!((&view["list"]["addresses"], &view["list"]["recipients"]), (&4.into(), &3.into()));
    assert_eq!(view["list"]["imported_unix_ms"], imported["list"]["imported_unix_ms"]);
    let events = site.json("GET", "/v1/events?kind=recipients", "");
    let text = events["events"][0]["text"].as_str().unwrap();
    assert!(text.contains("3 recipients with 4 addresses in 2 mailbox databases"), "{text}");
}

#[test]
fn a_file_with_mistakes_and_a_dry_run_change_nothing() {
    let mut site = started();
    site.json("PUT", "/v1/recipients", EXPORT);
    let (status, answer) = site.ask("PUT", "/v1/recipients", "eve@example.org\nno address\n");
    let error: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, &error["code"]), (400, &"PS-D295".into()));
    assert!(error["message"].as_str().unwrap().contains("line 2: no address"), "{error}");
    let dry = site.json("PUT", "/v1/recipients?dry_run=true", "eve@example.org\n");
    assert_eq!((&dry["kept"], &dry["list"]["addresses"]), (&false.into(), &1.into()));
    for _ in 0..2 {
        assert_eq!(
            (addresses(&site), find(&site, "eve@example.org")["known"].clone()),
            (4.into(), false.into())
        );
        site.kill();
        site.start();
    }
    let events = site.json("GET", "/v1/events?kind=recipients", "");
    let texts: Vec<&str> =
        events["events"].as_array().unwrap().iter().map(|event| event["text"].as_str().unwrap()).collect();
    assert!(texts.len() == 2 && texts[1].starts_with("refused"), "{texts:?}");
}

#[test]
fn a_list_that_was_cleared_stays_away() {
    let mut site = started();
    site.json("PUT", "/v1/recipients", EXPORT);
    site.json("DELETE", "/v1/recipients", "");
    assert_eq!(addresses(&site), Value::Null);
    site.kill();
    site.start();
    assert_eq!(addresses(&site), Value::Null);
}

#[test]
fn lists_come_one_after_the_other_without_end() {
    // More pieces than a volume can have keys, were they not used again.
    let mut site = started();
    for n in 0..6 {
        let count = if n % 2 == 0 { 100_000 } else { 10 };
        site.json("PUT", "/v1/recipients", &large(count, &format!("d{n}.example.org")));
        assert_eq!(addresses(&site), count);
    }
    site.kill();
    site.start();
    assert_eq!(addresses(&site), 10);
    assert_eq!(database(&site, "user4@d5.example.org"), "DB1");
    assert_eq!(find(&site, "user4@d4.example.org")["known"], false);
}

#[test]
fn an_import_that_the_disk_cuts_leaves_the_list_from_before() {
    let mut site = Site::new("");
    site.faults = format!("control={}", site.directory.path().join("faults").display());
    site.start();
    site.json("PUT", "/v1/recipients", EXPORT);
    let file = large(20_000, "new.example.org");
    for programs in [0, 1, 5, 20] {
        site.set_faults(&format!("fail_program_after={programs}"));
        let (status, answer) = site.ask("PUT", "/v1/recipients", &file);
        assert_eq!(status, 503, "{}", String::from_utf8_lossy(&answer));
        assert_eq!(database(&site, "mia@example.org"), "DB01", "it counts while the disk fails");
        site.kill();
        site.set_faults("");
        site.start();
        assert_eq!(addresses(&site), 4, "and after the start");
        assert_eq!(database(&site, "mia@example.org"), "DB01");
    }
    site.json("PUT", "/v1/recipients", &file);
    site.kill();
    site.start();
    assert_eq!(addresses(&site), 20_000);
}

#[test]
fn a_service_that_is_killed_in_an_import_has_the_list_from_before_or_all_of_the_new_one() {
    let mut site = started();
    site.json("PUT", "/v1/recipients", EXPORT);
    let file = large(100_000, "new.example.org");
    for pause_ms in [50, 150, 300, 500] {
        thread::scope(|scope| {
            let socket = site.directory.path().join("control.sock");
            let request = format!(
                "PUT /v1/recipients HTTP/1.1\r\nhost: box\r\ncontent-length: {}\r\n\r\n{file}",
                file.len()
            );
            scope.spawn(move || {
                use std::io::{Read as _, Write as _};
                let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
                // Nobody may be left to take it, or to answer.
                let _ = stream.write_all(request.as_bytes());
                let _ = stream.read_to_end(&mut Vec::new());
            });
            thread::sleep(std::time::Duration::from_millis(pause_ms));
            site.kill();
        });
        site.start();
        match addresses(&site).as_u64() {
            Some(4) => assert_eq!(database(&site, "mia@example.org"), "DB01"),
            Some(100_000) => assert_eq!(database(&site, "user99999@new.example.org"), "DB0"),
            other => panic!("{other:?} addresses"),
        }
    }
}

#[test]
fn the_list_outlives_either_volume_and_a_new_one_is_given_it() {
    let mut site = Site::with_reserve("");
    site.start();
    let imported = site.json("PUT", "/v1/recipients", EXPORT);
    assert_eq!(imported["volumes"], serde_json::json!(["disk", "nor"]));
    for lost in ["disk/volume", "reserve"] {
        site.kill();
        std::fs::remove_file(site.directory.path().join(lost)).unwrap();
        site.start();
        let on_both = || {
            let view = site.json("GET", "/v1/recipients", "");
            (view["volumes"] == serde_json::json!(["disk", "nor"])).then_some(view)
        };
        let view = eventually("the new volume has the list", on_both);
        assert_eq!(view["list"]["addresses"], 4, "{lost}");
        assert_eq!(database(&site, "mia@example.org"), "DB01");
    }
}

#[test]
fn a_list_that_only_the_failing_disk_could_hold_is_refused_and_the_one_from_before_stays() {
    let mut site = Site::with_reserve("");
    site.faults = format!("control={}", site.directory.path().join("faults").display());
    site.start();
    site.json("PUT", "/v1/recipients", EXPORT);
    site.set_faults("fail_program_after=0,fail_sync_after=0");
    let file = large(60_000, "example.org");
    for _ in 0..2 {
        let (status, answer) = site.ask("PUT", "/v1/recipients", &file);
        assert_eq!(status, 409, "{}", String::from_utf8_lossy(&answer));
        assert_eq!(addresses(&site), 4);
    }
    site.kill();
    site.set_faults("");
    std::fs::remove_file(site.directory.path().join("disk/volume")).unwrap();
    site.start();
    assert_eq!(addresses(&site), 4);
    assert_eq!(database(&site, "mia@example.org"), "DB01");
}

#[test]
fn a_list_too_large_for_the_reserve_does_not_leave_an_older_one_there() {
    let mut site = Site::with_reserve("");
    site.start();
    site.json("PUT", "/v1/recipients", EXPORT);
    let imported = site.json("PUT", "/v1/recipients", &large(60_000, "example.org"));
    assert_eq!(imported["volumes"], serde_json::json!(["disk"]));
    let warned = imported["warnings"].as_array().unwrap();
    assert!(warned.iter().any(|text| text.as_str().unwrap().contains("NOR flash")), "{warned:?}");
    site.kill();
    std::fs::remove_file(site.directory.path().join("disk/volume")).unwrap();
    site.start();
    let view = site.json("GET", "/v1/recipients", "");
    assert_eq!((&view["list"], &view["unreadable"]), (&Value::Null, &true.into()));
    site.json("PUT", "/v1/recipients", EXPORT);
    assert_eq!(database(&site, "mia@example.org"), "DB01");
}
