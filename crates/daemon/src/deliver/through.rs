//! Through mode: clients that wait for what the next hop says of their message.
//!
//! A message is in custody before anybody waits. Its client is one entry here for as long as it waits, and whoever takes
//! the entry out decides what it is told: the client itself, when its time is over (250, as ever), or the attempt, when
//! every recipient was refused. What the attempt then writes down is final, so the client waits for that as long as it
//! takes. Hence no message is both refused and delivered, whichever comes first.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_release::{Found, HopId, NotThrough, Outcome, Refused, WaySet};
use penstock_settings::{Release as Settings, Through as Wanted};
use penstock_smtp::Address;
use penstock_spool::{Fate, Recipient};
use tokio::sync::{oneshot, watch};

use super::Delivery;
use super::attempt::{Attempt, Ended};
use super::record::{Record, named};
use crate::clock::host_time;
use crate::control::MailId;
use crate::ledger::Kind;
use crate::stop;

/// What a next hop said of a message while its client waited.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It took it for all recipients.
    Taken(Found),
    /// It refused it for all recipients, and that is on flash.
    Refused(Found),
    /// It refused it, and that could not be recorded: the client has to come back.
    Unrecorded,
}

/// How waiting ended.
#[derive(Debug)]
pub(crate) enum Waited {
    /// With a word of the next hop's.
    Said(Verdict),
    /// With nothing that the client is to know: the box delivers.
    Untold,
    /// In vain.
    Late,
}

/// The clients that wait, by message.
#[derive(Debug, Default)]
struct Waiting(Mutex<HashMap<MailId, Client>>);

/// A client that waits.
#[derive(Debug)]
struct Client {
    /// Which way its message has.
    ways: WaySet,
    told: oneshot::Sender<Verdict>,
}

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, HashMap<MailId, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Through mode, as the settings want it.
#[derive(Debug)]
pub(super) struct Through {
    /// How long a client waits at most; `None` if none is to.
    wait: Option<Duration>,
    waiting: Arc<Waiting>,
}

impl Through {
    pub(super) fn new(settings: &Settings) -> Self {
        let wait = match settings.through {
            Wanted::Auto => Some(settings.through_wait),
            Wanted::Off => None,
        };
        Self { wait, waiting: Arc::default() }
    }

    /// Lets the client of a message wait.
    fn open(&self, id: MailId, ways: WaySet, wait: Duration) -> Awaited {
        let (told, verdict) = oneshot::channel();
        self.waiting.lock().insert(id, Client { ways, told });
        Awaited { id, verdict, wait, waiting: Arc::clone(&self.waiting) }
    }

    fn is_awaited(&self, id: MailId) -> bool {
        self.waiting.lock().contains_key(&id)
    }

    /// Takes it upon oneself to tell a client. `None` if it does not wait, or no longer.
    fn claim(&self, id: MailId) -> Option<oneshot::Sender<Verdict>> {
        self.waiting.lock().remove(&id).map(|client| client.told)
    }

    /// Lets go those who wait for messages that `which` says: they are told 250.
    pub(super) fn dismiss(&self, which: impl Fn(MailId, WaySet) -> bool) {
        self.waiting.lock().retain(|id, client| !which(*id, client.ways));
    }
}

/// The next hop's word on a message, for its client to wait for. Dropped, nobody waits for it.
#[derive(Debug)]
pub(crate) struct Awaited {
    id: MailId,
    verdict: oneshot::Receiver<Verdict>,
    wait: Duration,
    waiting: Arc<Waiting>,
}

impl Awaited {
    /// Waits for it, as long as the settings want, or until the daemon is to stop.
    pub(crate) async fn wait(mut self, stopping: watch::Receiver<bool>) -> Waited {
        tokio::select! {
            biased;
            said = &mut self.verdict => return said.map_or(Waited::Untold, Waited::Said),
            () = tokio::time::sleep(host_time(self.wait)) => {}
            () = stop::signalled(stopping) => {}
        }
        if self.waiting.lock().remove(&self.id).is_some() {
            return Waited::Late;
        }
        // It is being written down.
        (&mut self.verdict).await.map_or(Waited::Untold, Waited::Said)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        self.waiting.lock().remove(&self.id);
    }
}

