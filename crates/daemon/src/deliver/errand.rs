//! A message of our own to somebody who is no next hop: one recipient, from memory, at once and never again.

use penstock_release::Found;
use penstock_settings::HopAddress;
use penstock_smtp::client::Event;
use penstock_smtp::{Address, MailFrom, Recipient};

use super::Delivery;
use super::connection::Connection;
use super::evidence::{Cut, heard, phase};
use std::sync::Arc;

/// Why a message was not handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NotTaken {
    /// What the server said, or what happened instead.
    pub(crate) said: String,
    /// Whether it may have been taken all the same: the connection was lost before the verdict.
    pub(crate) is_in_doubt: bool,
}

impl NotTaken {
    fn before(found: Option<&Found>) -> Self {
        Self {
            said: found.map_or_else(|| "the box is stopping".to_owned(), ToString::to_string),
            is_in_doubt: false,
        }
    }
}

impl Delivery {
    /// Hands a message with the null sender to a server. What it said when it took it.
    ///
    /// # Errors
    /// [`NotTaken`].
    pub(crate) async fn hand_over(
        &self,
        server: &HopAddress,
        recipient: &str,
        message: &[u8],
    ) -> Result<String, NotTaken> {
        let Ok(address) = Address::parse(recipient) else {
            let said = "that is no address that can be written to".to_owned();
            return Err(NotTaken { said, is_in_doubt: false });
        };
        let (client, stopping) = (self.client.clone(), self.stopping.clone());
        // It is none of the next hops: nothing is learnt from what it says.
        let apart = (Arc::default(), Arc::default());
        let opened =
            Connection::open(server, self.from, client, &self.settings.client, stopping, apart).await;
        let mut connection = opened.map_err(|found| NotTaken::before(found.as_ref()))?;
        let recipient = Recipient { address, notify: None, orcpt: None };
        let done = transact(&mut connection, &recipient, message).await;
        tokio::spawn(connection.quit());
        done
    }
}

async fn transact(
    connection: &mut Connection,
    recipient: &Recipient<'_>,
    message: &[u8],
) -> Result<String, NotTaken> {
    let mail = MailFrom { size_bytes: Some(message.len() as u64), ..MailFrom::new(Address::NULL) };
    let (mut is_named, mut rest, mut is_ended) = (false, None, false);
    if connection.session().mail(&mail).is_err() {
        return Err(NotTaken::before(None));
    }
    loop {
        if !is_named && connection.session().can_send() {
            is_named = true;
            if connection.session().rcpt(recipient).is_err() {
                return Err(NotTaken::before(None));
            }
        }
        let at = connection.session().phase();
        let refused = |phase, reply| NotTaken::before(Some(&Found::reply(phase, heard(reply), 0)));
        match connection.poll() {
            Event::NeedInput => {}
            Event::MailReply(reply) if !reply.is_success() => {
                return Err(refused(penstock_release::Phase::Mail, reply));
            }
            Event::RcptReply { reply, .. } if !reply.is_success() => {
                return Err(refused(penstock_release::Phase::Rcpt, reply));
            }
            Event::RcptReply { .. } => {
                if connection.session().data().is_err() {
                    return Err(NotTaken::before(None));
                }
                continue;
            }
            Event::DataReply(reply) if reply.code != 354 => {
                return Err(refused(penstock_release::Phase::Data, reply));
            }
            Event::DataReply(_) => rest = Some(message),
            Event::EndReply(reply) if reply.is_success() => {
                return Ok(Found::reply(penstock_release::Phase::EndOfData, heard(reply), 1).to_string());
            }
            Event::EndReply(reply) => return Err(refused(penstock_release::Phase::EndOfData, reply)),
            Event::Refused { phase: at, reply } => return Err(refused(phase(at), reply)),
            Event::Broken { error, .. } => {
                return Err(lost(connection, phase(at), &Cut::Nonsense(error)));
            }
            Event::Closed => return Err(lost(connection, phase(at), &Cut::Eof)),
            _ => continue,
        }
        if let Some(bytes) = &mut rest {
            while !bytes.is_empty()
                && let Ok(taken @ 1..) = connection.session().body(bytes)
            {
                *bytes = bytes.get(taken..).unwrap_or_default();
            }
            if bytes.is_empty() && !is_ended {
                // No room for the end is no more than a reason to come back.
                is_ended = connection.session().finish().is_ok();
            }
        }
        if let Err(cut) = connection.progress().await {
            return Err(lost(connection, phase(at), &cut));
        }
    }
}

fn lost(connection: &mut Connection, at: penstock_release::Phase, cut: &Cut) -> NotTaken {
    let is_in_doubt = connection.session().final_dot_sent();
    NotTaken { is_in_doubt, ..NotTaken::before(cut.found(at, 1).as_ref()) }
}
