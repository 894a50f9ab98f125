//! What is known of the mail that the servers took.

use std::fmt;

use penstock_release::{Grade, HopStatus, State};

use super::Operator;
use crate::control::types::{
    Alert, CanaryFilter, CanaryPage, CanaryState, CanaryView, CountersView, ErrorBody, HopCanaries,
    ProofView, Severity,
};
use crate::control::{Kind as Fault, Refusal};
use crate::deliver::{CanariesOfHop, Canary, CanaryFate};

/// For how long canaries may be taken without one arriving before that is an alert. Exchange at its busiest needs some
/// minutes.
const SILENCE_MAX_MS: u64 = 15 * 60_000;
/// Readings older than this are no longer what is.
const COUNTERS_AGE_MAX_MS: u64 = 90_000;

pub(super) fn canaries(operator: &Operator, filter: CanaryFilter) -> Result<CanaryPage, Refusal> {
    let hops: Vec<HopStatus> = operator.delivery.release().hops(operator.delivery.now()).collect();
    let is_wanted = |hop: &HopStatus| filter.hop.as_ref().is_none_or(|name| *name == hop.name);
    let hops: Vec<HopCanaries> =
        hops.into_iter().filter(is_wanted).map(|hop| hop_canaries(operator, hop)).collect();
    if let (true, Some(name)) = (hops.is_empty(), filter.hop) {
        let message = format!("there is no next hop of the name {name}");
        return Err(Refusal::new(Fault::NotFound, "PS-D264", message, "`penstock status` names them."));
    }
    Ok(CanaryPage { now_unix_ms: operator.clock.stamp().unix_ms, hops })
}

fn hop_canaries(operator: &Operator, hop: HopStatus) -> HopCanaries {
    let of_hop = operator.delivery.canaries_of(hop.id);
    let now_ms = operator.clock.mono_ms();
    let canaries = of_hop.canaries.iter().map(|canary| CanaryView {
        mailbox: operator.delivery.probe_mailbox(hop.id, canary.probe).to_owned(),
        age_ms: now_ms.saturating_sub(canary.begun_mono_ms),
        sent_unix_ms: canary.begun.unix_ms,
        state: state(canary, now_ms),
        sojourn_ms: match canary.fate {
            CanaryFate::Arrived { sojourn_ms } => Some(sojourn_ms),
            _ => None,
        },
        why: match &canary.fate {
            CanaryFate::Refused(why) | CanaryFate::Failed(why) => Some(why.clone()),
            _ => None,
        },
    });
    let canaries = canaries.collect();
    HopCanaries { proof: view(operator, &hop), hop: hop.name, canaries }
}

fn state(canary: &Canary, now_ms: u64) -> CanaryState {
    match canary.fate {
        CanaryFate::Going => CanaryState::Going,
        CanaryFate::Refused(_) => CanaryState::Refused,
        CanaryFate::Taken if canary.is_awaited(now_ms) => CanaryState::Taken,
        CanaryFate::Taken => CanaryState::Missing,
        CanaryFate::Arrived { .. } => CanaryState::Arrived,
        CanaryFate::Failed(_) => CanaryState::Failed,
    }
}

pub(super) fn view(operator: &Operator, hop: &HopStatus) -> ProofView {
    let delivery = &operator.delivery;
    let (of_hop, counters) = (delivery.canaries_of(hop.id), delivery.counters_of(hop.id));
    let now_ms = operator.clock.mono_ms();
    let outstanding = of_hop.canaries.iter().filter(|canary| canary.is_awaited(now_ms)).count();
    let read_ms = counters.as_ref().and_then(|known| known.read_mono_ms);
    let age_ms = read_ms.map(|read_ms| now_ms.saturating_sub(read_ms));
    let trouble = Trouble::of(operator, hop, &of_hop).map(|trouble| trouble.to_string()).or_else(|| {
        counters.as_ref()?.trouble.as_ref().map(|why| format!("The counters are of no use: {why}."))
    });
    ProofView {
        grade: hop.grade.as_str().to_owned(),
        probe_mailboxes: u32::try_from(probe_mailboxes(operator, hop)).unwrap_or(u32::MAX),
        canaries_taken: of_hop.taken,
        canaries_arrived: of_hop.arrived,
        canaries_outstanding: u32::try_from(outstanding).unwrap_or(u32::MAX),
        last_sojourn_ms: of_hop.sojourn_ms,
        counters_age_ms: age_ms,
        counters: counters.filter(|_| age_ms.is_some_and(|age_ms| age_ms <= COUNTERS_AGE_MAX_MS)).map(
            |known| {
                let counters = known.counters;
                CountersView {
                    submission: counters.submission,
                    active_mailbox: counters.active_mailbox,
                    retry_mailbox: counters.retry_mailbox,
                    poison: counters.poison,
                }
            },
        ),
        trouble,
    }
}

