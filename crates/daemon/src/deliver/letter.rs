//! A message of the box's own on its way: one transaction with one recipient, from memory.

use penstock_release::{Found, Phase, Verdict};
use penstock_smtp::client::Event;
use penstock_smtp::{MailFrom, Recipient, Reply};

use super::connection::Connection;
use super::evidence::{Cut, heard, phase};

/// How a transaction ended.
#[derive(Debug)]
pub(super) struct Sent {
    /// What the server said when it took it, or why it did not; `Err(None)` where that was our doing.
    pub(super) taken: Result<Found, Option<Found>>,
    /// How long it took to answer MAIL, DATA, and the message, in ms.
    pub(super) answered_ms: Vec<(Phase, u64)>,
}

/// Sends it. The connection can go on if it was taken.
pub(super) async fn send(
    connection: &mut Connection,
    mail: &MailFrom<'_>,
    recipient: &Recipient<'_>,
    text: &[u8],
) -> Sent {
    let mut answered_ms = Vec::new();
    let taken = transact(connection, mail, recipient, text, &mut answered_ms).await;
    Sent { taken, answered_ms }
}

async fn transact(
    connection: &mut Connection,
    mail: &MailFrom<'_>,
    recipient: &Recipient<'_>,
    mut text: &[u8],
    answered_ms: &mut Vec<(Phase, u64)>,
) -> Result<Found, Option<Found>> {
    let mut begun = connection.session().mail(mail);
    let (mut accepted, mut sending) = (0, false);
    loop {
        let at = phase(connection.session().phase());
        let cut = |cut: &Cut| cut.found(at, accepted);
        begun.map_err(|error| cut(&Cut::Nonsense(error)))?;
        begun = Ok(());
        let took_ms = connection.asked_ms_ago();
        match connection.poll() {
            Event::NeedInput => {
                if sending {
                    let session = connection.session();
                    // Where the server refused in the middle, the next poll says so.
                    let put = session.body(text).unwrap_or(0);
                    text = text.get(put..).unwrap_or_default();
                    sending = !(text.is_empty() && session.finish().is_ok());
                }
                connection.progress().await.map_err(|end| cut(&end))?;
            }
            Event::MailReply(reply) => {
                answered_ms.push((Phase::Mail, took_ms));
                expect(Verdict::Accepted, Phase::Mail, reply, 0)?;
                begun = connection.session().rcpt(recipient);
            }
            Event::RcptReply { reply, .. } => {
                expect(Verdict::Accepted, Phase::Rcpt, reply, 0)?;
                accepted = 1;
                begun = connection.session().data();
            }
            Event::DataReply(reply) if reply.code == 354 => {
                answered_ms.push((Phase::Data, took_ms));
                sending = true;
            }
            Event::DataReply(reply) => return Err(Some(Found::reply(Phase::Data, heard(reply), accepted))),
            Event::EndReply(reply) => {
                answered_ms.push((Phase::EndOfData, took_ms));
                return expect(Verdict::Delivered, Phase::EndOfData, reply, accepted);
            }
            Event::Refused { phase: at, reply } => {
                return Err(Some(Found::reply(phase(at), heard(reply), accepted)));
            }
            Event::Broken { error, .. } => return Err(cut(&Cut::Nonsense(error))),
            Event::Closed => return Err(cut(&Cut::Eof)),
            Event::Greeting(_)
            | Event::Ready(_)
            | Event::StartTlsReply(_)
            | Event::ResetReply(_)
            | Event::NoRecipients => {}
        }
    }
}

/// Whether a reply says what it should, as `release` understands replies.
fn expect(wanted: Verdict, at: Phase, reply: Reply<'_>, accepted: u32) -> Result<Found, Option<Found>> {
    let found = Found::reply(at, heard(reply), accepted);
    if found.verdict() == wanted { Ok(found) } else { Err(Some(found)) }
}
