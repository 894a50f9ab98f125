//! What somebody at the console may ask the network, and that mail is taken meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod support;

use std::net::{IpAddr, SocketAddr};

use penstock_flash::sim::SimMedium;
use penstock_rescue::smoltcp::time::{Duration, Instant};
use penstock_rescue::{Answer, GREETING_BYTES_MAX, Question, Rescue, Unasked};
use support::client::{Mail, Raw};
use support::wire::{Weather, cable};
use support::{DISK, SimWorld, World, formatted, settings, start, world};

fn echo(host: &str) -> Question {
    Question::Echo(host.parse().unwrap())
}

fn greeting(port: u16) -> Question {
    Question::Greeting(SocketAddr::new(IpAddr::from([192, 0, 2, 100]), port))
}

fn a_world() -> SimWorld {
    world(Some(&formatted(DISK)), None, Weather::FAIR, 1)
}

#[test]
fn a_machine_that_is_there_answers_by_either_protocol_and_one_that_is_not_does_not() {
    let mut world = a_world();
    for host in ["192.0.2.100", "2001:db8::64"] {
        let answer = world.ask(echo(host)).unwrap();
        assert!(answer.starts_with("Echoed"), "{host}: {answer}");
    }
    for host in ["192.0.2.99", "2001:db8::99"] {
        let began = world.now;
        assert_eq!(world.ask(echo(host)), Ok("Silent".into()), "{host}");
        assert!(world.now - began < Duration::from_millis(1500), "nobody waits for ever");
    }
    // Who waits for an address that nobody has does not keep others from being asked.
    world.run_for(Duration::from_secs(5));
    assert!(world.ask(echo("192.0.2.1")).unwrap().starts_with("Echoed"));
}

#[test]
fn who_has_answered_in_the_local_network_is_known() {
    let mut world = a_world();
    assert_eq!(world.rescue.neighbours(), []);
    for _ in 0..2 {
        world.ask(echo("192.0.2.100")).unwrap();
        world.ask(echo("192.0.2.99")).unwrap();
        let known: Vec<_> = world.rescue.neighbours().iter().map(|it| (it.address, it.mac)).collect();
        assert_eq!(known, [([192, 0, 2, 100].into(), [2, 0, 0, 0, 0, 1])]);
    }
}

#[test]
fn a_port_greets_or_is_silent_or_closed() {
    let mut world = a_world();
    let server = world.serve(25, Raw::saying("220 exchange \x1b\u{fc} ready\r\n250 and more\r\n"));
    let answer = world.ask(greeting(25)).unwrap();
    assert!(answer.starts_with("Greeted { line: \"220 exchange ??? ready\""), "{answer}");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.of_raw(server).heard(), "QUIT\r\n", "it takes leave");

    assert_eq!(world.ask(greeting(26)), Ok("Refused".into()));
    world.serve(27, Raw::saying(""));
    let began = world.now;
    assert_eq!(world.ask(greeting(27)), Ok("Silent".into()));
    assert!(world.now - began < Duration::from_secs(11));
    world.serve(28, Raw::saying(&"x".repeat(1000)));
    let answer = world.ask(greeting(28)).unwrap();
    assert!(answer.contains(&format!("\"{}\"", "x".repeat(GREETING_BYTES_MAX))), "{answer}");
    // One after the other, as often as somebody likes.
    for port in 100..140 {
        world.serve(port, Raw::saying("220 hello\r\n"));
        let answer = world.ask(greeting(port)).unwrap();
        assert!(answer.starts_with("Greeted"), "{port}: {answer}");
    }
}

#[test]
fn mail_is_taken_while_somebody_asks() {
    let mut world = a_world();
    let mails: Vec<Mail> = (0..20).map(|number| Mail::new(number, 3000)).collect();
    world.client(mails.clone());
    while !world.are_clients_over() {
        world.ask(echo("192.0.2.100")).unwrap();
    }
    assert_eq!(world.acknowledged(), mails);
}

#[test]
fn a_box_without_an_address_of_that_protocol_says_so() {
    let sim = formatted(DISK);
    for (ours, missing) in [("192.0.2.2/24", "2001:db8::64"), ("2001:db8::2/64", "192.0.2.100")] {
        let addresses = format!("addresses = [\"{ours}\"]");
        let text = settings("").replace("addresses = [\"192.0.2.2/24\", \"2001:db8::2/64\"]", &addresses);
        let text = text.replace("gateways = [\"192.0.2.1\"]", "");
        let nothing: Option<SimMedium> = None;
        let mut world = World::new(start(&text, Some(sim.medium()), nothing), Weather::FAIR, 1);
        let missing: IpAddr = missing.parse().unwrap();
        for question in [Question::Echo(missing), Question::Greeting(SocketAddr::new(missing, 25))] {
            assert_eq!(world.ask(question), Err(Unasked::NoAddress), "{ours}, {question:?}");
        }
    }
}

#[test]
fn a_box_without_a_network_says_so() {
    let (mut device, _end) = cable(Weather::FAIR, 1);
    let now = Instant::from_millis(0);
    let nothing: Option<SimMedium> = None;
    let start = start("", Some(formatted(DISK).medium()), nothing);
    let mut rescue = Rescue::new(start, &mut device, now);
    assert_eq!(rescue.ask(echo("192.0.2.100"), now), Err(Unasked::NoNetwork));
    assert_eq!(rescue.answer(now), Answer::Silent);
}
