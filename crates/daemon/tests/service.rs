//! What the service promises, over real sockets and a volume in a file.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "in a test a panic is the verdict")]
#![allow(dead_code, reason = "the support is shared with other tests")]

mod support;

use support::{Hop, Site, eventually, serve_if_asked};

/// The daemon that the other tests start; by itself it does nothing.
#[test]
fn daemon_process() {
    serve_if_asked();
}

const BODY: &str = "Subject: hello\r\n\r\n.a line with a dot\r\nlast line\r\n";

/// The message as it must arrive: our line on top, and then every byte.
fn assert_arrived(body: &str, sent: &str) {
    // What the address is called is a matter of the machine.
    let (from, by) = body.split_once("[127.0.0.1])\r\n\tby ").unwrap();
    assert!(from.starts_with("Received: from client.example ("), "{from}");
    assert!(by.starts_with("mx.example.org (Penstock) with ESMTP id d-"), "{by}");
    let ours_end = body.find("+0000\r\n").unwrap() + "+0000\r\n".len();
    assert_eq!(&body[ours_end..], sent);
}

#[test]
fn what_was_acknowledged_outlives_a_kill_and_arrives_byte_for_byte() {
    let mut site = Site::new("");
    site.start();
    let reply = site.send(&["one@example.org", "two@example.org"], BODY);
    assert!(reply.starts_with("250 2.0.0 queued as d-"), "{reply}");
    let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(200_000));
    assert!(site.send(&["postmaster"], &large).starts_with("250"));
    site.kill();
    site.start();
    let hop = Hop::start(site.hop_port);
    let mut got = hop.wait_for(2);
    got.sort_by_key(|got| got.body.len());
    assert_eq!(got[0].sender, "sender@example.net");
    assert_eq!(got[0].recipients, ["one@example.org", "two@example.org"]);
    assert_arrived(&got[0].body, BODY);
    assert_eq!(got[1].recipients, ["postmaster"]);
    assert_arrived(&got[1].body, &large);
    eventually("the queue is empty", || (site.status()["mail"]["messages"] == 0).then_some(()));
    site.kill();
    site.start();
    assert_eq!(site.status()["mail"]["messages"], 0);
    assert!(site.stop());
    assert_eq!(hop.got().len(), 2, "what was delivered is not sent again");
}

#[test]
fn a_stop_is_clean_and_the_next_start_reads_no_segment() {
    let mut site = Site::new("");
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    let mut idle = site.client();
    assert!(site.stop());
    idle.expect("421 4.3.2");
    site.start();
    assert!(site.log().contains("clean=true"), "{}", site.log());
    assert_eq!(site.status()["mail"]["messages"], 1);
}

