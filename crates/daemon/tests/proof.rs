//! What the service promises about the mail that the next hop took: canaries, whose reports nobody else can make, and
//! counters.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use support::{Client, Hop, Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const PROBE: &str = "probe_mailboxes = [\"probe@example.org\"]\n";

/// A site with a probe mailbox, the server before it, and the return path of the first canary.
fn site_with_canary() -> (Site, Hop, String) {
    let mut site = Site::with_hop(PROBE);
    let hop = Hop::start(site.hop_port);
    site.start();
    let canary = hop.wait_for(1).remove(0);
    assert_eq!(canary.recipients, ["probe@example.org"]);
    assert!(canary.body.contains("Subject: Penstock canary, can be deleted\r\n"), "{}", canary.body);
    (site, hop, canary.sender)
}

/// A report as a server makes it.
fn report(action: &str) -> String {
    format!(
        "From: <postmaster@example.org>\r\nSubject: Delivered\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"part\"\r\n\r\n\
         --part\r\nContent-Type: text/plain\r\n\r\nYour message was delivered.\r\n\
         --part\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns;exchange.example.org\r\n\r\n\
         Final-Recipient: rfc822;probe@example.org\r\nAction: {action}\r\nStatus: 2.0.0\r\n\
         Diagnostic-Code: smtp;said of it\r\n\r\n--part--\r\n"
    )
}

fn proof(site: &Site) -> Value {
    site.status()["hops"][0]["proof"].clone()
}

/// What has become of the first canary.
fn first_canary(site: &Site) -> Value {
    site.json("GET", "/v1/canaries?hop=exchange", "")["hops"][0]["canaries"][0].clone()
}

fn ask(client: &mut Client, line: &str) -> String {
    client.say(line);
    client.reply()
}

fn send_report(site: &Site, to: &str, message: &str) -> String {
    let mut client = site.client();
    client.envelope("", &[to]);
    client.message(message)
}

#[test]
fn a_canary_that_is_reported_back_proves_the_way_to_its_mailbox() {
    let mut site = Site::with_hop(PROBE);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&lines);
    let hop = Hop::start_with(site.hop_port, move |line| {
        heard.lock().unwrap().push(line.to_owned());
        None
    });
    site.start();
    let canary = hop.wait_for(1).remove(0);
    let rcpt = lines.lock().unwrap().iter().find(|line| line.starts_with("RCPT")).cloned().unwrap();
    assert!(rcpt.contains("NOTIFY=SUCCESS"), "{rcpt}");
    eventually("it counts as taken", || (proof(&site)["canaries_outstanding"] == 1).then_some(()));
    assert_eq!(proof(&site)["grade"], "blind");

    assert!(send_report(&site, &canary.sender, &report("delivered")).starts_with("250 2.0.0"));
    let proof =
        eventually("it has arrived", || Some(proof(&site)).filter(|proof| proof["canaries_arrived"] == 1));
    assert_eq!((&proof["grade"], &proof["canaries_outstanding"]), (&"canary".into(), &0.into()));
    let (first, status) = (first_canary(&site), site.status());
    assert_eq!((&first["state"], &first["mailbox"]), (&"arrived".into(), &"probe@example.org".into()));
    assert_eq!(first["sojourn_ms"], proof["last_sojourn_ms"]);
    // It was the service's own mail from the beginning to the end.
    assert_eq!((&status["mail"]["accepted"], &status["mail"]["messages"]), (&0.into(), &0.into()));
    assert_eq!(hop.got().len(), 1, "a report is not sent on");
    // The server may not have heard the reply, and sends it again.
    assert!(send_report(&site, &canary.sender, &report("delivered")).starts_with("250"));
    assert_eq!(site.status()["hops"][0]["proof"]["canaries_arrived"], 1);
}

