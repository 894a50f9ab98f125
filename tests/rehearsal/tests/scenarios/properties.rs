//! Whatever happens to the server, to the box and in the mail: none is lost, none is doubled beyond what a session's end
//! allows, none is reported back, and nothing is set aside but what a server that is itself refuses.

use penstock_exchange::units::{DAY, HOUR, MINUTE};
use penstock_rehearsal::drain::Insight;
use penstock_rehearsal::{Act, Appliance, Fate, Mail};
use proptest::prelude::*;
use proptest::sample::select;

use crate::common::{play, world};

/// What may be the matter with a server for a while: how it begins, and how it ends. Where the site is and whom it knows does
/// not change: that a server takes mail and loses it behind 250 is another matter.
const TROUBLES: [(&str, &str); 27] = [
    ("state down", "state ok"),
    ("state blackhole", "state ok"),
    ("state inactive", "state ok"),
    ("state inactive mail", "state ok"),
    ("state unconfigured", "state ok"),
    ("state unconfigured 5.7.1", "state ok"),
    ("state unconfigured 530", "state ok"),
    ("restart 30s", "restart 3m"),
    ("disk 95%", "disk ok"),
    ("disk wave 75 92 3m", "disk ok"),
    ("queue-disk 98%", "queue-disk ok"),
    ("memory 74%", "memory ok"),
    ("buckets 1200", "buckets ok"),
    ("refuse-at data", "refuse-at usual"),
    ("delay-at mail", "delay-at usual"),
    ("proxy broken", "proxy ok"),
    ("shadow broken", "shadow ok"),
    ("lose-replies 3", "lose-replies 0"),
    ("capacity 0.2", "capacity 50"),
    ("scale 0.001", "scale 1"),
    ("rate 6", "rate unlimited"),
    ("connections-per-source 1", "connections-per-source 20"),
    ("session 20s", "session 10m"),
    ("recipients 2", "recipients 200"),
    ("dismount DB2", "mount DB2"),
    ("throttle user3@example.com 1", "throttle user3@example.com off"),
    ("commit 30s", "commit 20ms"),
];

/// What a server refuses, and refuses still when all troubles are over.
const POLICIES: &str = "spam casino\npoison killer\nfilter on\nunknown nobody@example.com";

#[derive(Clone, Debug)]
struct Trouble {
    begins_ms: u64,
    ends_ms: u64,
    commands: (&'static str, &'static str),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    // A database that is gone for longer than 47 h costs mail that is behind 250 already.
    (0..2 * DAY, 10_000..DAY, select(&TROUBLES[..])).prop_map(|(begins_ms, len_ms, commands)| Trouble {
        begins_ms,
        ends_ms: begins_ms + len_ms,
        commands,
    })
}

fn message() -> impl Strategy<Value = Mail> {
    let address = prop_oneof![
        30 => (0..20u32).prop_map(|n| format!("user{n}@example.com")),
        1 => Just("nobody@example.com".to_owned()),
    ];
    let mark = prop_oneof![30 => Just(None), 1 => Just(Some("casino".to_owned())), 1 => Just(Some("killer".to_owned()))];
    (prop::collection::btree_set(address, 1..4), 100..20_000usize, mark, 0..2 * DAY, any::<bool>()).prop_map(
        |(to, len_bytes, mark, at_ms, waits)| Mail {
            waits,
            number: 0,
            to: to.into_iter().collect(),
            len_bytes,
            mark,
            at_ms,
        },
    )
}

/// All that happens, as commands of the server: also those that end the troubles for good.
fn script(face: &str, troubles: &[Trouble]) -> String {
    let mut commands: Vec<(u64, &str)> = Vec::new();
    for Trouble { begins_ms, ends_ms, commands: (begin, end) } in troubles {
        commands.extend([(*begins_ms, *begin), (*ends_ms, *end)]);
    }
    let last_ms = commands.iter().map(|(at_ms, _)| *at_ms).max().unwrap_or_default();
    commands.extend(
        TROUBLES.iter().filter(|(begin, _)| *begin != "restart 30s").map(|(_, end)| (last_ms + 1, *end)),
    );
    let timed = commands.iter().map(|(at_ms, command)| format!("at {at_ms}ms {command}\n"));
    format!("face {face}\n{POLICIES}\n{}", timed.collect::<String>())
}

/// When the server was not itself: it was away, or did not know the site.
fn not_itself(troubles: &[Trouble]) -> Vec<(u64, u64)> {
    let mut states: Vec<(u64, bool)> = Vec::new();
    for Trouble { begins_ms, ends_ms, commands: (begin, _) } in troubles {
        if begin.starts_with("state") {
            states.extend([(*begins_ms, true), (*ends_ms, false)]);
        }
    }
    states.sort_unstable();
    states.windows(2).filter(|pair| pair[0].1).map(|pair| (pair[0].0, pair[1].0)).collect()
}

/// So many, unless the environment says otherwise.
fn cases(usual: u32) -> ProptestConfig {
    let told = std::env::var("PROPTEST_CASES").ok().and_then(|text| text.parse().ok());
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(told.unwrap_or(usual)) }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn whatever_happens_no_mail_is_lost_doubled_reported_back_or_set_aside_without_cause(
        face in select(vec!["frontend", "direct", "edge"]),
        insight in select(Insight::ALL.to_vec()),
        troubles in prop::collection::vec(trouble(), 0..8),
        mut mail in prop::collection::vec(message(), 1..150),
        mut cuts in prop::collection::vec((0..3 * DAY, 100..10 * MINUTE), 0..4),
    ) {
        // A message that kills sessions is found out only while others pass.
        let all_ok_ms = 3 * DAY;
        mail.extend((1..24).map(|n| Mail::numbered(0, "user0@example.com").at_ms(all_ok_ms + n * HOUR / 2)));
        mail.iter_mut().zip(0..).for_each(|(mail, number)| mail.number = number);
        cuts.sort_unstable();
        let cuts = cuts.iter().map(|(at_ms, away_ms)| (*at_ms, Act::PowerCut { away_ms: *away_ms }));
        // When all is over the operator looks, and says so; again, where that was not the end of it.
        let confirmed = (0..12).map(|n| (all_ok_ms + (1 + n) * HOUR, Act::Confirm));
        let acts = cuts.chain(confirmed);
        let mut world = world(&script(face, &troubles));
        let mut appliance = Appliance::new(insight.knowledge(), mail).with_acts(acts);
        let judgement = play(&mut world, &mut appliance, 6 * DAY);
        prop_assert_eq!((judgement.queued, judgement.with_server, judgement.reported), (0, 0, 0));
        for held in appliance.held() {
            for (to, fate) in held.mail.to.iter().zip(&held.fates) {
                let (Fate::Quarantined { at_ms, why } | Fate::Told { at_ms, why }) = fate else { continue };
                let cause = held.mail.mark.is_some() || to == "nobody@example.com";
                prop_assert!(cause, "{} to {to} at {at_ms}: {why}", held.mail.number);
                let began = not_itself(&troubles).into_iter().find(|(from, until)| (*from..*until).contains(at_ms));
                // What was asked before may be answered yet.
                let fair = began.is_none_or(|(from, _)| *at_ms < from + MINUTE);
                prop_assert!(fair, "{} at {at_ms}, while the server was not itself: {why}", held.mail.number);
            }
        }
    }
}
