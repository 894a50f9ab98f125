//! What the table promises, one by one and as a model that does anything in any order.

use std::task::Waker;

use penstock_settings::Settings;
use proptest::prelude::*;

use super::*;

const BUSY_MS: u64 = 30_000;
const STEP_MS: u64 = super::super::displace::STEP_MS;

fn settings(listen: &str) -> Listen {
    let text = format!(
        "[system]\nhostname = \"mx.example.org\"\n[domains]\naccepted = [\"example.org\"]\n[[next_hop]]\nname = \"x\"\n\
         address = \"192.0.2.25\"\n[listen]\n{listen}"
    );
    Settings::parse(&text).unwrap().listen
}

fn source(n: u32) -> Source {
    Source::of(std::net::Ipv4Addr::from_bits(0x0A00_0000 + n).into())
}

fn source6(site: u16, machine: u16) -> Source {
    Source::of(std::net::Ipv6Addr::new(0x2001, 0xdb8, site, machine, 0, 0, 0, 1).into())
}

struct World {
    table: Table,
    capacity: u32,
    now_ms: u64,
}

impl World {
    fn new(listen: &str) -> Self {
        let settings = settings(listen);
        Self { capacity: settings.connections_max, table: Table::new(settings), now_ms: 1 }
    }

    fn enter(&mut self, source: Source) -> Result<Slot, Refused> {
        self.table.enter(source, false, true, self.capacity, self.now_ms).map(|entered| entered.slot)
    }

    fn step(&mut self, slot: Slot, phase: Phase) {
        self.table.step(slot, phase, self.now_ms);
    }

    fn is_displaced(&mut self, slot: Slot) -> bool {
        self.table.is_displaced(slot, Waker::noop())
    }
}

fn is_at(refused: &Result<impl Sized, Refused>, what: Limit) -> bool {
    matches!(refused, Err(Refused::Source { limit, .. }) if *limit == what)
}

#[test]
fn an_idle_flood_from_many_addresses_does_not_lock_mail_out() {
    let mut world = World::new("");
    let mut idle: Vec<_> = (0..200).map(|n| world.enter(source(n)).unwrap()).collect();
    // Another one every few ms, each from an address of its own; those that have to go go.
    let mut next = 1_000;
    let mut flood = |world: &mut World, count: u64, each_ms: u64| {
        for _ in 0..count {
            next += 1;
            idle.push(world.enter(source(next)).unwrap());
            world.now_ms += each_ms;
            idle.retain(|slot| {
                let goes = world.is_displaced(*slot);
                if goes {
                    world.table.leave(*slot);
                }
                !goes
            });
        }
    };
    for n in 0..20 {
        flood(&mut world, 100, 2);
        let mail = world.enter(source(100_000 + n)).unwrap();
        for phase in [Phase::Idle, Phase::Envelope, Phase::Envelope, Phase::Body, Phase::Ours] {
            flood(&mut world, 10, 5);
            assert!(!world.is_displaced(mail));
            world.step(mail, phase);
        }
        world.table.accepted(mail, world.now_ms);
        world.table.leave(mail);
    }
}

#[test]
fn the_source_with_most_sessions_makes_room_first() {
    let mut world = World::new("connections_max = 6\nconnections_per_source_max = 5");
    let many: Vec<_> = (0..5).map(|_| world.enter(source(1)).unwrap()).collect();
    let one = world.enter(source(2)).unwrap();
    for slot in many.iter().chain([&one]) {
        world.step(*slot, Phase::Idle);
    }
    world.now_ms += 100;
    let third = world.enter(source(3)).unwrap();
    assert!(world.is_displaced(many[0]) && !world.is_displaced(one));
    // The one that lost its place holds it no longer, although it has not gone yet.
    assert_eq!((world.table.sessions(), world.table.places()), (6, 7));
    world.table.leave(many[0]);
    assert_eq!((world.table.sessions(), world.table.places()), (6, 6));
    // Who would then have more than others gets nothing.
    assert_eq!(world.enter(source(1)).unwrap_err(), Refused::Full);
    assert!(!world.is_displaced(third));
}

