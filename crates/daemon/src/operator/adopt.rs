//! Mail of another box's volume is taken over: with its envelope, byte for byte, each message once.
//!
//! Messages of a volume come in ascending order. After each it is noted on our volumes how far they have come, so that a run
//! that was cut goes on where it stopped. A power cut between a message and its note lets that one come twice.

use penstock_spool::{Error as SpoolError, MessageId};

use super::{Operator, unavailable};
use crate::control::adopt::{AdoptHead, Adopted, AdoptedBelow, HandedOver};
use crate::control::{Kind as Fault, MailId, Refusal, Who};
use crate::ledger::{Kind, META_ADOPTED};
use crate::storage::{Draft, NewMessage, Storage};
use crate::volume::Spool;

type VolumeId = [u8; 16];

pub(super) async fn adopt(
    operator: &Operator,
    mut handed: HandedOver,
    who: &Who,
) -> Result<Adopted, Refusal> {
    let AdoptHead { volume, id, size_bytes, begin, recipients } = handed.head.clone();
    let volume_id = volume_id(&volume)?;
    let is_ours = |storage: &Storage| storage.facts().info.is_some_and(|info| info.volume == volume_id);
    if operator.volumes.all().any(is_ours) {
        return Err(Refusal::new(
            Fault::Conflict,
            "PS-D257",
            "that is a volume of this box: its mail is here already",
            "`penstock queue` lists it.",
        ));
    }
    // One after the other, or the notes would say too much.
    let _turn = operator.adopting.lock().await;
    if id < known_below(operator, volume_id).await? {
        return Ok(Adopted { id: None });
    }
    let storage = operator.volumes.for_mail(Some(size_bytes)).map_err(refusal)?.clone();
    let _transaction = storage.transaction();
    let head = Draft::verbatim();
    let new = NewMessage { begin, recipients, declared_bytes: Some(size_bytes), head };
    let incoming = storage.begin(Box::new(new)).await.map_err(refusal)?;
    let mut come_bytes = 0;
    while let Some(chunk) = handed.next_chunk().await? {
        come_bytes += chunk.len() as u64;
        if come_bytes > size_bytes {
            break;
        }
        incoming.push(chunk.into()).await.map_err(refusal)?;
    }
    if come_bytes != size_bytes {
        return Err(Refusal::bad_request(
            "the message is not as long as it was said to be: nothing is kept of it",
        ));
    }
    let taken = incoming.commit().await.map_err(refusal)?.id;
    let theirs = MailId::disk(id);
    let text = format!("taken over by {who} from volume {volume}, where it was {theirs}");
    let event = Kind::Adopted.event(operator.clock.stamp(), Some(MessageId(taken.number)), text);
    let below = id.saturating_add(1);
    let noted = storage.change(move |spool| {
        spool.record_event(&event)?;
        note(spool, volume_id, below)
    });
    noted.await.map_err(unavailable)?;
    let others = operator.volumes.all().filter(|other| other.store() != storage.store() && other.is_well());
    for other in others {
        // The other note will do.
        let _ = other.change(move |spool| note(spool, volume_id, below)).await;
    }
    Ok(Adopted { id: Some(taken) })
}

/// How far the messages of a volume were adopted.
pub(super) async fn adopted(operator: &Operator, volume: &str) -> Result<AdoptedBelow, Refusal> {
    Ok(AdoptedBelow { below: known_below(operator, volume_id(volume)?).await? })
}

async fn known_below(operator: &Operator, volume: VolumeId) -> Result<u64, Refusal> {
    let mut below = None;
    for storage in operator.volumes.all() {
        let known = storage.look(move |spool| {
            let note = spool.meta(META_ADOPTED, &volume).and_then(|note| note.try_into().ok());
            note.map_or(0, u64::from_le_bytes)
        });
        below = below.max(known.await.ok());
    }
    below.ok_or_else(|| unavailable(SpoolError::ReadOnly))
}

fn note(spool: &mut Spool, volume: VolumeId, below: u64) -> Result<(), SpoolError> {
    spool.put_meta(META_ADOPTED, &volume, &below.to_le_bytes())
}

fn volume_id(text: &str) -> Result<VolumeId, Refusal> {
    let byte = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..16).map(byte).collect();
    bytes
        .filter(|_| text.len() == 32)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| Refusal::bad_request("a volume is named by its id of 32 hexadecimal digits"))
}

fn refusal(error: SpoolError) -> Refusal {
    match error {
        SpoolError::Full | SpoolError::TooManyMessages => Refusal::new(
            Fault::Conflict,
            error.code(),
            "there is no room for it, or it is larger than the NOR flash takes while the disk is away",
            "Get the next hop to take mail, and run it again: it goes on where it stopped.",
        ),
        SpoolError::FieldTooLong { .. } | SpoolError::RecipientCount => {
            Refusal::bad_request(error.to_string())
        }
        other => unavailable(other),
    }
}