#[test]
fn held_mail_waits_until_the_operator_lets_it_go() {
    let mut site = Site::new("initial_mode = \"hold\"\n");
    let hop = Hop::start(site.hop_port);
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    eventually("the next hop is known", || (site.status()["hops"][0]["state"] == "healthy").then_some(()));
    assert_eq!(hop.got(), []);
    site.json("PUT", "/v1/mode", r#"{"mode":"stop","reason":"maintenance"}"#);
    assert!(site.stop());
    site.start();
    let mode = site.status()["mode"].clone();
    assert_eq!((&mode["mode"], &mode["reason"]), (&"stop".into(), &"maintenance".into()));
    assert_eq!(hop.got(), []);
    site.json("PUT", "/v1/mode", r#"{"mode":"auto"}"#);
    hop.wait_for(1);
}

#[test]
fn a_message_that_is_put_off_goes_when_the_operator_says_so_or_its_time_has_come() {
    let mut site = Site::new("retry_schedule = [\"1h\"]\n");
    let hop = Hop::start_with(site.hop_port, |line| (line == ".").then(|| "451 4.7.1 Greylisted".into()));
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    let row = eventually("the message is put off", || {
        let page = site.json("GET", "/v1/queue", "");
        Some(page["rows"][0].clone()).filter(|row| row["state"] == "deferred" && row["attempts"] == 1)
    });
    assert_eq!(row["last_reply"], "451 4.7.1 Greylisted (end of data)");
    hop.answer(|_| None);
    let id = row["id"].as_str().unwrap();
    site.json("POST", "/v1/release", &format!(r#"{{"ids":["{id}"]}}"#));
    assert_arrived(&hop.wait_for(1)[0].body, BODY);
    let shown = eventually("the end is in the ledger", || {
        let (status, answer) = site.ask("GET", &format!("/v1/messages/{id}"), "");
        assert_eq!(status, 200);
        let shown: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        (shown["recipient_list"][0]["fate"] == "delivered").then_some(shown)
    });
    let kinds: Vec<_> =
        shown["events"].as_array().unwrap().iter().map(|event| event["kind"].clone()).collect();
    assert_eq!(kinds, ["deferred", "released", "delivered"]);
}

#[test]
fn a_refused_recipient_is_held_and_the_others_are_delivered_once() {
    let mut site = Site::new("");
    let refuses =
        |line: &str| line.contains("<gone@").then(|| "550 5.1.10 RESOLVER.ADR.RecipientNotFound".into());
    let hop = Hop::start_with(site.hop_port, refuses);
    site.start();
    let recipients = ["one@example.org", "gone@example.org", "two@example.org"];
    assert!(site.send(&recipients, BODY).starts_with("250"));
    let got = hop.wait_for(1);
    assert_eq!(got[0].recipients, ["one@example.org", "two@example.org"]);
    let row = eventually("one recipient is held", || {
        let page = site.json("GET", "/v1/queue?state=held", "");
        page["rows"].get(0).cloned()
    });
    assert_eq!((&row["recipient"], &row["open_recipients"]), (&"gone@example.org".into(), &1.into()));
    site.kill();
    site.start();
    let id = row["id"].as_str().unwrap();
    let body = format!(r#"{{"ids":["{id}"],"reason":"has left"}}"#);
    assert_eq!(site.json("POST", "/v1/remove", &body)["messages"], 1);
    assert_eq!(site.status()["mail"]["messages"], 0);
    assert_eq!(hop.got().len(), 1);
}

#[test]
fn a_whole_message_refused_because_of_one_recipient_is_offered_recipient_by_recipient() {
    let mut site = Site::new("");
    let last = std::sync::Mutex::new(Vec::new());
    let hop = Hop::start_with(site.hop_port, move |line| {
        let mut recipients = last.lock().unwrap();
        if line.starts_with("MAIL") {
            recipients.clear();
        } else if line.starts_with("RCPT") {
            recipients.push(line.to_owned());
        }
        let spoilt = line == "." && recipients.iter().any(|line| line.contains("<bad@"));
        spoilt.then(|| "550 5.1.1 User unknown".into())
    });
    site.start();
    assert!(site.send(&["one@example.org", "bad@example.org", "two@example.org"], BODY).starts_with("250"));
    let got = hop.wait_for(2);
    assert_eq!([&got[0].recipients[..], &got[1].recipients[..]], [["one@example.org"], ["two@example.org"]]);
    eventually("the other one is held", || (site.status()["mail"]["held"] == 1).then_some(()));
}

#[test]
fn the_mail_of_a_domain_that_the_server_has_lost_waits_alone_and_nobodys_is_set_aside() {
    let mut site = Site::new("");
    site.edit(|text| text.replace("[\"example.org\"]", "[\"example.org\", \"example.com\"]"));
    let hop = Hop::start(site.hop_port);
    site.start();
    let send = |to: &[&str]| assert!(site.send(to, BODY).starts_with("250"), "{to:?}");
    send(&["ann@example.org", "ann@example.com"]);
    hop.wait_for(1);
    let denial = "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain";
    hop.answer(move |line| line.contains("@example.com>").then(|| denial.into()));
    send(&["bob@example.com", "bob@example.org"]);
    send(&["eve@example.com"]);
    send(&["eve@example.org"]);
    let got = hop.wait_for(3);
    assert!(
        got[1..].iter().all(|got| got.recipients.iter().all(|to| to.ends_with("@example.org"))),
        "{got:?}"
    );
    let status = site.status();
    assert_eq!(status["alerts"][0]["code"], "PS-D236", "{status}");
    assert!(status["alerts"][0]["message"].as_str().unwrap().contains("example.com"), "{status}");
    assert_eq!((&status["hops"][0]["state"], &status["mail"]["held"]), (&"healthy".into(), &0.into()));
    assert_eq!(status["mail"]["messages"], 2);

    hop.answer(|_| None);
    site.json("POST", "/v1/confirm", "{}");
    let got = hop.wait_for(5);
    let late: Vec<&str> = got[3..].iter().flat_map(|got| got.recipients.iter().map(String::as_str)).collect();
    assert!(late.contains(&"bob@example.com") && late.contains(&"eve@example.com"), "{late:?}");
    eventually("nothing waits", || (site.status()["mail"]["messages"] == 0).then_some(()));
}

#[test]
fn what_was_not_acknowledged_is_not_there() {
    let mut site = Site::new("");
    site.start();
    for half in ["Subject: half\r\n", &"x".repeat(300_000)] {
        let mut client = site.client();
        client.envelope("sender@example.net", &["one@example.org"]);
        client.raw(half.as_bytes());
        // It hangs up without the final dot.
    }
    let mut client = site.client();
    client.envelope("sender@example.net", &["one@example.org"]);
    client.raw(&vec![b'x'; 300_000]);
    site.kill();
    site.start();
    assert_eq!(site.status()["mail"]["messages"], 0);
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    assert_eq!(site.status()["mail"]["messages"], 1);
}

#[test]
fn a_session_cut_at_any_byte_leaves_all_of_its_message_or_nothing() {
    let mut site = Site::new("initial_mode = \"hold\"\n");
    site.start();
    let session = format!(
        "EHLO client.example\r\nMAIL FROM:<sender@example.net>\r\nRCPT TO:<one@example.org>\r\nDATA\r\n{}.\r\n",
        BODY.replace("\r\n.", "\r\n..")
    );
    for cut in 0..session.len() {
        site.connect().raw(&session.as_bytes()[..cut]);
    }
    eventually("all sessions have ended", || (site.status()["listener"]["sessions"] == 0).then_some(()));
    assert_eq!(site.status()["mail"]["messages"], 0);
    let mut client = site.connect();
    // One byte at a time is a session like any other.
    session.bytes().for_each(|byte| client.raw(&[byte]));
    for code in ["220", "250", "250", "250", "354", "250"] {
        client.expect(code);
    }
    assert_eq!(site.status()["mail"]["messages"], 1);
}

#[test]
fn a_full_volume_answers_452_and_takes_mail_again_when_some_has_gone() {
    let mut site = Site::new("");
    site.start();
    let body = format!("Subject: big\r\n\r\n{}", "0123456789abcdef\r\n".repeat(4 * 1024 * 1024 / 18));
    let mut taken = 0;
    let refused = loop {
        let mut client = site.client();
        client.say("MAIL FROM:<sender@example.net> SIZE=4194304");
        let reply = client.reply();
        if !reply.starts_with("250") {
            break reply;
        }
        client.say("RCPT TO:<one@example.org>");
        client.expect("250");
        client.say("DATA");
        client.expect("354");
        let reply = client.message(&body);
        if !reply.starts_with("250") {
            break reply;
        }
        taken += 1;
        assert!(taken < 16, "more mail than the volume holds");
    };
    assert!(refused.starts_with("452 4.3.1"), "{refused}");
    assert!(taken >= 6, "only {taken} messages of 4 MiB fit into 64 MiB");
    let hop = Hop::start(site.hop_port);
    assert_eq!(hop.wait_for(taken).len(), taken);
    eventually("there is room again", || (site.status()["mail"]["messages"] == 0).then_some(()));
    assert!(site.send(&["one@example.org"], &body).starts_with("250"));
    hop.wait_for(taken + 1);
}

#[test]
fn a_volume_that_fails_refuses_mail_keeps_what_it_has_and_heals() {
    let mut site = Site::new("initial_mode = \"hold\"\n");
    let control = site.directory.path().join("faults");
    site.faults = format!("control={}", control.display());
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    // The envelope comes first: what the box notes by itself may come upon the fault before the message does.
    let mut client = site.client();
    client.envelope("sender@example.net", &["one@example.org"]);
    std::fs::write(&control, "fail_program_after=0,fail_sync_after=0").unwrap();
    let reply = client.message(BODY);
    assert!(reply.starts_with('4'), "{reply}");
    let mut client = site.client();
    client.say("MAIL FROM:<sender@example.net>");
    client.expect("4");
    let status = site.status();
    assert_eq!(status["volumes"][0]["health"], "read_only");
    assert_eq!(status["alerts"][0]["severity"], "critical");
    let row = site.json("GET", "/v1/queue", "")["rows"][0].clone();
    assert_eq!((&row["state"], &row["recipient"]), (&"queued".into(), &"one@example.org".into()));
    std::fs::remove_file(&control).unwrap();
    eventually("it is mounted anew", || (site.status()["volumes"][0]["health"] == "good").then_some(()));
    assert!(site.send(&["two@example.org"], BODY).starts_with("250"));
    let hop = Hop::start(site.hop_port);
    site.json("PUT", "/v1/mode", r#"{"mode":"auto"}"#);
    let got = hop.wait_for(2);
    assert!(got.iter().any(|got| got.recipients == ["one@example.org"]));
    assert!(got.iter().any(|got| got.recipients == ["two@example.org"]));
}

#[test]
fn a_damaged_message_is_never_taken_for_mail_and_does_not_stop_the_others() {
    let mut site = Site::new("");
    site.start();
    // Larger than what is read and checked as a whole before it goes out.
    let marked = format!("Subject: rot\r\n\r\n{}MARK\r\n", "0123456789abcdef\r\n".repeat(20_000));
    assert!(site.send(&["one@example.org"], &marked).starts_with("250"));
    assert!(site.send(&["two@example.org"], BODY).starts_with("250"));
    assert!(site.stop());
    let path = site.directory.path().join("volume");
    let mut volume = std::fs::read(&path).unwrap();
    let at = volume.windows(6).position(|six| six == b"MARK\r\n").unwrap();
    volume[at] ^= 0x20;
    std::fs::write(&path, volume).unwrap();
    let hop = Hop::start(site.hop_port);
    site.start();
    assert_eq!(hop.wait_for(1)[0].recipients, ["two@example.org"]);
    eventually("it is told", || site.log().contains("PS-D231").then_some(()));
    eventually("it is the operator's", || (site.status()["mail"]["held"] == 1).then_some(()));
    assert_eq!(hop.got().len(), 1);
}

#[test]
fn mail_for_others_is_not_relayed() {
    let mut site = Site::new("");
    site.start();
    let mut client = site.client();
    client.say("MAIL FROM:<someone@example.org>");
    client.expect("250");
    for stranger in ["a@example.net", "a@sub.example.org", "a@[127.0.0.1]", "\"a@example.org\"@example.net"] {
        client.say(&format!("RCPT TO:<{stranger}>"));
        client.expect("550 5.7.1");
    }
    client.say("RCPT TO:<a@EXAMPLE.org>");
    client.expect("250");
}

#[test]
fn a_message_that_goes_in_circles_is_refused() {
    let mut site = Site::new("");
    site.start();
    let passed = "Received: from a by b\r\n".repeat(28);
    assert!(site.send(&["one@example.org"], &format!("{passed}{BODY}")).starts_with("554 5.4.6"));
    let through_us =
        "Received: from a\r\n\tby mx.example.org (Penstock) with ESMTP id d-1; today\r\n".repeat(4);
    assert!(site.send(&["one@example.org"], &format!("{through_us}{BODY}")).starts_with("554 5.4.6"));
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
}

#[test]
fn a_message_that_goes_in_circles_in_chunks_is_refused_as_well() {
    let mut site = Site::new("");
    site.start();
    let passed = "Received: from a by b\r\n".repeat(28);
    let through_us =
        "Received: from a\r\n\tby mx.example.org (Penstock) with ESMTP id d-1; today\r\n".repeat(4);
    for (received, verdict) in [(passed, "554 5.4.6"), (through_us, "554 5.4.6"), (String::new(), "250")] {
        let message = format!("{received}{BODY}");
        let mut client = site.client();
        for command in ["MAIL FROM:<sender@example.net>", "RCPT TO:<one@example.org>"] {
            client.say(command);
            client.expect("250");
        }
        let (first, rest) = message.split_at(10);
        client.raw(format!("BDAT {}\r\n{first}BDAT {} LAST\r\n{rest}", first.len(), rest.len()).as_bytes());
        client.expect("250");
        client.expect(verdict);
    }
}

#[test]
fn what_is_no_volume_is_not_overwritten() {
    let site = Site::new("");
    let path = site.directory.path().join("volume");
    std::fs::write(&path, vec![b'x'; 64 * 1024 * 1024]).unwrap();
    let settings = std::fs::read_to_string(site.directory.path().join("settings.toml")).unwrap();
    let settings = penstock_settings::Settings::parse(&settings).unwrap();
    let error = penstock_daemon::run(settings, &penstock_daemon::Options::default()).unwrap_err();
    assert_eq!(error.code(), "PS-D003");
    assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == b'x'));
}

#[test]
fn an_export_gives_the_message_and_leaves_its_trace() {
    let mut site = Site::new("");
    site.start();
    let large = format!("Subject: large\r\n\r\n{}", "0123456789abcdef\r\n".repeat(100_000));
    let reply = site.send(&["one@example.org"], &large);
    let id = support::number_in(&reply);
    let (status, body) = site.ask("POST", &format!("/v1/messages/{id}/export"), r#"{"reason":"subpoena"}"#);
    assert_eq!(status, 200);
    assert_arrived(&String::from_utf8(body).unwrap(), &large);
    let events = site.json("GET", "/v1/events?kind=exported", "");
    assert!(events["events"][0]["text"].as_str().unwrap().ends_with("subpoena"));
}

#[test]
fn a_session_that_the_server_closed_meanwhile_costs_the_next_message_nothing() {
    let mut site = Site::new("connections_max = 1\n");
    let hop = Hop::start(site.hop_port);
    hop.hang_up_after_a_message();
    site.start();
    for n in 1..=3 {
        assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
        hop.wait_for(n);
    }
    eventually("the queue is empty", || (site.status()["mail"]["messages"] == 0).then_some(()));
    assert_eq!(site.json("GET", "/v1/events?kind=deferred", "")["events"], serde_json::json!([]));
}

#[test]
fn messages_share_a_session() {
    let mut site = Site::new("connections_max = 1\ninitial_mode = \"hold\"\n");
    let hop = Hop::start(site.hop_port);
    site.start();
    for _ in 0..10 {
        assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    }
    site.json("PUT", "/v1/mode", r#"{"mode":"auto"}"#);
    hop.wait_for(10);
    assert!(hop.connections() <= 3, "{} connections, probe and all", hop.connections());
}

#[test]
fn many_recipients_go_in_transactions_that_the_server_can_take() {
    let mut site = Site::new("[client]\nrecipients_max = 20\n");
    let mut in_transaction = 0;
    let taken = std::sync::Mutex::new(move |line: &str| {
        in_transaction = if line.starts_with("RCPT") { in_transaction + 1 } else { 0 };
        // It takes fewer than it is offered, and says so as RFC 5321 section 4.5.3.1.10 asks for.
        (in_transaction > 15).then(|| "452 4.5.3 Too many recipients".to_owned())
    });
    let hop = Hop::start_with(site.hop_port, move |line| (taken.lock().unwrap())(line));
    site.start();
    let recipients: Vec<_> = (0..50).map(|n| format!("r{n}@example.org")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    assert!(site.send(&recipients, BODY).starts_with("250"));
    eventually("the queue is empty", || (site.status()["mail"]["messages"] == 0).then_some(()));
    let got = hop.got();
    let all: Vec<_> = got.iter().flat_map(|got| got.recipients.iter().map(String::as_str)).collect();
    assert_eq!(all, recipients);
    assert!(got.len() >= 4 && got.iter().all(|one| one.recipients.len() <= 15 && one.body == got[0].body));
}

#[test]
fn a_server_that_does_not_know_the_site_gets_no_mail_and_destroys_none() {
    let mut site = Site::new("probe_data_interval = \"10s\"\n");
    let hop = Hop::start_with(site.hop_port, |line| {
        line.starts_with("RCPT")
            .then(|| "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain".into())
    });
    site.start();
    for _ in 0..5 {
        assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    }
    let hop_view = eventually("the server is found out", || {
        // A trial has to find it too.
        let is_believed = |hop: &serde_json::Value| hop["state"] == "unconfigured" && !hop["cause"].is_null();
        Some(site.status()["hops"][0].clone()).filter(is_believed)
    });
    let alert = site.status()["alerts"][0].clone();
    assert_eq!((&alert["code"], &alert["severity"]), (&"PS-D232".into(), &"critical".into()));
    assert!(alert["help"].as_str().unwrap().contains("Get-AcceptedDomain"), "{alert}");
    assert!(hop_view["last_reply"].as_str().unwrap().contains("5.7.54"));
    let mail = site.status()["mail"].clone();
    assert_eq!((&mail["messages"], &mail["held"]), (&5.into(), &0.into()));
    assert_eq!(hop.got(), []);
    hop.answer(|_| None);
    in_state(&site, "unproven");
    assert_eq!(hop.got(), [], "that it takes recipients again is no proof that they are there");
    site.json("POST", "/v1/confirm", "{}");
    hop.wait_for(5);
}

fn in_state(site: &Site, state: &str) -> serde_json::Value {
    eventually(state, || Some(site.status()).filter(|status| status["hops"][0]["state"] == state))
}

#[test]
fn a_server_that_was_set_up_anew_gets_no_mail_before_the_operator_confirms_it_whatever_happens_to_the_box() {
    let mut site = Site::new("");
    let hop = Hop::start(site.hop_port);
    hop.hang_up_after_a_message();
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    hop.wait_for(1);
    hop.rename("WIN-4711");
    for _ in 0..3 {
        assert!(site.send(&["two@example.org"], BODY).starts_with("250"));
    }
    let status = in_state(&site, "unproven");
    assert_eq!(status["hops"][0]["cause"], "its greeting has another name than before");
    assert_eq!(status["alerts"][0]["code"], "PS-D233");
    assert_eq!(status["alerts"][0]["severity"], "critical");
    let still = status["progress"]["still"].as_str().unwrap();
    assert!(still.contains("`penstock confirm`"), "{still}");
    site.kill();
    site.start();
    in_state(&site, "unproven");
    assert_eq!((hop.got().len(), &site.status()["mail"]["messages"]), (1, &3.into()));

    assert_eq!(site.ask("POST", "/v1/confirm", "{\"hop\":\"spare\"}").0, 404);
    site.json("POST", "/v1/confirm", "{\"hop\":\"exchange\"}");
    hop.wait_for(4);
    assert_eq!(site.ask("POST", "/v1/confirm", "{}").0, 409, "nothing waits for it any more");
    let events = site.json("GET", "/v1/events?kind=confirmed", "");
    let text = events["events"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("exchange confirmed by ") && text.contains("another name"), "{text}");
    site.kill();
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    hop.wait_for(5);
}

#[test]
fn what_the_server_may_have_taken_waits_and_the_ledger_says_why() {
    let mut site = Site::new("");
    let hop = Hop::start_with(site.hop_port, |line| (line == ".").then(String::new));
    site.start();
    assert!(site.send(&["one@example.org"], BODY).starts_with("250"));
    let row = eventually("it was tried", || {
        let row = site.json("GET", "/v1/queue", "")["rows"][0].clone();
        Some(row).filter(|row| row["state"] == "deferred")
    });
    assert!(row["next_attempt_in_ms"].as_u64().unwrap() > 9 * 60_000, "{row}");
    hop.answer(|_| None);
    let events = site.json("GET", "/v1/events?kind=deferred", "");
    let text = events["events"][0]["text"].as_str().unwrap();
    assert!(text.contains("not known whether it was taken; will be tried again in 10 min"), "{text}");
}

#[test]
fn who_takes_more_than_its_share_of_sessions_is_told_to_come_back() {
    let mut site = Site::with_listen("connections_per_source_max = 3\n");
    site.start();
    let clients: Vec<_> = (0..3).map(|_| site.client()).collect();
    let mut refused = site.connect();
    refused.expect("421 4.7.0");
    drop(clients);
    eventually("there is room again", || site.connect().reply().starts_with("220").then_some(()));
}

#[test]
fn a_restart_forgets_neither_whose_mail_goes_first_nor_to_be_fair() {
    let mut site = Site::new("connections_max = 1\nmailboxes_first = [\"ceo@example.org\"]\n");
    site.start();
    let order = ["flood", "flood", "flood", "other", "ceo"].map(|name| format!("{name}@example.org"));
    for recipient in &order {
        assert!(site.send(&[recipient], BODY).starts_with("250"));
    }
    site.kill();
    site.start();
    eventually("the envelopes are read", || site.log().contains("it is known again").then_some(()));
    let hop = Hop::start(site.hop_port);
    let got: Vec<_> = hop.wait_for(5).into_iter().map(|got| got.recipients.concat()).collect();
    assert_eq!(got, [4, 0, 3, 1, 2].map(|n| order[n].clone()));
}

#[test]
fn a_mailbox_that_the_server_throttles_holds_up_no_other() {
    let mut site = Site::new("connections_max = 1\n");
    let hop = Hop::start_with(site.hop_port, |line| {
        let throttled = line.contains("busy@example.org");
        throttled.then(|| "432 4.3.2 STOREDRV.Storage; mailbox server thread limit exceeded".into())
    });
    site.start();
    for recipient in ["busy@example.org", "busy@example.org", "other@example.org", "third@example.org"] {
        assert!(site.send(&[recipient], BODY).starts_with("250"));
    }
    let got: Vec<_> = hop.wait_for(2).into_iter().map(|got| got.recipients.concat()).collect();
    assert_eq!(got, ["other@example.org", "third@example.org"]);
    hop.answer(|_| None);
    let got = hop.wait_for(4);
    assert_eq!(got[3].recipients, ["busy@example.org"]);
    eventually("the queue is empty", || (site.status()["mail"]["messages"] == 0).then_some(()));
}
