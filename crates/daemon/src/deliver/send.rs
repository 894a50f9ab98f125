//! One message on its way: sent, and written down what came of it.

use std::sync::Arc;

use penstock_release::{Fate as Follows, HopId, Outcome, Removed, SetAside, Witness};
use penstock_spool::{Fate, MessageId};
use tracing::{error, warn};

use super::Delivery;
use super::attempt::{self, Attempt, Ended};
use super::record::Record;
use crate::control::MailId;
use crate::ledger::Kind;
use crate::storage::Storage;

impl Delivery {
    /// Sends one message and reports what came of it.
    pub(super) async fn send(self: &Arc<Self>, id: MailId, hop: HopId) {
        let (mut ended, connection) = attempt::run(self, id, hop).await;
        // First of all, so that it is there for the next message: what was delivered is on flash by now.
        if let Some(connection) = connection {
            self.keep(hop, connection);
        }
        self.tell_client(id, &ended);
        self.notes().end(id);
        if let Ended::Tried(attempt) = &ended {
            self.witness(id, hop, attempt);
            if attempt.open().next().is_some() {
                self.addressed(id, attempt.envelope(), attempt.open());
            }
        }
        let outcome = ended.outcome();
        let follows = self.release().finished(id.key(), outcome, self.now());
        if !self.volumes.of(id.store).is_some_and(Storage::is_well) {
            // It comes back with its volume.
            self.release().remove(id.key());
        }
        if matches!(outcome, Outcome::Done { delivered: true } | Outcome::Open { delivered: true, .. }) {
            self.metrics.released.add(1);
            self.counters.took(hop);
        }
        if let Ended::Tried(attempt) = &ended
            && let Some(token) = attempt.asked_back()
        {
            self.await_read_back(hop, token);
        }
        if let (Some(follows), Ended::Tried(attempt)) = (follows, &ended) {
            self.note(id, follows, attempt).await;
        }
        if follows == Some(Follows::Done) && self.notes().take_again(id) {
            // The operator gave recipients back while the others were on their way.
            self.offer_again(id).await;
        }
        if let Ended::Tried(attempt) = &mut ended
            && !attempt.unreported().is_empty()
        {
            // It is rare, and holds a connection of its own: not in the space of every attempt.
            Box::pin(self.tell_unreported(id, hop, attempt)).await;
        }
    }

    /// Reports who a message was from and whom the hop refused.
    fn witness(&self, id: MailId, hop: HopId, attempt: &Attempt) {
        let Some(known) = self.known.get(usize::from(hop.0)) else { return };
        let (envelope, refused) = (attempt.envelope(), attempt.refused());
        let address = |number: u16| Some(envelope.recipients.get(usize::from(number))?.address.as_str());
        let taken: Vec<&str> = attempt.taken().iter().filter_map(|number| address(*number)).collect();
        let refused = self.refused(hop, envelope, refused);
        let source = known.source(&envelope.begin, &self.settings.listen.trusted_fronts);
        self.release().witnessed(id.key(), Witness { source, refused: &refused, taken: &taken }, self.now());
    }

    /// Writes down what follows for recipients that are still open.
    async fn note(&self, id: MailId, follows: Follows, left: &Attempt) {
        match follows {
            Follows::Done | Follows::Kept => {}
            Follows::Waits { attempts, for_ms } => {
                let attempts = u16::try_from(attempts).unwrap_or(u16::MAX);
                let too_old = self.is_too_old(left.accepted_unix_ms());
                if too_old && self.release().remove(id.key()) == Removed::Yes {
                    tell_set_aside(id, SetAside::Expired);
                    let _ = left.note_open(self, Fate::Held, attempts, why(SetAside::Expired)).await;
                } else {
                    let said = left.said();
                    self.remember(id, Some(self.clock.mono_ms() + for_ms), &said);
                    let unknown = if left.is_unknown() { "not known whether it was taken; " } else { "" };
                    let why = format!("{unknown}will be tried again in {} min", for_ms.div_ceil(60_000));
                    let _ = left.note_open(self, Fate::Deferred, attempts, &why).await;
                }
            }
            Follows::SetAside(aside) => {
                let _ = left.note_open(self, Fate::Held, 0, why(aside)).await;
            }
        }
    }

    fn is_too_old(&self, accepted_unix_ms: Option<u64>) -> bool {
        let (Some(accepted), Some(now)) = (accepted_unix_ms, self.now().unix_ms) else { return false };
        accepted.saturating_add(self.config.expire_after_ms) < now
    }

    /// Sets aside a message that `release` gave up.
    pub(super) async fn set_aside(&self, id: MailId, aside: SetAside) {
        let Some(storage) = self.volumes.of(id.store) else { return };
        let at = self.clock.stamp();
        tell_set_aside(id, aside);
        let written = storage
            .change(move |spool| {
                let open = spool.fates(MessageId(id.number)).unwrap_or_default();
                let open = open.into_iter().filter(|(_, _, fate)| !fate.is_final());
                let recipients =
                    open.flat_map(|(first, count, _)| first..first.saturating_add(count)).collect();
                let (fate, kind, text) = (Fate::Held, Kind::Held, why(aside).to_owned());
                let (attempts, reply_code, said) = (0, 0, String::new());
                Record { id, recipients, fate, attempts, reply_code, at, kind, text, said }.append(spool)
            })
            .await;
        if let Err(error) = written {
            warn!(code = error.code(), %id, %error, "that could not be recorded");
        }
    }
}

fn tell_set_aside(id: MailId, aside: SetAside) {
    match aside {
        SetAside::Expired => error!(
            code = "PS-D235",
            %id,
            "older than mail may become (release.expire_after), and held for the operator: `penstock quarantine` shows it"
        ),
        SetAside::Poison => warn!(code = "PS-D230", %id, why = why(aside), "held for the operator"),
    }
}

const fn why(aside: SetAside) -> &'static str {
    match aside {
        SetAside::Expired => "older than mail may become",
        SetAside::Poison => "it failed again and again while others passed",
    }
}