impl Delivery {
    /// Whether clients wait for the next hop's word.
    ///
    /// # Errors
    /// Why not; `None` if the settings say so.
    pub(crate) fn through(&self) -> Result<(), Option<NotThrough>> {
        let wait = self.through.wait.ok_or(None)?;
        self.release().through(WaySet::default(), millis(wait), self.now()).map_err(Some)
    }

    /// The next hop's word on a message that is about to be offered, if that can be expected in time.
    pub(crate) fn await_verdict(&self, id: MailId, recipients: &[Recipient]) -> Option<Awaited> {
        let wait = self.through.wait?;
        let ways = self.ways.of(&self.settings.next_hops, &self.directory, recipients);
        self.release().through(ways, millis(wait), self.now()).ok()?;
        Some(self.through.open(id, ways, wait))
    }

    /// Lets go those who wait for what is not about to come.
    pub(super) fn end_vain_waits(&self) {
        if self.through.waiting.lock().is_empty() {
            return;
        }
        let (notes, mut release, now) = (self.notes(), self.release(), self.now());
        let mut known: Vec<(WaySet, bool)> = Vec::new();
        self.through.waiting.lock().retain(|id, client| {
            if notes.is_in_flight(*id) {
                return true;
            }
            if let Some((_, waits)) = known.iter().find(|(ways, _)| *ways == client.ways) {
                return *waits;
            }
            let why = release.through(client.ways, u64::MAX, now).err();
            let waits = !why.is_some_and(NotThrough::ends_waits);
            known.push((client.ways, waits));
            waits
        });
    }

    /// An attempt has ended. Its client is told if all recipients were taken, and else let go.
    pub(super) fn tell_client(self: &Arc<Self>, id: MailId, ended: &Ended) {
        if matches!(ended, Ended::Tried(attempt) if attempt.is_renounced) {
            self.renounce(id);
        }
        let Some(client) = self.through.claim(id) else { return };
        if let Ended::Tried(attempt) = ended
            && matches!(ended.outcome(), Outcome::Done { delivered: true })
            && attempt.recipients.refused().is_empty()
            && let Some(found) = &attempt.acceptance
        {
            // It may have gone meanwhile.
            let _ = client.send(Verdict::Taken(found.clone()));
        }
    }

    /// Whom a hop refused for good, with what is known of them.
    pub(super) fn refused<'f>(
        &self,
        hop: HopId,
        envelope: &'f penstock_spool::Envelope,
        refused: &'f [(u16, Found)],
    ) -> Vec<Refused<'f>> {
        let Some(known) = self.known.get(usize::from(hop.0)) else { return Vec::new() };
        let of = |(number, found): &'f (u16, Found)| {
            let text = envelope.recipients.get(usize::from(*number))?.address.as_str();
            let address = Address::parse(text).ok()?;
            let known_good = known.is_there(&address);
            let recipient = known.recipient(&address);
            Some(Refused { recipient, address: text, known_good, evidence: found.evidence() })
        };
        refused.iter().filter_map(of).collect()
    }
}

