//! What there is to give on: messages and volumes that come and go.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use penstock_release::{Message, Priority, Removed, WaySet};
use penstock_spool::{Envelope, MessageId, Recipient};
use tracing::{debug, error, warn};

use super::{Delivery, addressing, mirror, saved};
use crate::boxstate::BoxState;
use crate::control::{MailId, Store};
use crate::ledger::Kind;
use crate::storage::{Accepted, Arrived, Recovered, STALLED_AFTER, Storage, refuse};

impl Delivery {
    /// Takes in a message that was accepted. [`wake`](Self::wake) when all of a batch are in.
    pub(crate) fn offer(&self, accepted: Accepted) {
        let Accepted { id, size_bytes, received, recipients } = accepted;
        self.metrics.inflow.add(self.clock.mono_ms(), size_bytes);
        let (mailbox, priority) = addressing::addressed(&self.config, &self.settings.release, &recipients);
        self.release().offer(Message {
            id: id.key(),
            size_bytes: u32::try_from(size_bytes).unwrap_or(u32::MAX),
            accepted_unix_ms: received.trusted.then_some(received.unix_ms),
            mailbox,
            priority,
            ways: self.ways.of(&self.settings.next_hops, &self.directory, &recipients),
        });
    }

    /// Tells release what is known of a message from its envelope, and of its recipients that are open. Whether it is to go
    /// on, if it is in flight.
    pub(super) fn addressed<'r>(
        &self,
        id: MailId,
        envelope: &'r Envelope,
        open: impl IntoIterator<Item = &'r Recipient>,
    ) -> bool {
        let open: Vec<&Recipient> = open.into_iter().collect();
        let received = envelope.begin.received;
        let (mailbox, priority) =
            addressing::addressed(&self.config, &self.settings.release, open.iter().copied());
        self.release().addressed(Message {
            id: id.key(),
            // It is known since it was taken in.
            size_bytes: 0,
            accepted_unix_ms: received.trusted.then_some(received.unix_ms),
            mailbox,
            priority,
            ways: self.ways.of(&self.settings.next_hops, &self.directory, open),
        })
    }

    /// Takes in messages that are to be tried.
    fn recover(&self, queued: &[Recovered]) {
        let mut release = self.release();
        for message in queued {
            let Recovered { id, size_bytes, attempts } = *message;
            // When it came and for whom is in its envelope, which is read when it is tried; it is looked at then.
            let (mailbox, priority) = (0, Priority::Normal);
            let ways = WaySet::default();
            let message =
                Message { id: id.key(), size_bytes, accepted_unix_ms: None, mailbox, priority, ways };
            release.recover(message, u32::from(attempts), 0);
        }
        self.unknown.notify_one();
    }

    /// Takes in a message that the operator gave back to the queue.
    pub(super) async fn offer_again(&self, id: MailId) {
        let Some(storage) = self.volumes.of(id.store) else { return };
        let summary = storage.look(move |spool| spool.summary(MessageId(id.number))).await;
        if let Ok(Some(summary)) = summary {
            self.give_back(Recovered { id, size_bytes: summary.size_bytes, attempts: 0 });
        }
    }

    /// Takes in a message that the operator gave back to the queue, where it is not in it.
    pub(crate) fn give_back(&self, message: Recovered) {
        self.recover(&[message]);
        self.wake();
    }

    /// Takes in a message that may have been given up since it could not be read. Whether release still has it is not
    /// known to who repaired it.
    pub(crate) fn give_back_mended(&self, message: Recovered) {
        if self.release().remove(message.id.key()) != Removed::InFlight {
            self.give_back(message);
        }
    }

    /// Has it offered once more when the attempt in flight has ended. Whether there is one.
    pub(crate) fn again_after_flight(&self, id: MailId) -> bool {
        self.notes().again(id)
    }

    /// Starts over with what a volume holds that was mounted, for the first time or anew.
    pub(crate) fn arrived(&self, arrived: Arrived) {
        let Arrived { store, mut queued, kept, .. } = arrived;
        self.take_out(store);
        {
            let (notes, renounced) = (self.notes(), self.renounced());
            // What is on its way comes back by itself.
            queued.retain(|message| !notes.is_in_flight(message.id) && !renounced.contains(&message.id));
        }
        self.recover(&queued);
        if self.state.arrived(&kept) {
            self.mirror().learn(kept.value(mirror::KEY));
            if let Some(saved) = saved::load(&kept) {
                self.release().set_mode(saved.mode, self.now());
            }
            self.tls.arrived(&kept);
        } else if kept != self.state.kept()
            && let Some(storage) = self.volumes.of(store).cloned()
        {
            let kept = self.state.kept();
            tokio::spawn(async move { BoxState::bring_up_to_date(kept, &storage).await });
        }
        self.wake.notify_one();
    }

    /// A volume cannot be used: nothing of it is released until it is back.
    pub(crate) fn lost(&self, store: Store, why: &str) {
        self.take_out(store);
        let name = self.volumes.of(store).map_or(String::new(), |storage| storage.name().to_owned());
        let what = store.as_str();
        match self.volumes.taking().map(Storage::store) {
            Some(taking) => warn!(
                code = "PS-D206",
                volume = what,
                taking = taking.as_str(),
                why,
                "a volume cannot be used; new mail goes to the other one, and what is on this one waits for it"
            ),
            None => error!(
                code = "PS-D207",
                volume = what,
                why,
                "no volume can be used: mail is answered with 4xx"
            ),
        }
        let at = self.clock.stamp();
        let event = Kind::VolumeLost.event(at, None, format!("the {what}, {name}, cannot be used: {why}"));
        let volumes = self.volumes.clone();
        // Told in the log already.
        tokio::spawn(async move { volumes.record(event).await });
        self.wake.notify_one();
    }

    /// A volume does not answer.
    pub(crate) fn stalled(&self, store: Store) {
        let volume = store.as_str();
        let why = format!("it has not answered for {} s", STALLED_AFTER.as_secs());
        error!(code = "PS-D205", volume, why, "a volume is stuck in a read or a write; it is not waited for");
        self.lost(store, &why);
    }

    /// A volume answers again, and tells next what is on it, or that it failed.
    pub(crate) fn answers_again(&self, store: Store) {
        warn!(code = "PS-D202", volume = store.as_str(), "the volume answers again");
    }

    fn take_out(&self, store: Store) {
        self.release().take_out(|key| MailId::from_key(key).store == store);
        let notes = self.notes();
        self.through.dismiss(|id, _| id.store == store && !notes.is_in_flight(id));
    }

    /// A message is not to be: it came to be on its volume after its sender was told to come back.
    pub(crate) fn renounce(self: &Arc<Self>, id: MailId) {
        self.renounced().insert(id);
        self.mark_renounced(id.store);
    }

    /// Writes that down, as far as the volume can be written. What cannot be marked now is when the volume arrives; if the
    /// box starts before that it is delivered, and so is what its sender sends again.
    pub(crate) fn mark_renounced(self: &Arc<Self>, store: Store) {
        let ids: Vec<MailId> = self.renounced().iter().copied().filter(|id| id.store == store).collect();
        for id in ids {
            let Some(storage) = self.volumes.of(store).cloned() else { return };
            let (this, at, message) = (Arc::clone(self), self.clock.stamp(), MessageId(id.number));
            tokio::spawn(async move {
                match storage.change(move |spool| refuse(spool, message, at)).await {
                    Ok(()) => drop(this.renounced().remove(&id)),
                    Err(error) => debug!(%id, %error, "cannot be marked as refused yet"),
                }
            });
        }
    }

    fn renounced(&self) -> MutexGuard<'_, HashSet<MailId>> {
        self.renounced.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
