//! What the service promises about recipients that nobody knows.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use support::{Hop, Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const LIST: &str = "PrimarySmtpAddress,EmailAddresses\n\
    mia@example.org,smtp:m@example.org\nleo@example.org,\nall@example.org,\nann@example.org,\n";

/// What is said to RCPT for an address, in its brackets.
fn rcpt(site: &Site, path: &str) -> String {
    let mut client = site.client();
    client.say("MAIL FROM:<sender@example.net>");
    client.expect("250");
    client.say(&format!("RCPT TO:{path}"));
    client.reply()
}

fn code(site: &Site, address: &str) -> String {
    rcpt(site, &format!("<{address}>"))[..9].to_owned()
}

fn decides(site: &Site) -> String {
    site.status()["recipients"]["decides"].as_str().unwrap().to_owned()
}

fn wait_until_decides(site: &Site, who: &str) {
    eventually(who, || (decides(site) == who).then_some(()));
}

/// The server says that it is not in service, and a message finds that out.
fn go_away(site: &Site, hop: &Hop) {
    hop.answer(|line| line.starts_with("MAIL").then(|| "421 4.3.2 Service not active".to_owned()));
    assert!(site.send(&["mia@example.org"], "Subject: x\r\n\r\nx\r\n").starts_with("250"));
    eventually("the server is away", || (decides(site) != "next_hop").then_some(()));
}

/// Starts the daemon again after what an outage began with was kept, which takes it a second.
fn restart_in_outage(site: &mut Site) {
    eventually("it is kept", || {
        thread::sleep(Duration::from_secs(2));
        site.kill();
        site.start();
        (decides(site) == "list_in_step").then_some(())
    });
}

fn with_hop() -> (Site, Hop) {
    let mut site = Site::new("");
    let hop = Hop::start(site.hop_port);
    site.start();
    wait_until_decides(&site, "next_hop");
    (site, hop)
}

#[test]
fn while_a_server_is_there_its_own_answer_counts() {
    let (site, _hop) = with_hop();
    assert_eq!(code(&site, "eve@example.org"), "250 2.1.5", "without a list");
    site.json("PUT", "/v1/recipients", LIST);
    assert_eq!(code(&site, "eve@example.org"), "250 2.1.5", "and with one");
    assert_eq!(code(&site, "eve@example.com"), "550 5.7.1");
}

#[test]
fn without_a_list_everybody_is_taken_in_an_outage() {
    let (site, hop) = with_hop();
    go_away(&site, &hop);
    assert_eq!(decides(&site), "nobody");
    assert_eq!(code(&site, "eve@example.org"), "250 2.1.5");
    assert_eq!(code(&site, "eve@example.com"), "550 5.7.1");
    // A list that comes meanwhile adds whom it names, and nobody is refused for it.
    site.json("PUT", "/v1/recipients", LIST);
    assert_eq!(code(&site, "eve@example.org"), "250 2.1.5");
}

#[test]
fn by_a_list_in_step_unknown_recipients_are_refused_until_a_server_is_back_whatever_becomes_of_the_list() {
    let (mut site, hop) = with_hop();
    site.json("PUT", "/v1/recipients", LIST);
    go_away(&site, &hop);
    assert_eq!(decides(&site), "list_in_step");
    let is_judged = |site: &Site| {
        assert_eq!(code(site, "eve@example.org"), "550 5.1.1");
        for known in [
            "mia@example.org",
            "M@Example.ORG",
            "\"mia\"@example.org",
            "mia+news@example.org",
            "mia@example.org.",
            "postmaster@example.org",
            "PostMaster",
        ] {
            assert_eq!(code(site, known), "250 2.1.5", "{known}");
        }
        assert!(rcpt(site, "<@relay.example,@other.example:mia@example.org>").starts_with("250"));
        assert!(rcpt(site, "<@relay.example:eve@example.org>").starts_with("550 5.1.1"));
        for foreign in ["mia@sub.example.org", "mia@[127.0.0.1]", "postmaster@example.com"] {
            assert_eq!(code(site, foreign), "550 5.7.1", "{foreign}");
        }
    };
    is_judged(&site);
    let checked = site.json("GET", "/v1/recipients/check?address=eve@example.org", "");
    assert_eq!((&checked["answer"], &checked["reason"]), (&"refuse".into(), &"unknown".into()));
    assert!(checked["why"][0].as_str().unwrap().contains("was in step"), "{checked}");
    let metrics = String::from_utf8(site.ask("GET", "/metrics", "").1).unwrap();
    assert!(
        metrics.contains("recipients_decided_total{answer=\"refuse\",reason=\"unknown\"} 2"),
        "{metrics}"
    );
    assert!(site.log().contains("a recipient is not taken"), "the reason is in the log");

    restart_in_outage(&mut site);
    is_judged(&site);

    // A directory that is being restored has others in it, or nobody.
    site.json("PUT", "/v1/recipients", "new@example.org\n");
    assert_eq!(code(&site, "new@example.org"), "250 2.1.5");
    is_judged(&site);
    site.json("DELETE", "/v1/recipients", "");
    is_judged(&site);

    hop.answer(|_| None);
    wait_until_decides(&site, "next_hop");
    assert_eq!(code(&site, "eve@example.org"), "250 2.1.5");
}

