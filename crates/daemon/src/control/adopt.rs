//! Messages of another box's volume, handed over one by one: the envelope as a line of JSON, and behind it the message.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody as _};
use bytes::Bytes;
use penstock_spool::{Begin, Recipient};
use serde::{Deserialize, Serialize};

use super::{MailId, Refusal};

/// The longest envelope, in bytes. Ten thousand recipients with all their parameters fit.
const HEAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A message that is handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptHead {
    /// The id of the volume that it comes from, in hexadecimal.
    pub volume: String,
    /// Its number there. Messages of one volume come in ascending order.
    pub id: u64,
    /// The length of the message.
    pub size_bytes: u64,
    /// Its envelope as it was received.
    pub begin: Begin,
    /// The recipients that are not done.
    pub recipients: Vec<Recipient>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Its name here; `null` if it had been adopted before.
    pub id: Option<MailId>,
}

/// How far the messages of a volume were adopted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedBelow {
    /// Those with a lower number were.
    pub below: u64,
}

/// Says which volume is meant, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedOf {
    /// The id in hexadecimal.
    pub volume: String,
}

/// A message on its way in: its envelope, and the rest as it comes.
#[derive(Debug)]
pub struct HandedOver {
    /// The envelope.
    pub head: AdoptHead,
    first: Bytes,
    body: Body,
}

impl HandedOver {
    /// Reads the envelope.
    pub(super) async fn read(mut body: Body) -> Result<Self, Refusal> {
        let mut line = Vec::new();
        loop {
            if let Some(end) = line.iter().position(|byte| *byte == b'\n') {
                let first = Bytes::copy_from_slice(&line[end + 1..]);
                let head = serde_json::from_slice(&line[..end]).map_err(|error| {
                    Refusal::bad_request(format!("the envelope is not understood: {error}"))
                })?;
                return Ok(Self { head, first, body });
            }
            if line.len() > HEAD_BYTES_MAX {
                return Err(Refusal::bad_request("the envelope has no end"));
            }
            let more = next(&mut body).await?;
            line.extend_from_slice(&more.ok_or_else(|| Refusal::bad_request("there is no envelope"))?);
        }
    }

    /// The next bytes of the message; `None` at its end.
    ///
    /// # Errors
    /// Why there are no more though it is not over.
    pub async fn next_chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        if !self.first.is_empty() {
            return Ok(Some(std::mem::take(&mut self.first)));
        }
        next(&mut self.body).await
    }
}

pub(super) async fn next(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
        let Some(frame) = frame else { return Ok(None) };
        let frame =
            frame.map_err(|error| Refusal::bad_request(format!("what was sent broke off: {error}")))?;
        if let Ok(bytes) = frame.into_data() {
            return Ok(Some(bytes));
        }
    }
}
