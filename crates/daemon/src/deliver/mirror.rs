//! What the next hops take, by what each said last in its reply to EHLO.
//!
//! The listener offers its clients no more than that: what was accepted while a hop was away must be such that it can be given
//! on when it is back. So it is kept over restarts. A hop that has never been met counts as one that takes what every Exchange
//! has taken for twenty years, and nothing newer.

use std::sync::{MutexGuard, PoisonError};

use penstock_release::HopId;
use penstock_settings::{NEXT_HOPS_MAX, NextHop};
use penstock_smtp::client::Capabilities;
use penstock_spool::META_VALUE_BYTES_MAX;
use tracing::info;

use super::Delivery;

/// As `boxstate` knows it.
pub(super) const KEY: &[u8] = b"ehlo";

/// What of the sizes that hops name is left to the lines that the box puts on top of a message.
const OWN_LINES_BYTES: u64 = 4 * 1024;

/// How a hop is kept: which it is, u32; what it takes, as bits; the largest message, u64, 0 for none named.
const HOP_BYTES: usize = 4 + 1 + 8;

const _: () = assert!(NEXT_HOPS_MAX * HOP_BYTES <= META_VALUE_BYTES_MAX);

/// What can be given on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Takes {
    /// 8BITMIME.
    pub(crate) eight_bit_mime: bool,
    /// DSN.
    pub(crate) dsn: bool,
    /// SMTPUTF8, and 8BITMIME, without which it means nothing.
    pub(crate) smtp_utf8: bool,
    /// BINARYMIME, and CHUNKING, without which it means nothing.
    pub(crate) binary_mime: bool,
    /// The largest message with all that the box adds, where there is a limit.
    pub(crate) size_bytes_max: Option<u64>,
}

impl Takes {
    /// What a hop takes that nobody has met yet. Exchange has had both since 2000; a sender that is not offered 8BITMIME
    /// converts its mail, and breaks its signature.
    const UNMET: Self =
        Self { eight_bit_mime: true, dsn: true, smtp_utf8: false, binary_mime: false, size_bytes_max: None };

    fn said(said: &Capabilities) -> Self {
        Self {
            eight_bit_mime: said.eight_bit_mime,
            dsn: said.dsn,
            smtp_utf8: said.smtp_utf8 && said.eight_bit_mime,
            binary_mime: said.binary_mime && said.chunking,
            size_bytes_max: said.size_bytes_max,
        }
    }

    /// What both take.
    fn and(self, other: Self) -> Self {
        let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        Self {
            eight_bit_mime: self.eight_bit_mime && other.eight_bit_mime,
            dsn: self.dsn && other.dsn,
            smtp_utf8: self.smtp_utf8 && other.smtp_utf8,
            binary_mime: self.binary_mime && other.binary_mime,
            size_bytes_max: least(self.size_bytes_max, other.size_bytes_max),
        }
    }

    /// The largest message that a client may bring, ours being at most so large. Never 0, which says in EHLO that there is no
    /// limit.
    pub(crate) fn size_bytes_max(&self, ours_bytes: u64) -> u64 {
        let theirs = self.size_bytes_max.map(|bytes| bytes.saturating_sub(OWN_LINES_BYTES));
        theirs.map_or(ours_bytes, |theirs| ours_bytes.min(theirs)).max(1)
    }

    /// The keywords, for people.
    pub(super) fn keywords(&self) -> String {
        let all = [
            (self.eight_bit_mime, "8BITMIME"),
            (self.dsn, "DSN"),
            (self.smtp_utf8, "SMTPUTF8"),
            (self.binary_mime, "BINARYMIME"),
        ];
        let mut keywords: Vec<String> =
            all.into_iter().filter_map(|(takes, keyword)| takes.then(|| keyword.to_owned())).collect();
        keywords.extend(self.size_bytes_max.map(|bytes| format!("SIZE {bytes}")));
        keywords.join(" ")
    }

    fn to_bits(self) -> u8 {
        let bits = [self.eight_bit_mime, self.dsn, self.smtp_utf8, self.binary_mime];
        bits.into_iter().enumerate().fold(0, |sum, (n, bit)| sum | u8::from(bit) << n)
    }

