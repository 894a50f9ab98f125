//! The figures by which the control law is tuned can tell a good drain from a bad one.

use penstock_rehearsal::drain::{Drain, Figures, Insight, Site};

fn drain(site: Site, insight: Insight, script: &str) -> Figures {
    let figures = Drain { site, insight, messages: 1500, script: script.into(), config: None }.run();
    assert!(figures.broken.is_empty() && figures.complete, "{figures:?}");
    figures
}

#[test]
fn a_server_that_is_overrun_shows_and_costs_bystanders_and_fresh_mail() {
    // A burst of the organisation's own mail is what no law of ours can prevent.
    let calm = drain(Site::Steady20, Insight::Both, "scale 0.05\n");
    let burst =
        drain(Site::Steady20, Insight::Both, "scale 0.05\nat 10s background 60\nat 40s background 0\n");
    assert!(burst.excursions > calm.excursions, "{burst:?}\n{calm:?}");
    assert!(burst.medium_share > calm.medium_share + 0.05, "{burst:?}\n{calm:?}");
    assert!(burst.bystander_p99_s > 3.0 * calm.bystander_p99_s, "{burst:?}\n{calm:?}");
    assert!(burst.took_s > calm.took_s, "{burst:?}\n{calm:?}");
    assert!(calm.canaries > 0);
}

#[test]
fn a_disk_that_is_full_for_a_while_shows_as_mail_sent_in_vain() {
    let full = drain(Site::FullDisk, Insight::Blind, "");
    assert!(full.in_vain > 0 && full.excursions > 0, "{full:?}");
}

#[test]
fn nobody_is_faster_than_the_ideal() {
    for site in Site::ALL {
        let figures = drain(site, Insight::Both, "");
        assert!(figures.took_s > 0.97 * figures.ideal_s, "{site:?}: {figures:?}");
    }
}
