//! The figures by which the control law is tuned can tell a good drain from a bad one.

use penstock_rehearsal::config;
use penstock_rehearsal::drain::{Drain, Figures, Insight, Site};

fn drain(site: Site, insight: Insight, per_minute: u32, script: &str) -> Figures {
    let mut numbers = config(0);
    numbers.messages_per_minute_max = Some(per_minute);
    let drain = Drain { site, insight, messages: 3000, script: script.into(), config: Some(numbers) };
    let figures = drain.run();
    assert!(figures.broken.is_empty() && figures.complete, "{figures:?}");
    figures
}

#[test]
fn a_drain_that_overruns_the_server_shows_and_costs_bystanders() {
    let slow = drain(Site::Steady20, Insight::Blind, 300, "scale 0.02\n");
    let fast = drain(Site::Steady20, Insight::Blind, 6000, "scale 0.02\n");
    assert_eq!((slow.excursions, slow.in_vain, slow.medium_share), (0, 0, 0.0));
    assert!(fast.excursions > 0 && fast.medium_share > 0.1, "{fast:?}");
    assert!(fast.bystander_p99_s > 5.0 * slow.bystander_p99_s, "{fast:?}\n{slow:?}");
    assert!(slow.took_s > 2.0 * slow.ideal_s, "{slow:?}");
}

#[test]
fn nobody_is_faster_than_the_ideal() {
    for site in Site::ALL {
        let figures = drain(site, Insight::Both, 60_000, "");
        assert!(figures.took_s > 0.97 * figures.ideal_s, "{site:?}: {figures:?}");
    }
}