#[test]
fn a_list_from_an_outage_that_is_all_that_is_left_of_two_refuses_nobody_for_good() {
    let (mut site, hop) = with_hop();
    site.json("PUT", "/v1/recipients", LIST);
    go_away(&site, &hop);
    restart_in_outage(&mut site);
    site.json("PUT", "/v1/recipients", "new@example.org\n");
    site.kill();
    site.start();
    assert_eq!(decides(&site), "older_list");
    assert_eq!(
        (code(&site, "mia@example.org"), code(&site, "new@example.org")),
        ("450 4.1.1".into(), "250 2.1.5".into())
    );
}

/// Writes the file that the list is read from, as of so long ago.
fn write_file(site: &Site, text: &str, age: Duration) {
    let path = site.directory.path().join("recipients.csv");
    let new = site.directory.path().join("recipients.new");
    std::fs::write(&new, text).unwrap();
    let file = File::options().write(true).open(&new).unwrap();
    file.set_modified(SystemTime::now() - age).unwrap();
    std::fs::rename(new, path).unwrap();
}

fn with_file(text: &str, age: Duration) -> (Site, Hop) {
    let mut site = Site::new("");
    write_file(&site, text, age);
    let path = site.directory.path().join("recipients.csv").display().to_string();
    site.edit(|text| text.replace("find_out = false\n", &format!("find_out = false\nfile = \"{path}\"\n")));
    let hop = Hop::start(site.hop_port);
    site.start();
    wait_until_decides(&site, "next_hop");
    (site, hop)
}

fn addresses(site: &Site) -> Option<u64> {
    site.json("GET", "/v1/recipients", "")["list"]["addresses"].as_u64()
}

const DAYS: Duration = Duration::from_secs(86_400);

#[test]
fn by_an_older_list_unknown_recipients_are_put_off() {
    let (site, hop) = with_file(LIST, 2 * DAYS);
    eventually("the file is read", || addresses(&site));
    go_away(&site, &hop);
    assert_eq!(decides(&site), "older_list");
    assert_eq!(
        (code(&site, "eve@example.org"), code(&site, "mia@example.org")),
        ("450 4.1.1".into(), "250 2.1.5".into())
    );
}

#[test]
fn a_file_is_read_again_when_it_changes_and_not_believed_when_a_third_is_missing() {
    let (site, hop) = with_file(LIST, 3 * DAYS);
    eventually("the file is read", || (addresses(&site) == Some(5)).then_some(()));
    let in_step =
        |site: &Site| site.json("GET", "/v1/recipients", "")["policy"]["in_step"] == Value::Bool(true);
    assert!(!in_step(&site));
    // The same again, as a nightly export writes it: that is why it is in step.
    write_file(&site, LIST, Duration::ZERO);
    eventually("it is in step", || in_step(&site).then_some(()));

    write_file(&site, "mia@example.org\nleo@example.org\nnew@example.org\n", Duration::ZERO);
    let trouble = |site: &Site| site.json("GET", "/v1/recipients", "")["source"]["trouble"].clone();
    let told = eventually("it is not believed", || Some(trouble(&site)).filter(|trouble| !trouble.is_null()));
    assert_eq!(told["code"], "PS-D288", "{told}");
    assert_eq!(addresses(&site), Some(5));
    assert!(site.status()["alerts"].to_string().contains("PS-D288"));
    let (status, answer) = site.ask("POST", "/v1/recipients/reload", "{}");
    assert_eq!(status, 409, "{}", String::from_utf8_lossy(&answer));
    let view = site.json("POST", "/v1/recipients/reload", "{\"believe\":true}");
    assert_eq!((&view["list"]["addresses"], &view["source"]["trouble"]), (&3.into(), &Value::Null));

    write_file(&site, "mia@example.org\nno address\n", Duration::ZERO);
    let told = eventually("it is wrong", || Some(trouble(&site)).filter(|trouble| !trouble.is_null()));
    assert!(told["message"].as_str().unwrap().contains("line 2: no address"), "{told}");
    assert_eq!(addresses(&site), Some(3));

    // While no server is there it is not read.
    go_away(&site, &hop);
    write_file(&site, &format!("{LIST}eve@example.org,\n"), Duration::ZERO);
    eventually("it is told", || {
        let view = site.json("GET", "/v1/recipients", "");
        view["source"]["last"].as_str().unwrap().contains("while no next hop is there").then_some(())
    });
    assert_eq!((addresses(&site), code(&site, "eve@example.org")), (Some(3), "550 5.1.1".into()));
    hop.answer(|_| None);
    wait_until_decides(&site, "next_hop");
    eventually("it is read", || (addresses(&site) == Some(6)).then_some(()));
}