    fn from_bits(bits: u8, size_bytes_max: Option<u64>) -> Self {
        let is_set = |n: u8| bits & (1 << n) != 0;
        Self {
            eight_bit_mime: is_set(0),
            dsn: is_set(1),
            smtp_utf8: is_set(2),
            binary_mime: is_set(3),
            size_bytes_max,
        }
    }
}

/// What is known of all hops, in the order of the settings.
#[derive(Debug, Default)]
pub(super) struct Mirror {
    hops: Vec<Hop>,
    /// Something is not kept yet.
    unsaved: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Hop {
    /// Which it is: another address is another server, whatever it is called.
    which: u32,
    takes: Option<Takes>,
}

impl Mirror {
    /// What was kept of these hops.
    pub(super) fn new(hops: &[NextHop], kept: Option<&[u8]>) -> Self {
        let hops =
            hops.iter().map(|hop| Hop { which: which(&hop.address.to_string()), takes: None }).collect();
        let mut mirror = Self { hops, unsaved: false };
        mirror.learn(kept);
        mirror
    }

    /// Takes in what was kept, of hops that were not met since.
    pub(super) fn learn(&mut self, kept: Option<&[u8]>) {
        for (which, takes) in kept.unwrap_or_default().chunks_exact(HOP_BYTES).filter_map(read) {
            let unmet = self.hops.iter_mut().filter(|hop| hop.which == which && hop.takes.is_none());
            unmet.for_each(|hop| hop.takes = Some(takes));
        }
    }

    /// Takes note of a reply to EHLO. What the hop takes, if that is not what was kept.
    pub(super) fn heard(&mut self, hop: usize, said: &Capabilities) -> Option<Takes> {
        let hop = self.hops.get_mut(hop)?;
        let takes = Takes::said(said);
        self.unsaved |= hop.takes.replace(takes) != Some(takes);
        self.unsaved.then_some(takes)
    }

    /// What is known has been kept, or not.
    pub(super) fn saved(&mut self, is_saved: bool) {
        self.unsaved = !is_saved;
    }

    /// What every hop takes.
    pub(super) fn takes(&self) -> Takes {
        let each = self.hops.iter().map(|hop| hop.takes.unwrap_or(Takes::UNMET));
        each.reduce(Takes::and).unwrap_or(Takes::UNMET)
    }

