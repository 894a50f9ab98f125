//! Whose mail a message is: what the order of release goes by.

use penstock_release::{Config, Priority};
use penstock_settings::Release as Settings;
use penstock_spool::Recipient;

/// The mailbox of the first of these recipients, as release knows it, and the foremost priority that one of them has.
pub(super) fn addressed<'r>(
    config: &Config,
    settings: &Settings,
    recipients: impl IntoIterator<Item = &'r Recipient>,
) -> (u32, Priority) {
    let mut addresses = recipients.into_iter().map(|recipient| recipient.address.as_str()).peekable();
    let mailbox = addresses.peek().map_or(0, |first| config.mailbox(first));
    if settings.mailboxes_first.is_empty() && settings.mailboxes_last.is_empty() {
        return (mailbox, Priority::Normal);
    }
    let priority = |address: &str| {
        if settings.mailboxes_first.iter().any(|first| first.include(address)) {
            Priority::First
        } else if settings.mailboxes_last.iter().any(|last| last.include(address)) {
            Priority::Last
        } else {
            Priority::Normal
        }
    };
    (mailbox, addresses.map(priority).min().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use penstock_settings::Settings;
    use penstock_spool::Notify;

    use super::*;

    const SETTINGS: &str = "[system]\nhostname = \"mx.example.org\"\n[volume]\npath = \"/volume\"\n\
        [domains]\naccepted = [\"example.org\"]\n[[next_hop]]\nname = \"exchange\"\naddress = \"192.0.2.25\"\n\
        [release]\nmailboxes_first = [\"ceo@example.org\"]\nmailboxes_last = [\"@lists.example.org\"]\n";

    #[test]
    fn a_message_goes_by_the_foremost_of_its_recipients_and_is_the_first_ones() {
        let settings = Settings::parse(SETTINGS).unwrap();
        let ways = super::super::Ways::new(&settings.next_hops);
        let config = super::super::config(&settings, &ways, 7);
        let of = |addresses: &[&str]| {
            let recipients: Vec<_> = addresses
                .iter()
                .map(|address| Recipient {
                    address: (*address).into(),
                    notify: Notify::default(),
                    orcpt: None,
                })
                .collect();
            addressed(&config, &settings.release, &recipients)
        };
        let jane = config.mailbox("jane@example.org");
        assert_eq!(of(&["Jane@example.org", "CEO@Example.org"]), (jane, Priority::First));
        assert_eq!(of(&["jane@example.org", "all@lists.example.org"]), (jane, Priority::Normal));
        assert_eq!(of(&["all@lists.example.org", "staff@lists.example.org"]).1, Priority::Last);
        assert_eq!(of(&[]), (0, Priority::Normal));
    }
}
