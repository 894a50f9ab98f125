//! Who may connect, and what one source may do: refused in the right way, told once, and nobody else is any worse off.

#![allow(missing_docs, clippy::unwrap_used)]

use std::net::IpAddr;

use penstock_peers::client::Client;
use penstock_peers::daemon::{Daemon, Settings};
use penstock_peers::process::{limit_descriptors, wait_until};
use penstock_peers::sink::Sink;

fn start(change: impl Fn(Settings) -> Settings) -> (Sink, Daemon) {
    let sink = Sink::start(0, 1);
    let settings = Settings::before(sink.address()).listening_as_shipped();
    let daemon = Daemon::start(change(settings));
    (sink, daemon)
}

/// An address of somebody else.
fn other(n: u8) -> IpAddr {
    IpAddr::from([127, 0, 7, n])
}

fn connect(daemon: &Daemon, from: IpAddr) -> Client {
    Client::try_connect_from(Some(from), daemon.address()).unwrap()
}

fn greeted(daemon: &Daemon, from: IpAddr) -> Client {
    let mut client = connect(daemon, from);
    assert_eq!(client.ask("EHLO client.example").code, 250, "{:?}", client.banner);
    client
}

fn send(daemon: &Daemon, from: IpAddr) -> u16 {
    greeted(daemon, from).message("a@example.org", &["b@example.com"], b"good\r\n").code
}

fn times_logged(daemon: &Daemon, code: &str) -> usize {
    daemon.log().matches(code).count()
}

fn row(daemon: &Daemon, source: IpAddr) -> serde_json::Value {
    let clients = daemon.clients();
    let rows = clients["rows"].as_array().unwrap();
    rows.iter().find(|row| row["source"] == source.to_string()).cloned().unwrap_or_default()
}

#[test]
fn who_comes_past_the_filter_in_front_is_sent_away_and_told_of_once() {
    let (_sink, daemon) = start(|settings| settings.set("listen.allowed", "[\"127.0.7.0/28\"]"));
    assert_eq!(send(&daemon, other(1)), 250);
    for _ in 0..3 {
        let mut stranger = connect(&daemon, other(77));
        assert_eq!(stranger.banner.code, 421);
        assert!(stranger.ended());
    }
    assert_eq!(times_logged(&daemon, "PS-D224"), 1, "{}", daemon.log());
    let row = row(&daemon, other(77));
    assert_eq!((&row["refused"], &row["limits"][0]), (&3.into(), &"network".into()), "{row}");
    assert_eq!(daemon.metric("penstock_sessions_not_allowed_total"), 3);
}

#[test]
fn who_sends_too_much_is_put_off_and_others_are_not() {
    let (_sink, daemon) = start(|settings| {
        settings
            .set("listen.messages_per_minute_per_source_max", "5")
            .set("listen.recipients_per_minute_per_source_max", "50")
    });
    let mut busy = greeted(&daemon, other(1));
    let codes: Vec<_> =
        (0..7).map(|_| busy.message("a@example.org", &["b@example.com"], b"one\r\n").code).collect();
    assert_eq!(codes, [250, 250, 250, 250, 250, 450, 450]);
    let mut names = greeted(&daemon, other(2));
    assert_eq!(names.ask("MAIL FROM:<a@example.org>").code, 250);
    let taken = (0..60).filter(|n| names.ask(&format!("RCPT TO:<r{n}@example.com>")).code == 250).count();
    assert_eq!(taken, 50);
    assert_eq!(send(&daemon, other(3)), 250);
    assert_eq!(times_logged(&daemon, "PS-D226"), 2, "{}", daemon.log());
    assert_eq!(row(&daemon, other(1))["limits"][0], "messages");
    assert_eq!(row(&daemon, other(2))["limits"][0], "recipients");
}