#[test]
fn who_does_not_know_a_canary_cannot_report_it_and_nothing_is_relayed() {
    let (site, hop, return_path) = site_with_canary();
    let mut client = site.client();
    assert!(ask(&mut client, "MAIL FROM:<>").starts_with("250"));
    let forged = format!("penstock-canary+{}@mx.example.org", "0123456789abcdef".repeat(2));
    assert!(ask(&mut client, &format!("RCPT TO:<{forged}>")).starts_with("550 5.1.1"));
    for other in
        ["penstock-canary@mx.example.org", "postmaster@mx.example.org", "a@mx.example.org", "a@example.net"]
    {
        assert!(ask(&mut client, &format!("RCPT TO:<{other}>")).starts_with("550 5.7.1"), "{other}");
    }
    // A report has one recipient, and no other mail goes with it.
    assert!(ask(&mut client, &format!("RCPT TO:<{return_path}>")).starts_with("250"));
    assert!(ask(&mut client, "RCPT TO:<a@example.org>").starts_with("452 4.5.3"));
    assert!(ask(&mut client, "RSET").starts_with("250"));
    assert!(ask(&mut client, "MAIL FROM:<>").starts_with("250"));
    assert!(ask(&mut client, "RCPT TO:<a@example.org>").starts_with("250"));
    assert!(ask(&mut client, &format!("RCPT TO:<{return_path}>")).starts_with("452 4.5.3"));
    assert!(ask(&mut client, "RSET").starts_with("250"));
    // A person who answers has a sender.
    assert!(ask(&mut client, "MAIL FROM:<probe@example.org>").starts_with("250"));
    assert!(ask(&mut client, &format!("RCPT TO:<{return_path}>")).starts_with("550 5.1.1"));
    assert_eq!(proof(&site)["canaries_arrived"], 0);
    assert!(hop.got().iter().all(|got| got.recipients == ["probe@example.org"]), "{:?}", hop.got());
}

#[test]
fn only_a_report_of_delivery_counts_as_one() {
    let (site, _hop, return_path) = site_with_canary();
    for message in
        [report("delayed"), report("relayed"), "Subject: away\r\n\r\nAction: delivered\r\n".to_owned()]
    {
        assert!(send_report(&site, &return_path, &message).starts_with("250"));
    }
    assert_eq!(first_canary(&site)["state"], "taken");
    assert!(send_report(&site, &return_path, &report("failed")).starts_with("250"));
    let first = first_canary(&site);
    assert_eq!((&first["state"], &first["why"]), (&"failed".into(), &"said of it".into()));
    assert!(site.log().contains("PS-D291"), "{}", site.log());
    let proof = proof(&site);
    assert_eq!((&proof["canaries_arrived"], &proof["grade"]), (&0.into(), &"blind".into()));
}

#[test]
fn a_box_that_is_full_still_learns_that_mail_arrives() {
    let (site, _hop, return_path) = site_with_canary();
    site.json("PUT", "/v1/mode", "{\"mode\": \"hold\"}");
    let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(300_000));
    let mut client = site.client();
    let refused = eventually("the box is full", || {
        let reply = ask(&mut client, "MAIL FROM:<a@example.net> SIZE=15000000");
        if reply.starts_with("250") {
            client.say("RSET");
            client.expect("250");
            site.send(&["a@example.org"], &large);
            return None;
        }
        Some(reply)
    });
    assert!(refused.starts_with("452 4.3.1"), "{refused}");
    assert!(ask(&mut client, "MAIL FROM:<> SIZE=15000000").starts_with("250"));
    assert!(
        ask(&mut client, "RCPT TO:<a@example.org>").starts_with("452 4.3.1"),
        "for other mail there is no room"
    );
    client.say(&format!("RCPT TO:<{return_path}>"));
    client.expect("250");
    client.say("DATA");
    client.expect("354");
    assert!(client.message(&report("delivered")).starts_with("250"));
    assert_eq!(proof(&site)["canaries_arrived"], 1);
}