#[test]
fn sessions_in_which_a_message_comes_are_left_alone() {
    let mut world = World::new("connections_max = 3\nconnections_per_source_max = 3");
    let slots: Vec<_> = (0..3).map(|n| world.enter(source(n)).unwrap()).collect();
    world.step(slots[0], Phase::Body);
    world.step(slots[1], Phase::Ours);
    world.step(slots[2], Phase::Envelope);
    world.now_ms += STEP_MS - 1;
    assert_eq!(world.enter(source(9)).unwrap_err(), Refused::Full);
    // The next look comes a little later.
    world.now_ms += LOOK_PAUSE_MS;
    world.step(slots[0], Phase::Body);
    assert!(world.enter(source(9)).is_ok());
    assert!(world.is_displaced(slots[2]), "it has not come a step further");
    assert!(!world.is_displaced(slots[0]) && !world.is_displaced(slots[1]));
}

#[test]
fn endless_recipients_protect_nobody_for_ever() {
    let mut world = World::new("connections_max = 1\nconnections_per_source_max = 1");
    let slot = world.enter(source(1)).unwrap();
    for _ in 0..=BUSY_MS / 1000 {
        world.step(slot, Phase::Envelope);
        world.now_ms += 1000;
    }
    assert!(world.enter(source(2)).is_ok());
    assert!(world.is_displaced(slot));
}

#[test]
fn a_trusted_front_keeps_its_sessions_and_may_have_all() {
    let mut world = World::new("connections_max = 2\nconnections_per_source_max = 1");
    let enter = |world: &mut World| {
        world.table.enter(source(1), true, false, world.capacity, world.now_ms).map(|entered| entered.slot)
    };
    let other = world.enter(source(2)).unwrap();
    let _first = enter(&mut world).unwrap();
    let _second = enter(&mut world).unwrap();
    assert!(world.is_displaced(other));
    world.now_ms += 3_600_000;
    assert_eq!(enter(&mut world).unwrap_err(), Refused::Full);
    assert_eq!(world.enter(source(3)).unwrap_err(), Refused::Full);
}

#[test]
fn what_a_source_does_in_a_minute_is_bounded_and_then_forgotten() {
    let mut world = World::new(
        "messages_per_minute_per_source_max = 3\nrecipients_per_minute_per_source_max = 4\n\
         errors_per_minute_per_source_max = 5",
    );
    let slot = world.enter(source(1)).unwrap();
    let other = world.enter(source(2)).unwrap();
    assert!((0..3).all(|_| world.table.message(slot, world.now_ms).is_ok()));
    assert!(is_at(&world.table.message(slot, world.now_ms), Limit::Messages));
    assert!((0..4).all(|_| world.table.recipient(slot, world.now_ms).is_ok()));
    assert!(is_at(&world.table.recipient(slot, world.now_ms), Limit::Recipients));
    assert_eq!(world.table.erred(slot, 4, world.now_ms), Ok(4));
    assert!(is_at(&world.table.erred(slot, 1, world.now_ms), Limit::Errors));
    assert!(is_at(&world.enter(source(1)), Limit::Errors), "nor may it come again");
    assert!(world.table.message(other, world.now_ms).is_ok() && world.enter(source(2)).is_ok());
    world.now_ms += 120_000;
    assert!(world.table.message(slot, world.now_ms).is_ok() && world.enter(source(1)).is_ok());
}

#[test]
fn all_together_have_a_limit_where_the_operator_sets_one() {
    let mut world = World::new(
        "messages_per_minute_per_source_max = 2\nmessages_per_minute_max = 3\n\
         recipients_per_minute_per_source_max = 2\nrecipients_per_minute_max = 3",
    );
    let slots: Vec<_> = (0..4).map(|n| world.enter(source(n)).unwrap()).collect();
    let messages: Vec<_> = slots.iter().map(|slot| world.table.message(*slot, 1)).collect();
    let recipients: Vec<_> = slots.iter().map(|slot| world.table.recipient(*slot, 1)).collect();
    let expected = [Ok(()), Ok(()), Ok(()), Err(Refused::TooFast)];
    assert_eq!((messages.as_slice(), recipients.as_slice()), (&expected[..], &expected[..]));
}

#[test]
fn the_networks_of_one_site_have_four_shares_together() {
    let mut world = World::new("connections_per_source_max = 2\nerrors_per_minute_per_source_max = 10");
    let entered = (0..100).filter(|n| world.enter(source6(1, *n)).is_ok()).count();
    assert_eq!(entered, 8);
    let slot = world.enter(source6(2, 0)).unwrap();
    assert!(world.table.erred(slot, 9, 1).is_ok());
    let others = (1..5).map(|n| world.enter(source6(2, n)).unwrap()).collect::<Vec<_>>();
    let told: Vec<_> = others.iter().map(|slot| world.table.erred(*slot, 9, 1).is_ok()).collect();
    assert_eq!(told, [true, true, true, false]);
    assert!(is_at(&world.enter(source6(2, 77)), Limit::Errors), "a new network of that site gains nothing");
    assert!(world.enter(source6(3, 0)).is_ok());
}