impl Attempt {
    /// Where all recipients are refused, and a client waits that can be told so: makes that durable, and tells it. Whether
    /// it could be recorded; `None` where nobody can be told, so that what was refused is the operator's.
    pub(super) async fn refuse_in_session(&mut self, delivery: &Delivery, peer: SocketAddr) -> Option<bool> {
        if !delivery.through.is_awaited(self.id) {
            return None;
        }
        let refused = self.recipients.refusal_of_all()?;
        let judged = delivery.refused(self.hop, &self.envelope, &refused);
        let are_all = judged.len() == self.envelope.recipients.len();
        if !are_all || !delivery.release().can_tell(self.id.key(), &judged, delivery.now()) {
            return None;
        }
        let (_, found) = refused.last()?;
        let record = self.refusal(delivery, &refused, found, peer);
        let client = delivery.through.claim(self.id)?;
        self.recipients.refuse_all();
        let written = self.write(delivery, vec![record]).await;
        self.is_renounced = !written;
        // It may have gone meanwhile: then it comes back, and is told the same.
        let _ = client.send(if written { Verdict::Refused(found.clone()) } else { Verdict::Unrecorded });
        Some(written)
    }

    fn refusal(
        &self,
        delivery: &Delivery,
        refused: &[(u16, Found)],
        found: &Found,
        peer: SocketAddr,
    ) -> Record {
        let hop = delivery.hop_name(self.hop);
        let mut recipients: Vec<u16> = refused.iter().map(|(number, _)| *number).collect();
        recipients.sort_unstable();
        let names = named(&self.envelope.recipients, &recipients);
        Record {
            id: self.id,
            recipients,
            fate: Fate::RefusedInSession,
            attempts: self.attempts,
            reply_code: found.code(),
            at: delivery.clock.stamp(),
            kind: Kind::Refused,
            text: format!(
                "{hop} [{peer}] refused it for {names}, and the client that brought it was told: {found}"
            ),
            said: found.to_string(),
        }
    }
}

fn millis(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use penstock_release::{Phase, Reply};

    use super::*;

    const ID: MailId = MailId::disk(7);

    fn through() -> Through {
        Through { wait: None, waiting: Arc::default() }
    }

    fn spam() -> Found {
        Found::reply(Phase::EndOfData, Reply::new(550, "5.7.1 spam"), 1)
    }

    #[tokio::test]
    async fn who_is_told_nothing_in_time_goes_and_nobody_can_tell_it_any_more() {
        let (through, (_stop, stopping)) = (through(), watch::channel(false));
        let awaited = through.open(ID, WaySet::default(), Duration::from_millis(1));
        assert!(matches!(awaited.wait(stopping).await, Waited::Late));
        assert!(through.claim(ID).is_none(), "what is refused from now on is the operator's");
    }

    #[tokio::test]
    async fn a_refusal_that_is_being_written_down_is_waited_for_whatever_the_time() {
        let (through, (_stop, stopping)) = (through(), watch::channel(false));
        let awaited = through.open(ID, WaySet::default(), Duration::from_millis(1));
        let client = through.claim(ID).unwrap();
        let writes = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            client.send(Verdict::Refused(spam())).unwrap();
        };
        let (waited, ()) = tokio::join!(awaited.wait(stopping), writes);
        assert!(matches!(waited, Waited::Said(Verdict::Refused(_))), "{waited:?}");
    }

    #[tokio::test]
    async fn nobody_waits_any_longer_when_the_daemon_stops_or_nothing_is_to_come() {
        let (through, (stop, stopping)) = (through(), watch::channel(false));
        let awaited = through.open(ID, WaySet::default(), Duration::from_secs(30));
        let waits = tokio::spawn(awaited.wait(stopping.clone()));
        tokio::task::yield_now().await;
        stop.send(true).unwrap();
        assert!(matches!(waits.await.unwrap(), Waited::Late));

        let (_stop, stopping) = watch::channel(false);
        let awaited = through.open(ID, WaySet::default(), Duration::from_secs(30));
        through.dismiss(|id, _| id == ID);
        assert!(matches!(awaited.wait(stopping).await, Waited::Untold));
    }

    #[test]
    fn a_client_that_does_not_wait_leaves_nothing_behind() {
        let through = through();
        drop(through.open(ID, WaySet::default(), Duration::from_secs(30)));
        assert!(through.waiting.lock().is_empty());
    }
}