fn finding_out() -> Site {
    let site = Site::new("");
    site.edit(|text| text.replace("find_out = false", "find_out = true"));
    site
}

fn validation(site: &Site) -> Value {
    site.json("GET", "/v1/recipients", "")["policy"]["validation"][0].clone()
}

#[test]
fn whether_a_server_looks_at_recipients_is_found_out_once_and_kept() {
    let mut site = finding_out();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let hop = Hop::start_with(site.hop_port, move |line| {
        let is_it = line.starts_with("RCPT TO:<penstock-nobody-");
        count.fetch_add(usize::from(is_it), Relaxed);
        is_it.then(|| "550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found".to_owned())
    });
    site.start();
    eventually("it is found out", || (validation(&site)["validates"] == Value::Bool(true)).then_some(()));
    assert!(validation(&site)["words"].as_str().unwrap().contains("at RCPT"));
    assert!(hop.got().is_empty(), "nobody gets it");

    // Whom it takes from now on is known to be there, list or no list.
    site.json("PUT", "/v1/recipients", LIST);
    assert!(site.send(&["taken@example.org"], "Subject: x\r\n\r\nx\r\n").starts_with("250"));
    hop.wait_for(1);
    go_away(&site, &hop);
    assert_eq!(
        (code(&site, "taken@example.org"), code(&site, "eve@example.org")),
        ("250 2.1.5".into(), "550 5.1.1".into())
    );

    hop.answer(|_| None);
    assert!(site.stop());
    site.start();
    assert_eq!(validation(&site)["validates"], true, "it is kept");
    wait_until_decides(&site, "next_hop");
    assert_eq!(asked.load(Relaxed), 1, "and not asked again before a day has passed");
}

#[test]
fn of_a_server_that_takes_every_name_nothing_is_learnt_and_its_report_comes_here() {
    let mut site = finding_out();
    let hop = Hop::start(site.hop_port);
    site.start();
    let asked = hop.wait_for(1).remove(0);
    assert!(
        asked.recipients[0].starts_with("penstock-nobody-") && asked.recipients[0].ends_with("@example.org")
    );
    assert!(asked.body.contains("can be deleted"), "{}", asked.body);
    eventually("it is found out", || (validation(&site)["validates"] == Value::Bool(false)).then_some(()));

    // The report is taken and kept nowhere; another one to such a path is not.
    let mut client = site.client();
    client.say("MAIL FROM:<>");
    client.expect("250");
    client.say("RCPT TO:<penstock-canary+00000000000000000000000000000000@mx.example.org>");
    client.expect("550");
    client.say(&format!("RCPT TO:<{}>", asked.sender));
    client.expect("250");
    client.say("DATA");
    client.expect("354");
    assert!(client.message("Subject: Undeliverable\r\n\r\nx\r\n").starts_with("250"));
    assert_eq!(site.status()["mail"]["accepted"], 0);

    site.json("PUT", "/v1/recipients", LIST);
    assert!(site.send(&["taken@example.org"], "Subject: x\r\n\r\nx\r\n").starts_with("250"));
    hop.wait_for(2);
    go_away(&site, &hop);
    assert_eq!(code(&site, "taken@example.org"), "550 5.1.1");
}
