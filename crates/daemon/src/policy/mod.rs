//! What is said to recipients: the policy at RCPT.
//!
//! `table` decides. Here is what it goes by: whether a next hop is there to answer, the list of recipients, whom next hops
//! are known to have. While one is there everybody in the site's domains is taken, since its own answer counts (in through
//! mode it reaches the client).
//!
//! An outage begins when no next hop is there any more, and ends when one is. What it found when it began (whether there was
//! a list, and whether that was in step) holds until its end, over restarts too: while a server is rebuilt its directory
//! may be anything. A list that is imported meanwhile adds whom it names, and refuses nobody.

mod kept;
mod table;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_settings::Settings;
use penstock_smtp::{Address, Reply, replies};
use penstock_spool::Stamp;
use tracing::{debug, info, warn};

use crate::clock::Clock;
use crate::deliver::{Delivery, Presence};
use crate::directory::{Directory, List, Mailbox, ascii_domain};
use crate::log::Lines;
use crate::metrics::Counter;
use crate::storage::Volumes;
use kept::{Agreed, Began, KEY, Remembered};
pub(crate) use table::{Answer, Basis, Hops, Reason};
use table::{Known, Moment, basis, decide};

/// How often it is looked whether an outage began or ended, beside when somebody is decided about.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The policy.
pub(crate) struct Policy {
    settings: Arc<Settings>,
    clock: Arc<Clock>,
    volumes: Volumes,
    directory: Arc<Directory>,
    delivery: Arc<Delivery>,
    state: Mutex<State>,
    /// How often each reason decided.
    decided: [Counter; Reason::ALL.len()],
    lines: Lines,
}

#[derive(Debug, Default)]
struct State {
    /// When the list was last found to be in step, if that was after its import.
    agreed: Option<(Stamp, Moment)>,
    outage: Option<Outage>,
    /// What was last kept.
    kept: Remembered,
}

/// An outage under way.
#[derive(Clone, Debug)]
struct Outage {
    began: Moment,
    basis: Basis,
    /// The list that it began with, if it is here.
    list: Option<Arc<List>>,
    imported: Option<Stamp>,
}

/// How the policy stands, for the operator.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) hops: Hops,
    /// Since when no next hop is there.
    pub(crate) away_since: Option<Stamp>,
    /// When the list was last in step.
    pub(crate) in_step: Option<Stamp>,
    /// Whether it would count as in step if an outage began now.
    pub(crate) is_in_step: bool,
}