#[test]
fn each_source_is_told_of_once() {
    let mut world = World::new("connections_per_source_max = 1");
    let _first = world.enter(source(1)).unwrap();
    let untold = |refused| matches!(refused, Err(Refused::Source { untold: true, .. }));
    assert_eq!([untold(world.enter(source(1))), untold(world.enter(source(1)))], [true, false]);
    assert_eq!([world.table.stranger(source(2), 1), world.table.stranger(source(2), 1)], [true, false]);
}

#[test]
fn what_is_remembered_is_bounded_and_misdeeds_last_longest() {
    let mut world = World::new("");
    let slot = world.enter(source(0)).unwrap();
    assert!(world.table.erred(slot, 1000, world.now_ms).is_err());
    world.table.leave(slot);
    for n in 1..100_000 {
        let slot = world.enter(source(n)).unwrap();
        world.table.leave(slot);
        assert!(world.table.accounts.len() <= REMEMBERED_MAX + 1);
    }
    assert!(is_at(&world.enter(source(0)), Limit::Errors), "it has not been forgotten");
}

#[test]
fn a_shortage_ends_only_sessions_that_do_nothing() {
    let mut world = World::new("");
    let slots: Vec<_> = (0..10).map(|n| world.enter(source(n)).unwrap()).collect();
    world.now_ms += STEP_MS;
    world.step(slots[0], Phase::Body);
    world.step(slots[1], Phase::Idle);
    assert_eq!(world.table.shed(5, world.now_ms).len(), 5);
    assert_eq!(world.table.shed(5, world.now_ms).len(), 3);
    assert!(world.table.shed(5, world.now_ms).is_empty());
    assert!(!world.is_displaced(slots[0]) && !world.is_displaced(slots[1]));
}

#[test]
fn the_operator_sees_who_holds_most_first() {
    let mut world = World::new("connections_per_source_max = 3");
    let slots: Vec<_> = [1, 2, 2, 3].into_iter().map(|n| world.enter(source(n)).unwrap()).collect();
    world.table.leave(slots[0]);
    assert!(world.table.reserve(slots[1], 5, 1));
    let rows = world.table.sources(10, world.now_ms);
    let seen: Vec<_> = rows.iter().map(|row| (row.source, row.sessions, row.reserved_bytes)).collect();
    assert_eq!(seen, [(source(2), 2, 5), (source(3), 1, 0), (source(1), 0, 0)]);
    assert_eq!(world.table.sources(1, world.now_ms).len(), 1);
}

/// What can happen. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Happens {
    Enter { source: u8, site: bool, trusted: bool },
    Leave(usize),
    Step(usize, u8),
    Back(usize),
    Message(usize),
    Recipient(usize),
    Accepted(usize),
    Erred(usize, u32),
    Reserve(usize, u64),
    Release(usize),
    Shed(usize),
    Stranger(u8),
    Later(u64),
}

fn happens() -> impl Strategy<Value = Happens> {
    let some = || 0..64_usize;
    prop_oneof![
        6 => (0..12_u8, any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(source, site, trusted)| Happens::Enter { source, site, trusted }),
        3 => some().prop_map(Happens::Leave),
        3 => (some(), 0..5_u8).prop_map(|(at, phase)| Happens::Step(at, phase)),
        1 => some().prop_map(Happens::Back),
        1 => some().prop_map(Happens::Message),
        1 => some().prop_map(Happens::Recipient),
        1 => some().prop_map(Happens::Accepted),
        1 => (some(), 0..5_u32).prop_map(|(at, errors)| Happens::Erred(at, errors)),
        2 => (some(), 0..3_000_000_u64).prop_map(|(at, bytes)| Happens::Reserve(at, bytes)),
        1 => some().prop_map(Happens::Release),
        1 => (0..4_usize).prop_map(Happens::Shed),
        1 => any::<u8>().prop_map(Happens::Stranger),
        2 => (0..20_000_u64).prop_map(Happens::Later),
    ]
}

/// One that the model has let in.
struct Guest {
    slot: Slot,
    source: Source,
    reserved_bytes: u64,
}