fn probe_mailboxes(operator: &Operator, hop: &HopStatus) -> usize {
    operator
        .settings
        .next_hops
        .get(usize::from(hop.id.0))
        .map_or(0, |settings| settings.probe_mailboxes.len())
}

/// Why canaries prove nothing.
enum Trouble<'o> {
    /// The hop makes no reports.
    WithoutDsn,
    /// The hop does not take them: why.
    Refused(&'o str),
    /// They are taken, and none has arrived for so many minutes; what was last said of one.
    Silence { minutes: u64, said: Option<&'o str> },
}

impl<'o> Trouble<'o> {
    /// What is wrong with the canaries of a hop, if it has any and takes mail.
    fn of(operator: &Operator, hop: &HopStatus, of_hop: &'o CanariesOfHop) -> Option<Self> {
        if probe_mailboxes(operator, hop) == 0 || hop.state != State::Healthy {
            return None;
        }
        if of_hop.without_dsn {
            return Some(Self::WithoutDsn);
        }
        if let Some(why) = of_hop.refused() {
            return Some(Self::Refused(why));
        }
        let silent_ms = operator.clock.mono_ms().saturating_sub(of_hop.silent_since_ms?);
        let said = of_hop.canaries.iter().rev().find_map(|canary| match &canary.fate {
            CanaryFate::Failed(why) => Some(why.as_str()),
            _ => None,
        });
        (silent_ms >= SILENCE_MAX_MS).then_some(Self::Silence { minutes: silent_ms / 60_000, said })
    }

    const fn code(&self) -> &'static str {
        match self {
            Self::WithoutDsn => "PS-D290",
            Self::Silence { .. } => "PS-D293",
            Self::Refused(_) => "PS-D294",
        }
    }

    fn help(&self, operator: &Operator) -> String {
        match self {
            Self::WithoutDsn => "Have its receive connector offer DSN (Set-ReceiveConnector … \
                 -DeliveryStatusNotificationEnabled $true), or take next_hop.probe_mailboxes out of the settings."
                .to_owned(),
            Self::Refused(_) => {
                "Look whether the mailboxes in next_hop.probe_mailboxes exist and may get mail from outside.".to_owned()
            }
            Self::Silence { .. } => format!(
                "Either mail does not reach mailboxes, or reports do not come back: Exchange needs a send connector for \
                 {} to this box. `penstock canary` shows each.",
                operator.settings.system.hostname
            ),
        }
    }
}

impl fmt::Display for Trouble<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WithoutDsn => f.write_str(
                "It offers no delivery reports (DSN), so canaries would prove nothing and none is sent.",
            ),
            Self::Refused(why) => write!(f, "It refuses canaries: {why}."),
            Self::Silence { minutes, said } => {
                let (colon, said) = said.map_or(("", ""), |said| (": ", said));
                write!(f, "It takes canaries, and for {minutes} min none has arrived{colon}{said}.")
            }
        }
    }
}

/// What is wrong with the proof, and what to do about it.
pub(super) fn alert(operator: &Operator, hop: &HopStatus) -> Option<Alert> {
    let of_hop = operator.delivery.canaries_of(hop.id);
    let trouble = Trouble::of(operator, hop, &of_hop)?;
    let message = format!("Whether mail reaches mailboxes at {} is not known. {trouble}", hop.name);
    let (code, help) = (trouble.code().to_owned(), trouble.help(operator));
    Some(Alert { severity: Severity::Warning, what: ErrorBody { code, message, help } })
}

/// What could be set up so that more is known, where nothing is.
pub(super) fn advice(operator: &Operator, hop: &HopStatus) -> Option<&'static str> {
    let settings = operator.settings.next_hops.get(usize::from(hop.id.0))?;
    let is_bare = settings.probe_mailboxes.is_empty() && settings.counters_url.is_none();
    (is_bare && hop.grade == Grade::Blind).then_some(
        "Mail is given to it blindly: next_hop.probe_mailboxes would prove that it reaches mailboxes.",
    )
}
