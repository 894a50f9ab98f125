//! A message of our own to somebody who is no next hop: one recipient, from memory, at once and never again.

use penstock_release::Found;
use penstock_settings::HopAddress;
use penstock_smtp::{Address, MailFrom, Recipient};

use super::{Delivery, Shared, letter};
use crate::tls::Hop;

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
        // It is none of the next hops: nothing is learnt from what it says.
        let opened = self.open(server, Shared::default(), &Hop::passing()).await;
        let (mut connection, _) = opened.map_err(|found| NotTaken::before(found.as_ref()))?;
        let recipient = Recipient { address, notify: None, orcpt: None };
        let mail = MailFrom {
            size_bytes: Some(message.len() as u64),
            smtp_utf8: !message.is_ascii() || !address.is_ascii(),
            ..MailFrom::new(Address::NULL)
        };
        let taken = letter::send(&mut connection, &mail, &recipient, message).await.taken;
        let dot_sent = connection.session().final_dot_sent();
        tokio::spawn(connection.quit());
        taken.map(|found| found.to_string()).map_err(|found| {
            // A reply is a verdict; a connection that is lost is none.
            let is_in_doubt = dot_sent && found.as_ref().is_none_or(|found| found.code() == 0);
            NotTaken { is_in_doubt, ..NotTaken::before(found.as_ref()) }
        })
    }
}