fn assert_adds_up(table: &Table, guests: &[Guest]) {
    let staying = |guest: &&Guest| !table.places[guest.slot].as_ref().unwrap().displaced;
    assert_eq!(table.sessions as usize, guests.iter().filter(staying).count());
    assert_eq!(table.places() as usize, guests.len());
    assert_eq!(table.places.iter().flatten().count(), guests.len());
    assert_eq!(table.reserved_bytes, guests.iter().map(|guest| guest.reserved_bytes).sum::<u64>());
    assert!(table.sessions <= table.settings.connections_max);
    assert!(table.reserved_bytes <= table.settings.reserved_max.0);
    for (source, account) in &table.accounts {
        let own =
            || guests.iter().filter(|guest| guest.source == *source || guest.source.wider() == Some(*source));
        assert_eq!(account.sessions as usize, own().filter(staying).count());
        assert_eq!(account.places as usize, own().count());
        assert_eq!(account.reserved_bytes, own().map(|guest| guest.reserved_bytes).sum::<u64>());
    }
    assert_eq!(table.accounts_in_use, table.accounts.values().filter(|account| account.places > 0).count());
}

proptest! {
    #[test]
    fn whatever_happens_the_counts_add_up_and_nothing_is_left_when_all_have_gone(
        all in prop::collection::vec(happens(), 1..300)
    ) {
        let mut world = World::new(
            "connections_max = 10\nconnections_per_source_max = 3\nmessages_per_minute_per_source_max = 5\n\
             recipients_per_minute_per_source_max = 5\nerrors_per_minute_per_source_max = 6\n\
             size_max = \"1MiB\"\nreserved_max = \"8MiB\"\nreserved_per_source_max = \"4MiB\"",
        );
        let mut guests: Vec<Guest> = Vec::new();
        for one in all {
            let now_ms = world.now_ms;
            let at = |n: usize| guests.get(n % guests.len().max(1)).map(|guest| guest.slot);
            // What is refused is counted all the same, and that is what is looked at.
            match one {
                Happens::Enter { source: n, site, trusted } => {
                    let source = if site { source6(u16::from(n % 3), n.into()) } else { source(n.into()) };
                    let capacity = world.capacity;
                    if let Ok(entered) = world.table.enter(source, trusted, true, capacity, now_ms) {
                        guests.push(Guest { slot: entered.slot, source, reserved_bytes: 0 });
                    }
                }
                Happens::Leave(n) if !guests.is_empty() => {
                    let guest = guests.swap_remove(n % guests.len());
                    world.table.leave(guest.slot);
                }
                Happens::Step(n, phase) => {
                    let phases = [Phase::Greeting, Phase::Idle, Phase::Envelope, Phase::Body, Phase::Ours];
                    let phase = phases[usize::from(phase)];
                    at(n).into_iter().for_each(|slot| world.table.step(slot, phase, now_ms));
                }
                Happens::Back(n) => at(n).into_iter().for_each(|slot| world.table.back(slot)),
                Happens::Message(n) => {
                    let _ = at(n).map(|slot| world.table.message(slot, now_ms));
                }
                Happens::Recipient(n) => {
                    let _ = at(n).map(|slot| world.table.recipient(slot, now_ms));
                }
                Happens::Accepted(n) => at(n).into_iter().for_each(|slot| world.table.accepted(slot, now_ms)),
                Happens::Erred(n, errors) => {
                    let _ = at(n).map(|slot| world.table.erred(slot, errors, now_ms));
                }
                Happens::Reserve(n, bytes) if !guests.is_empty() => {
                    let n = n % guests.len();
                    if world.table.reserve(guests[n].slot, bytes, now_ms) {
                        guests[n].reserved_bytes += bytes;
                    }
                }
                Happens::Release(n) if !guests.is_empty() => {
                    let n = n % guests.len();
                    world.table.release(guests[n].slot);
                    guests[n].reserved_bytes = 0;
                }
                Happens::Shed(most) => drop(world.table.shed(most, now_ms)),
                Happens::Stranger(n) => {
                    let _ = world.table.stranger(source(n.into()), now_ms);
                }
                Happens::Later(ms) => world.now_ms += ms,
                Happens::Leave(_) | Happens::Reserve(..) | Happens::Release(_) => {}
            }
            assert_adds_up(&world.table, &guests);
        }
        for guest in guests.drain(..) {
            world.table.leave(guest.slot);
        }
        assert_adds_up(&world.table, &[]);
        prop_assert_eq!(world.table.figures(world.now_ms).sessions, 0);
        // All that is left is memory of what was done, and that is bounded.
        prop_assert!(world.table.accounts.len() <= 12 + 12 + 3 + 256);
        prop_assert!(world.table.places.is_empty());
    }
}