    /// As it is kept.
    pub(super) fn value(&self) -> Vec<u8> {
        let known = self.hops.iter().filter_map(|hop| Some((hop.which, hop.takes?)));
        let mut value = Vec::new();
        for (which, takes) in known {
            value.extend_from_slice(&which.to_le_bytes());
            value.push(takes.to_bits());
            value.extend_from_slice(&takes.size_bytes_max.unwrap_or(0).to_le_bytes());
        }
        value
    }
}

fn read(hop: &[u8]) -> Option<(u32, Takes)> {
    let (which, rest) = hop.split_first_chunk::<4>()?;
    let (bits, size) = rest.split_first()?;
    let size_bytes_max = Some(u64::from_le_bytes(size.try_into().ok()?)).filter(|bytes| *bytes > 0);
    Some((u32::from_le_bytes(*which), Takes::from_bits(*bits, size_bytes_max)))
}

/// FNV-1a: it tells a site's few hops apart, and is the same in every version.
fn which(address: &str) -> u32 {
    address.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

impl Delivery {
    /// What the next hops take: no more must be offered to clients.
    pub(crate) fn takes(&self) -> Takes {
        self.mirror().takes()
    }

    /// Takes note of what a hop takes, for the listener and for the next start.
    pub(super) async fn heard(&self, hop: HopId, said: &Capabilities) {
        let value = {
            let mut mirror = self.mirror();
            let Some(takes) = mirror.heard(usize::from(hop.0), said) else { return };
            info!(
                hop = self.hop_name(hop),
                takes = takes.keywords(),
                "what the next hop takes is offered to clients"
            );
            mirror.value()
        };
        let saved = self.state.put(&self.volumes, vec![(KEY.to_vec(), value)], false).await;
        // What could not be written is, when it is heard again.
        self.mirror().saved(saved.is_ok());
    }

    pub(super) fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use penstock_settings::Settings;

    use super::*;

    fn hops(addresses: &[&str]) -> Vec<NextHop> {
        let mut text = "[system]\nhostname = \"mx.example.org\"\n[volume]\npath = \"/volume\"\n[domains]\n\
            accepted = [\"example.org\"]\n"
            .to_owned();
        for (n, address) in addresses.iter().enumerate() {
            text.push_str(&format!("[[next_hop]]\nname = \"hop-{n}\"\naddress = \"{address}\"\n"));
        }
        Settings::parse(&text).unwrap().next_hops
    }

    fn exchange() -> Capabilities {
        Capabilities {
            eight_bit_mime: true,
            dsn: true,
            chunking: true,
            binary_mime: true,
            smtp_utf8: true,
            size_bytes_max: Some(37_748_736),
            ..Capabilities::default()
        }
    }

    #[test]
    fn a_hop_that_nobody_has_met_takes_what_any_exchange_takes() {
        let mirror = Mirror::new(&hops(&["192.0.2.25"]), None);
        assert_eq!(mirror.takes(), Takes::UNMET);
        assert_eq!(mirror.takes().size_bytes_max(1000), 1000);
        assert!(mirror.value().is_empty());
    }

    #[test]
    fn what_is_offered_is_what_every_hop_takes() {
        let mut mirror = Mirror::new(&hops(&["192.0.2.25", "192.0.2.26"]), None);
        assert!(mirror.heard(0, &exchange()).is_some());
        mirror.saved(false);
        assert!(mirror.heard(0, &exchange()).is_some(), "it has to be kept yet");
        mirror.saved(true);
        assert_eq!(mirror.heard(0, &exchange()), None, "that was known");
        assert!(!mirror.takes().smtp_utf8 && !mirror.takes().binary_mime, "the other one was never met");
        mirror.heard(1, &Capabilities { dsn: false, size_bytes_max: Some(10_000_000), ..exchange() });
        let takes = mirror.takes();
        assert!(takes.eight_bit_mime && takes.smtp_utf8 && takes.binary_mime && !takes.dsn);
        assert_eq!(takes.size_bytes_max(36 << 20), 10_000_000 - OWN_LINES_BYTES);
        assert_eq!(takes.size_bytes_max(1000), 1000);
        assert_eq!(takes.keywords(), "8BITMIME SMTPUTF8 BINARYMIME SIZE 10000000");
        mirror.heard(1, &Capabilities { size_bytes_max: Some(7), ..exchange() });
        assert_eq!(mirror.takes().size_bytes_max(1000), 1, "0 would say that there is no limit");
    }

    #[test]
    fn half_an_extension_is_none() {
        let mut mirror = Mirror::new(&hops(&["192.0.2.25"]), None);
        mirror.heard(0, &Capabilities { chunking: false, eight_bit_mime: false, ..exchange() });
        let takes = mirror.takes();
        assert!(!takes.binary_mime && !takes.smtp_utf8 && takes.dsn);
    }

    #[test]
    fn what_was_said_outlives_a_restart_but_not_another_address() {
        let mut mirror = Mirror::new(&hops(&["192.0.2.25", "exchange.example.org:2525"]), None);
        mirror.heard(1, &exchange());
        mirror.heard(0, &Capabilities { size_bytes_max: None, ..exchange() });
        let value = mirror.value();
        let after = Mirror::new(&hops(&["192.0.2.25", "exchange.example.org:2525"]), Some(&value));
        assert_eq!(after.hops, mirror.hops);
        let turned = Mirror::new(&hops(&["exchange.example.org:2525", "192.0.2.25"]), Some(&value));
        assert_eq!(turned.takes(), mirror.takes(), "the order is of no account");
        let other = Mirror::new(&hops(&["192.0.2.77"]), Some(&value));
        assert_eq!(other.takes(), Takes::UNMET);
        for cut in 0..value.len() {
            // A value that was cut is a value with less in it.
            let cut = Mirror::new(&hops(&["192.0.2.25"]), value.get(..cut));
            assert!(cut.takes().eight_bit_mime);
        }
    }
}