impl Policy {
    /// As it was kept.
    pub(crate) fn new(
        settings: Arc<Settings>,
        clock: Arc<Clock>,
        volumes: Volumes,
        directory: Arc<Directory>,
        delivery: Arc<Delivery>,
    ) -> Arc<Self> {
        let remembered = Remembered::load(&delivery.state().kept());
        let list = directory.list();
        let past = |stamp: Stamp| Moment { stamp, mono_ms: None };
        let outage = remembered.outage.map(|Began { at, basis, imported }| {
            let list = list.filter(|list| Some(list.about.imported) == imported);
            // Without the list that it began with nobody can be refused for good who was on it.
            let basis = if basis == Basis::InStep && list.is_none() { Basis::Older } else { basis };
            Outage { began: past(at), basis, list, imported }
        });
        let agreed = remembered.agreed.map(|Agreed { imported, at }| (imported, past(at)));
        Arc::new(Self {
            settings,
            clock,
            volumes,
            directory,
            delivery,
            state: Mutex::new(State { agreed, outage, kept: remembered }),
            decided: Default::default(),
            lines: Lines::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Moment {
        Moment { stamp: self.clock.stamp(), mono_ms: Some(self.clock.mono_ms()) }
    }

    /// The verdict on RCPT, counted and told.
    ///
    /// # Errors
    /// What to say instead of 250.
    pub(crate) fn rcpt(&self, address: &Address<'_>, client: IpAddr) -> Result<(), Reply<'static>> {
        let reason = self.reason(address);
        if let Some(counter) = self.decided.get(reason as usize) {
            counter.add(1);
        }
        let reply = match reason {
            Reason::NotOurs => return Err(replies::RELAY_DENIED),
            _ => match reason.answer() {
                Answer::Take => None,
                Answer::Later => Some(replies::USER_UNSURE),
                Answer::Refuse => Some(replies::USER_UNKNOWN),
            },
        };
        match reply {
            None => {
                debug!(%client, recipient = %address, why = reason.as_str(), "a recipient is taken");
                Ok(())
            }
            Some(reply) => {
                if let Some(untold) = self.lines.take() {
                    let (why, code) = (reason.as_str(), reply.code);
                    info!(%client, recipient = %address, why, code, untold, "a recipient is not taken");
                }
                Err(reply)
            }
        }
    }

    /// Why what is said to a recipient is said.
    pub(crate) fn reason(&self, address: &Address<'_>) -> Reason {
        let Some(domain) = address.domain() else {
            // Postmaster without a domain is ours (RFC 5321 §4.5.1).
            return if address.is_null() { Reason::NotOurs } else { Reason::Postmaster };
        };
        let domain = ascii_domain(domain).unwrap_or_default();
        if !self.settings.domains.accepted.iter().any(|ours| ours.accepts(&domain)) {
            return Reason::NotOurs;
        }
        let (hops, list) = self.look();
        decide(hops, || self.known(address, list.as_deref()))
    }

    /// What is known of a recipient, beside the list that counts by another one.
    fn known(&self, address: &Address<'_>, frozen: Option<&List>) -> Known {
        let Some(mailbox) = Mailbox::parse(address.as_str()) else { return Known::default() };
        let mut probes = self.settings.next_hops.iter().flat_map(|hop| &hop.probe_mailboxes);
        let is_on = |list: &List| self.directory.find_in(list, &mailbox).is_some();
        Known {
            postmaster: mailbox.local() == "postmaster",
            probe_mailbox: probes.any(|probe| Mailbox::parse(probe.as_str()).as_ref() == Some(&mailbox)),
            listed: frozen.is_some_and(is_on) || self.directory.list().as_deref().is_some_and(is_on),
            good: self.delivery.is_known_good(address),
        }
    }

    /// Sees whether an outage began or ended. How the next hops stand, and the list that the outage began with.
    fn look(&self) -> (Hops, Option<Arc<List>>) {
        let presence = self.delivery.presence();
        let mut state = self.lock();
        match presence {
            Presence::There => {
                if state.outage.take().is_some() {
                    info!("a next hop is there again: its own answer counts for recipients");
                }
                (Hops::There, None)
            }
            Presence::NotKnownYet if state.outage.is_none() => (Hops::NotKnownYet, None),
            Presence::NotKnownYet | Presence::Away => {
                let outage = match &mut state.outage {
                    Some(outage) => outage,
                    None => {
                        let outage = self.begin(state.agreed);
                        state.outage.insert(outage)
                    }
                };
                (Hops::Away(outage.basis), outage.list.clone())
            }
        }
    }

    /// An outage that begins now.
    fn begin(&self, agreed: Option<(Stamp, Moment)>) -> Outage {
        let (began, list) = (self.now(), self.directory.list());
        let in_step = list.as_deref().map(|list| self.in_step(list, agreed));
        let basis = basis(in_step.as_ref(), &began, self.settings.recipients.fresh_for);
        let unknown = match basis {
            Basis::NoList => "taken, since there is no list of recipients",
            Basis::InStep => "refused with 550, by a list of recipients that was in step",
            Basis::Older => "put off with 450, by a list of recipients that was not in step any more",
        };
        warn!(code = "PS-D286", unknown, "no next hop is there: unknown recipients are judged without one");
        let imported = list.as_deref().map(|list| list.about.imported);
        Outage { began, basis, list, imported }
    }

    /// When a list was last in step: when it was imported, or found to agree.
    fn in_step(&self, list: &List, agreed: Option<(Stamp, Moment)>) -> Moment {
        let imported = list.about.imported;
        match agreed {
            Some((of, at)) if of == imported => at,
            _ => Moment { stamp: imported, mono_ms: self.directory.imported_mono_ms() },
        }
    }

    /// Whether what was decided holds until a next hop is there again.
    pub(crate) fn is_frozen(&self) -> bool {
        matches!(self.look().0, Hops::Away(_))
    }

    /// The list was found to be what the site's directory says, as of then: so long ago, by the clock of this run.
    pub(crate) fn agreed(&self, at: Stamp, age: Duration) {
        let Some(list) = self.directory.list() else { return };
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mono_ms = self.clock.mono_ms().checked_sub(age_ms);
        let moment = Moment { stamp: at, mono_ms };
        self.lock().agreed = Some((list.about.imported, moment));
    }

    /// How everything stands.
    pub(crate) fn standing(&self) -> Standing {
        let (hops, _) = self.look();
        let (agreed, away_since) = {
            let state = self.lock();
            (state.agreed, state.outage.as_ref().map(|outage| outage.began.stamp))
        };
        let in_step = self.directory.list().map(|list| self.in_step(&list, agreed));
        let now_basis = basis(in_step.as_ref(), &self.now(), self.settings.recipients.fresh_for);
        Standing {
            hops,
            away_since,
            in_step: in_step.map(|moment| moment.stamp),
            is_in_step: now_basis == Basis::InStep,
        }
    }

    /// How often each reason decided.
    pub(crate) fn decided(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(&self.decided).map(|(reason, counter)| (reason, counter.get()))
    }

    /// Looks for good, and keeps what has to outlive a restart.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            self.look();
            let (remembered, kept) = {
                let state = self.lock();
                (state.remembered(), state.kept)
            };
            if remembered != kept {
                let values = vec![(KEY.to_vec(), remembered.bytes())];
                match self.delivery.state().put(&self.volumes, values, false).await {
                    Ok(()) => self.lock().kept = remembered,
                    Err(error) => debug!(%error, "how recipients are judged cannot be kept yet"),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl State {
    fn remembered(&self) -> Remembered {
        let agreed = self.agreed.map(|(imported, at)| Agreed { imported, at: at.stamp });
        let began = |outage: &Outage| Began {
            at: outage.began.stamp,
            basis: outage.basis,
            imported: outage.imported,
        };
        Remembered { agreed, outage: self.outage.as_ref().map(began) }
    }
}
