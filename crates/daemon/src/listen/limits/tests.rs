//! What sessions see of the limits.

use std::net::Ipv4Addr;
use std::task::{Context, Waker};

use super::*;

fn limits(listen: &str) -> Arc<Limits> {
    let text = format!(
        "[system]\nhostname = \"mx.example.org\"\n[domains]\naccepted = [\"example.org\"]\n[[next_hop]]\nname = \"x\"\n\
         address = \"192.0.2.25\"\n[listen]\n{listen}"
    );
    Limits::new(&Settings::parse(&text).unwrap())
}

const OLIVE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PLUM: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
const HOP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 25));

fn enter(limits: &Arc<Limits>, address: IpAddr) -> Result<Place, Refused> {
    limits.enter(address).map(|admitted| admitted.place)
}

fn sessions_of(limits: &Limits, address: IpAddr) -> u32 {
    let rows = limits.sources(usize::MAX);
    rows.iter().find(|row| row.source == Source::of(address)).map_or(0, |row| row.sessions)
}

#[test]
fn no_source_takes_all_sessions_and_who_leaves_makes_room() {
    let limits = limits("connections_max = 3\nconnections_per_source_max = 2");
    let first = enter(&limits, OLIVE).unwrap();
    let _second = enter(&limits, OLIVE).unwrap();
    assert!(matches!(
        enter(&limits, OLIVE).unwrap_err(),
        Refused::Source { limit: Limit::Connections, untold: true, .. }
    ));
    let _third = enter(&limits, PLUM).unwrap();
    assert!(limits.is_busy());
    drop(first);
    assert!(enter(&limits, OLIVE).is_ok());
    assert_eq!(limits.sessions(), 2);
}

#[test]
fn who_has_to_make_room_is_woken_and_told() {
    let limits = limits("connections_max = 1\nconnections_per_source_max = 1");
    let first = enter(&limits, OLIVE).unwrap();
    let context = Context::from_waker(Waker::noop());
    assert!(!first.is_displaced(&context));
    let second = limits.enter(PLUM).unwrap();
    assert!(second.displaced && first.is_displaced(&context));
    assert_eq!((limits.sessions(), limits.places()), (1, 2));
    drop(first);
    assert_eq!((limits.sessions(), limits.places(), sessions_of(&limits, PLUM)), (1, 1, 1));
}

#[test]
fn only_the_filter_in_front_may_come_and_fronts_and_next_hops() {
    let limits =
        limits("allowed = [\"198.51.100.0/24\"]\ntrusted_fronts = [\"192.0.2.2\"]\nnot_allowed = \"refuse\"");
    let refused = enter(&limits, OLIVE).unwrap_err();
    assert_eq!(refused, Refused::Network { untold: true });
    assert_eq!(limits.reply(refused).code, 554);
    assert_eq!(enter(&limits, OLIVE).unwrap_err(), Refused::Network { untold: false });
    for allowed in [PLUM, HOP, "198.51.100.7".parse().unwrap(), "::ffff:198.51.100.8".parse().unwrap()] {
        assert!(enter(&limits, allowed).is_ok(), "{allowed}");
    }
}

#[test]
fn a_sender_from_elsewhere_may_try_again_unless_the_operator_wants_otherwise() {
    let limits = limits("allowed = [\"198.51.100.0/24\"]");
    let refused = enter(&limits, OLIVE).unwrap_err();
    assert_eq!(limits.reply(refused).code, 421);
}

const SHORT: Reading = Reading { descriptors: 1000, descriptors_max: Some(1024), memory_free_bytes: None };

#[test]
fn while_the_machine_runs_short_nobody_is_added() {
    let limits = limits("");
    assert_eq!(limits.look(SHORT), [(Shortage::Descriptors, true)]);
    assert_eq!(enter(&limits, OLIVE).unwrap_err(), Refused::Short(Shortage::Descriptors));
    assert_eq!(limits.reply(Refused::Short(Shortage::Descriptors)).code, 421);
    assert!(limits.is_busy());
    assert_eq!(limits.look(Reading { descriptors: 10, ..SHORT }), [(Shortage::Descriptors, false)]);
    let _place = enter(&limits, OLIVE).unwrap();
    assert!(!limits.is_busy());
}

#[test]
fn while_the_machine_runs_short_who_comes_takes_the_place_of_who_does_nothing() {
    let limits = limits("");
    let place = enter(&limits, OLIVE).unwrap();
    limits.look(SHORT);
    assert!(limits.enter(PLUM).unwrap().displaced);
    assert!(place.is_displaced(&Context::from_waker(Waker::noop())));
}

#[test]
fn mistakes_are_answered_late_but_not_of_many_at_once_nor_of_fronts() {
    let limits = limits(
        "tarpit_errors = 1\ntarpit_sessions_max = 1\nerrors_per_minute_per_source_max = 10\n\
         trusted_fronts = [\"192.0.2.2\"]",
    );
    let mut olive = enter(&limits, OLIVE).unwrap();
    assert!(matches!(olive.erred(1), Erred::Told), "everybody errs");
    let Erred::Waits(tarpit) = olive.erred(1) else { panic!("it is told at once") };
    assert_eq!(limits.tarpitted(), 1);
    assert!(matches!(enter(&limits, OLIVE).unwrap().erred(1), Erred::Told), "one is enough");
    drop(tarpit);
    assert!(matches!(olive.erred(1), Erred::Waits(_)));
    assert_eq!(limits.tarpitted(), 0);
    assert!(matches!(olive.erred(10), Erred::Goes(Refused::Source { limit: Limit::Errors, .. })));
    let mut plum = enter(&limits, PLUM).unwrap();
    assert!(matches!(plum.erred(1000), Erred::Told));
}

#[test]
fn addresses_of_one_ipv6_network_are_one_source() {
    let limits = limits("connections_per_source_max = 1");
    let _first = enter(&limits, "2001:db8::1".parse().unwrap()).unwrap();
    assert!(enter(&limits, "2001:db8::2".parse().unwrap()).is_err());
    assert!(enter(&limits, "2001:db8:0:1::1".parse().unwrap()).is_ok());
}

#[test]
fn space_is_reserved_within_the_share_of_a_source_and_given_back() {
    let limits = limits("size_max = \"1MiB\"\nreserved_max = \"3MiB\"\nreserved_per_source_max = \"2MiB\"");
    let (mut olive, mut plum) = (enter(&limits, OLIVE).unwrap(), enter(&limits, PLUM).unwrap());
    assert!(olive.reserve(2 << 20) && !olive.reserve(1));
    assert!(plum.reserve(1 << 20) && !plum.reserve(1 << 20));
    drop(olive);
    assert!(plum.reserve(1 << 20));
    plum.release();
    assert!(plum.reserve(2 << 20));
    assert_eq!(limits.figures().reserved_bytes, 2 << 20);
}

#[test]
fn bytes_of_a_message_are_a_step_when_enough_of_them_came() {
    let limits = limits("connections_max = 1\nconnections_per_source_max = 1");
    let mut place = enter(&limits, OLIVE).unwrap();
    place.step(Phase::Body);
    place.body(100);
    assert_eq!(place.body_bytes, 100);
    // A twelfth of what is wanted in a minute.
    place.body(5 * 1024);
    assert_eq!(place.body_bytes, 0);
    assert_eq!(enter(&limits, PLUM).unwrap_err(), Refused::Full);
}
