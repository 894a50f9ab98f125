//! Whether a hop takes mail, asked without any.

use penstock_release::{Evidence, Found, HopId, Phase, Verdict};
use penstock_smtp::client::Event;
use penstock_smtp::{Address, MailFrom};

use super::Delivery;
use super::evidence::{Cut, heard, phase};

impl Delivery {
    /// Sees whether a hop takes mail, without any.
    pub(super) async fn probe(&self, hop: HopId) {
        let found = self.trouble(hop).await;
        let trouble: Option<Evidence<'_>> = found.as_ref().map(Found::evidence);
        self.release().probed(hop, trouble, self.now());
    }

    /// Asks whether a hop takes the recipient that stands for a domain that is held there.
    pub(super) async fn ask(&self, hop: HopId, route: u16) {
        let held =
            self.release().held_domains(hop).find(|(of, _)| *of == route).map(|(_, who)| who.to_owned());
        let said = match &held {
            Some(address) => self.reach(hop, Some(address)).await.ok().flatten(),
            // It is held no longer.
            None => None,
        };
        let is_taken = said.as_ref().is_some_and(|found| found.verdict() == Verdict::Accepted);
        // That it is still refused says nothing new of the hop, and nothing that a probe should ask for.
        if let (true, Some(address), Some(found)) = (is_taken, &held, said) {
            self.heard_of(hop, address, found);
        }
        self.release().asked(hop, route, is_taken, self.now());
    }

    /// The evidence of trouble, if there is any.
    async fn trouble(&self, hop: HopId) -> Option<Found> {
        // What it refused is the one thing that shows whether it still does.
        let denied = self.known.get(usize::from(hop.0)).and_then(|known| known.denied());
        let said = match self.reach(hop, denied.as_deref()).await {
            Ok(said) => said,
            Err(found) => return found,
        };
        let found = self.heard_of(hop, &denied?, said?);
        found.evidence().denies_relay().then_some(found)
    }

    /// Takes in what a hop said to a recipient, without a message.
    fn heard_of(&self, hop: HopId, recipient: &str, found: Found) -> Found {
        match (self.known.get(usize::from(hop.0)), Address::parse(recipient)) {
            (Some(known), Ok(address)) => known.heard(&address, found),
            _ => found,
        }
    }

    /// What a hop says to a recipient, in a session without a message; `None` if none is named.
    ///
    /// # Errors
    /// What it said or did instead before that; `None` if we are stopping: no news.
    async fn reach(&self, hop: HopId, recipient: Option<&str>) -> Result<Option<Found>, Option<Found>> {
        let mut connection = self.connect(hop).await?;
        if connection.session().mail(&MailFrom::new(Address::NULL)).is_err() {
            return Err(Cut::Eof.found(Phase::Ehlo, 0));
        }
        let recipient = recipient.and_then(|recipient| Address::parse(recipient).ok());
        let said = loop {
            let at = connection.session().phase();
            match connection.poll() {
                Event::NeedInput => {}
                Event::MailReply(reply) => {
                    let found = Found::reply(Phase::Mail, heard(reply), 0);
                    if found.verdict() != Verdict::Accepted {
                        break Err(Some(found));
                    }
                    let Some(address) = recipient else { break Ok(None) };
                    let recipient = penstock_smtp::Recipient { address, notify: None, orcpt: None };
                    if connection.session().rcpt(&recipient).is_err() {
                        break Ok(None);
                    }
                }
                Event::RcptReply { reply, .. } => {
                    break Ok(Some(Found::reply(Phase::Rcpt, heard(reply), 0)));
                }
                Event::Refused { phase: at, reply } => {
                    return Err(Some(Found::reply(phase(at), heard(reply), 0)));
                }
                Event::Broken { phase: at, error } => return Err(Cut::Nonsense(error).found(phase(at), 0)),
                Event::Closed => return Err(Cut::Eof.found(phase(at), 0)),
                _ => continue,
            }
            if let Err(cut) = connection.progress().await {
                return Err(cut.found(phase(at), 0));
            }
        };
        tokio::spawn(connection.quit());
        said
    }
}
