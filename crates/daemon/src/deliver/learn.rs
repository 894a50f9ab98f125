//! Whose the mail is that was on a volume before the box started. The log's index does not say it; the envelopes do, and
//! are read in the background, a few at a time, so that soon after a restart the order of release is as it was.

use std::sync::Arc;
use std::time::Duration;

use penstock_spool::{Fate, MessageId};
use tracing::info;

use super::Delivery;
use crate::control::MailId;
use crate::storage::{OpenMessage, STALLED_AFTER};

/// So many messages between two pauses.
const AT_ONCE: usize = 64;

/// How long each pause is: a thousand envelopes a second leave the volume to those who need it.
const PAUSE: Duration = Duration::from_millis(50);

impl Delivery {
    /// Reads envelopes as long as there are messages of which it is not known whose they are. Does not end.
    pub(super) async fn learn(self: Arc<Self>) {
        loop {
            let (mut from, mut learnt) = (0, 0u64);
            loop {
                let keys = self.release().unknown_from(from, AT_ONCE);
                for key in &keys {
                    let known = self.learn_one(MailId::from_key(*key)).await;
                    learnt += u64::from(known.is_some());
                }
                // What could not be read is learnt when it is tried.
                match keys.last() {
                    Some(last) => from = last.saturating_add(1),
                    None => break,
                }
                tokio::time::sleep(PAUSE).await;
            }
            if learnt > 0 {
                info!(messages = learnt, "it is known again whose the mail is");
            }
            self.unknown.notified().await;
        }
    }

    async fn learn_one(&self, id: MailId) -> Option<()> {
        let storage = self.volumes.of(id.store).filter(|storage| storage.is_well())?;
        let message = MessageId(id.number);
        let looked = storage.look(move |spool| {
            let fates = spool.fates(message).unwrap_or_default();
            spool.open(message).map(|open| (OpenMessage::unleased(open), fates))
        });
        let (mut open, fates) = looked.await.ok()?.ok()?;
        let read = tokio::task::spawn_blocking(move || open.message.envelope());
        let envelope = tokio::time::timeout(STALLED_AFTER, read).await.ok()?.ok()?.ok()?;
        let to_try = fates.iter().filter(|(_, _, fate)| matches!(fate, Fate::Queued | Fate::Deferred));
        let to_try = to_try.flat_map(|(first, count, _)| *first..first.saturating_add(*count));
        let to_try = to_try.filter_map(|number| envelope.recipients.get(usize::from(number)));
        self.addressed(id, &envelope, to_try);
        Some(())
    }
}