#[test]
fn one_message_of_a_replay_asks_whether_it_arrives_where_reports_are_known_to_come() {
    let (site, hop, return_path) = site_with_canary();
    let deliver = |subject: &str| {
        let before = hop.got().len();
        assert!(site.send(&["mia@example.org"], &format!("Subject: {subject}\r\n\r\n")).starts_with("250"));
        hop.wait_for(before + 1);
        eventually("it is recorded", || (site.status()["mail"]["messages"] == 0).then_some(()));
    };
    let replay = || {
        let before = hop.got().len();
        let page = site.json("POST", "/v1/replay", r#"{"which":{"mailbox":"mia@example.org"}}"#);
        assert_eq!(page["messages"], 2);
        let got = hop.wait_for(before + 2);
        eventually("it is recorded", || (site.status()["mail"]["messages"] == 0).then_some(()));
        let asking = got[before..].iter().filter(|got| got.sender.starts_with("penstock-canary+"));
        (page, asking.cloned().collect::<Vec<_>>())
    };
    deliver("one");
    deliver("two");
    let (page, asking) = replay();
    assert_eq!((&page["asks"], asking.len()), (&Value::Null, 0), "no report has ever come");

    assert!(send_report(&site, &return_path, &report("delivered")).starts_with("250"));
    let (page, asking) = replay();
    assert_eq!(asking.len(), 1, "{asking:?}");
    assert!(asking[0].body.contains("Subject: one"), "{asking:?}");
    let id = page["asks"].as_str().unwrap().to_owned();
    let told = |text: &str| {
        let events = site.json("GET", &format!("/v1/messages/{id}"), "")["events"].clone();
        let is_it = |event: &&Value| event["text"].as_str().unwrap_or_default().contains(text);
        events.as_array().and_then(|events| events.iter().find(is_it)).map(|_| ())
    };
    assert!(send_report(&site, &asking[0].sender, &report("failed")).starts_with("250"));
    eventually("it is told", || told("did not arrive: said of it"));
    assert_eq!(site.status()["alerts"][0]["code"], "PS-D243");

    let (_, asking) = replay();
    assert!(send_report(&site, &asking[0].sender, &report("delivered")).starts_with("250"));
    eventually("it is told", || told("lies in the mailbox again"));
    assert_eq!(site.status()["alerts"], Value::Array(Vec::new()));
}

#[test]
fn a_server_that_makes_no_reports_gets_no_canaries() {
    let mut site = Site::with_hop(PROBE);
    let hop = Hop::start_with(site.hop_port, |line| {
        line.starts_with("EHLO").then(|| "250-exchange.example.org\r\n250 SIZE".to_owned())
    });
    site.start();
    let status = eventually("it is known", || {
        Some(site.status()).filter(|status| status["hops"][0]["proof"]["trouble"].is_string())
    });
    assert_eq!(status["alerts"][0]["code"], "PS-D290");
    assert!(site.log().contains("PS-D290"), "{}", site.log());
    assert_eq!(hop.got(), []);
}

#[test]
fn without_probe_mailboxes_or_counters_the_operator_is_told_what_they_are_good_for() {
    let mut site = Site::new("");
    let _hop = Hop::start(site.hop_port);
    site.start();
    let hop = eventually("it is healthy", || {
        Some(site.status()["hops"][0].clone()).filter(|hop| hop["state"] == "healthy")
    });
    assert!(hop["advice"].as_str().unwrap().contains("probe_mailboxes"), "{hop}");
    assert_eq!(site.status()["alerts"], Value::Array(Vec::new()), "it is no alert");
}

/// A server of counters, which serves the page that it is given at the moment.
fn exporter(page: Arc<Mutex<String>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let page = page.lock().unwrap().clone();
            let _ = stream.read(&mut [0; 4096]);
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{page}", page.len());
        }
    });
    port
}

#[test]
fn counters_are_read_while_they_can_be_and_their_trouble_is_told() {
    let queues = "windows_exchange_transport_queues_submission_queue_length{name=\"_total\"} 17\n\
                  windows_exchange_transport_queues_messages_submitted_total{name=\"_total\"} 1000\n\
                  windows_exchange_transport_queues_retry_mailbox_delivery{name=\"_total\"} 3\n";
    let page = Arc::new(Mutex::new(queues.to_owned()));
    let port = exporter(Arc::clone(&page));
    let mut site = Site::with_hop(&format!("counters_url = \"http://127.0.0.1:{port}/metrics\"\n"));
    // Mail that waits, so that counters are read often.
    let _hop =
        Hop::start_with(site.hop_port, |line| line.starts_with("RCPT").then(|| "450 4.2.1 Later".to_owned()));
    site.start();
    assert!(site.send(&["a@example.org"], "Subject: hello\r\n\r\n").starts_with("250"));
    let proof = || proof(&site);
    let read = eventually("they are read", || Some(proof()).filter(|proof| proof["counters"].is_object()));
    let counters = &read["counters"];
    assert_eq!((&counters["submission"], &counters["retry_mailbox"]), (&17.into(), &3.into()));
    assert_eq!((&counters["active_mailbox"], &read["grade"]), (&Value::Null, &"counters".into()));

    "windows_exporter_collector_success{collector=\"exchange\"} 0\n".clone_into(&mut page.lock().unwrap());
    let failed = eventually("they fail", || Some(proof()).filter(|proof| proof["trouble"].is_string()));
    assert!(failed["trouble"].as_str().unwrap().contains("collector"), "{failed}");
    assert!(site.log().contains("PS-D292"), "{}", site.log());

    *page.lock().unwrap() = queues.replace(" 17", " 18");
    eventually("they are back", || (proof()["counters"]["submission"] == 18).then_some(()));
    assert_eq!(proof()["trouble"], Value::Null);
    assert!(site.stop(), "a clean stop");
}
