//! Whether a hop takes mail, asked without any.

use penstock_release::{Evidence, Found, HopId, Phase, Verdict};
use penstock_smtp::client::Event;
use penstock_smtp::{Address, MailFrom};

use super::Delivery;
use super::evidence::{Cut, heard, phase};

impl Delivery {
    /// Sees whether a hop takes mail, without any.
    pub(super) async fn probe(&self, hop: HopId) {
        let found = self.ask(hop).await;
        let trouble: Option<Evidence<'_>> = found.as_ref().map(Found::evidence);
        self.release().probed(hop, trouble, self.now());
    }

    /// The evidence of trouble, if there is any.
    async fn ask(&self, hop: HopId) -> Option<Found> {
        let mut connection = match self.connect(hop).await {
            Ok(connection) => connection,
            // We are stopping: no news.
            Err(found) => return found,
        };
        if connection.session().mail(&MailFrom::new(Address::NULL)).is_err() {
            return Cut::Eof.found(Phase::Ehlo, 0);
        }
        let denied = self.known.get(usize::from(hop.0)).and_then(|known| known.denied());
        let denied = denied.as_deref().and_then(|denied| Address::parse(denied).ok());
        let trouble = loop {
            let at = connection.session().phase();
            match connection.poll() {
                Event::NeedInput => {}
                Event::MailReply(reply) => {
                    let found = Found::reply(Phase::Mail, heard(reply), 0);
                    if found.verdict() != Verdict::Accepted {
                        break Some(found);
                    }
                    let Some(address) = denied else { break None };
                    // What it refused is the one thing that shows whether it still does.
                    let recipient = penstock_smtp::Recipient { address, notify: None, orcpt: None };
                    if connection.session().rcpt(&recipient).is_err() {
                        break None;
                    }
                }
                Event::RcptReply { reply, .. } => {
                    let Some(address) = denied else { break None };
                    let found = Found::reply(Phase::Rcpt, heard(reply), 0);
                    let found = connection.known().heard(&address, found);
                    break found.evidence().denies_relay().then_some(found);
                }
                Event::Refused { phase: at, reply } => return Some(Found::reply(phase(at), heard(reply), 0)),
                Event::Broken { phase: at, error } => return Cut::Nonsense(error).found(phase(at), 0),
                Event::Closed => return Cut::Eof.found(phase(at), 0),
                _ => continue,
            }
            if let Err(cut) = connection.progress().await {
                return cut.found(phase(at), 0);
            }
        };
        tokio::spawn(connection.quit());
        trouble
    }
}