#[test]
fn who_makes_mistakes_waits_for_the_answers_and_has_to_go_in_the_end() {
    let (_sink, daemon) = start(|settings| {
        settings
            .set("listen.tarpit_delay", "\"100ms\"")
            .set("listen.tarpit_errors", "2")
            .set("listen.protocol_errors_max", "100")
            .set("listen.errors_per_minute_per_source_max", "6")
    });
    let mut client = greeted(&daemon, other(1));
    assert_eq!(client.ask("MAIL FROM:<a@example.org>").code, 250);
    let refused = |client: &mut Client| client.ask("RCPT TO:<b@elsewhere.example>").code;
    assert_eq!([refused(&mut client), refused(&mut client)], [550, 550]);
    assert_eq!(daemon.metric("penstock_replies_held_back_total"), 0, "everybody errs");
    assert_eq!([refused(&mut client), refused(&mut client), refused(&mut client)], [550, 550, 550]);
    assert_eq!(daemon.metric("penstock_replies_held_back_total"), 3);
    // The answer to the last one, and then that it is enough.
    assert_eq!(refused(&mut client), 550);
    assert_eq!(client.reply().code, 421);
    assert!(client.ended());
    assert_eq!(connect(&daemon, other(1)).banner.code, 421, "nor may it come again");
    assert_eq!(send(&daemon, other(2)), 250);
    assert_eq!(daemon.metric("penstock_sessions_held_back"), 0);
}

#[test]
fn when_all_sessions_are_in_use_who_does_nothing_makes_room() {
    let (sink, daemon) = start(|settings| {
        settings.set("listen.connections_max", "4").set("listen.connections_per_source_max", "4")
    });
    let mut idle: Vec<_> = (0..3).map(|_| greeted(&daemon, other(1))).collect();
    let mut sending = greeted(&daemon, other(2));
    sending.send(b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n");
    assert_eq!([(); 3].map(|()| sending.reply().code), [250, 250, 354]);
    assert_eq!(send(&daemon, other(3)), 250);
    assert_eq!(idle[0].reply().code, 421, "the one that was idle longest");
    assert!(idle[0].ended());
    sending.send(b"still there\r\n.\r\n");
    assert_eq!(sending.reply().code, 250);
    assert_eq!(idle[1].ask("NOOP").code, 250);
    assert_eq!(daemon.metric("penstock_sessions_displaced_total"), 1);
    wait_until("both have arrived", || sink.count() == 2);
}

#[test]
fn when_file_descriptors_run_out_mail_is_still_taken_and_nothing_breaks() {
    let (_sink, daemon) = start(|settings| settings);
    // Room for some forty sessions, by accept(2) as well as by what the daemon keeps for itself.
    let before = limit_descriptors(daemon.id(), daemon.descriptors() + 104);
    let idle: Vec<_> =
        (0..180).filter_map(|n| Client::try_connect_from(Some(other(n)), daemon.address())).collect();
    wait_until("the shortage is noticed", || times_logged(&daemon, "PS-D227") > 0);
    assert!(daemon.alerts().contains(&"PS-D227".to_owned()));
    wait_until("a message is taken all the same", || {
        let mut client = connect(&daemon, other(200));
        client.banner.code == 220
            && client.ask("EHLO client.example").code == 250
            && client.message("a@example.org", &["b@example.com"], b"good\r\n").code == 250
    });
    drop(idle);
    limit_descriptors(daemon.id(), before);
    wait_until("it is over", || times_logged(&daemon, "PS-D229") > 0 || daemon.alerts().is_empty());
    assert_eq!(send(&daemon, other(201)), 250);
}

#[test]
fn a_connection_that_cannot_be_accepted_waits_until_it_can() {
    let (_sink, daemon) = start(|settings| settings);
    let before = limit_descriptors(daemon.id(), 0);
    let address = daemon.address();
    let waiting = std::thread::spawn(move || Client::connect(address).banner.code);
    wait_until("it is told", || times_logged(&daemon, "PS-D221") > 0);
    limit_descriptors(daemon.id(), before);
    // Whether the shortage is known to be over by then is chance.
    let code = waiting.join().unwrap();
    assert!([220, 421].contains(&code), "{code}");
    wait_until("all is well again", || connect(&daemon, other(1)).banner.code == 220);
    assert_eq!(times_logged(&daemon, "PS-D221"), 1, "once, not for each try");
}
