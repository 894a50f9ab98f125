//! What the daemon can do for its operator.

use std::fmt;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::adopt::{Adopted, AdoptedBelow, HandedOver};
use super::clients::{ClientsFilter, ClientsPage};
use super::quarantine::{BounceRequest, HeldFilter, HeldPage};
use super::recipients::{
    CheckedRecipient, FoundRecipient, ImportedView, RecipientsView, ReloadRequest, Upload,
};
use super::replay::{ReplayPage, ReplayRequest};
use super::tls::{InstallRequest, TlsView};
use super::types::{
    ActionResult, CanaryFilter, CanaryPage, EventFilter, EventPage, MessageView, Mode, QueueFilter,
    QueuePage, Selection, SettingsView, Status,
};
use super::volume::{ScrubView, VolumeInfo};
use super::{MailId, Refusal, Store};

/// Who asks. Goes into the custody ledger with everything that changes mail or reads a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Their numeric user, as the kernel says.
    pub uid: u32,
    /// Their name, where the system knows one; at most [`NAME_BYTES_MAX`](Self::NAME_BYTES_MAX).
    pub name: Option<String>,
}

impl Who {
    /// The longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = 64;
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

/// A message on its way out.
#[derive(Debug)]
pub struct Export {
    /// How many bytes will come.
    pub size_bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// The bytes. An error, or an end before all of them, cuts the transfer so that nobody takes it for whole.
    pub chunks: mpsc::Receiver<Result<Bytes, Refusal>>,
}

/// What the daemon can do for its operator. Called from many connections at once.
///
/// Everything that changes something has made it durable when it returns `Ok`. A reason is 1 to
/// [`REASON_BYTES_MAX`](super::types::REASON_BYTES_MAX) bytes without control characters, which the caller has checked.
pub trait Operate: Send + Sync + 'static {
    /// How everything stands.
    fn status(&self) -> impl Future<Output = Result<Status, Refusal>> + Send;

    /// A page of the queue, in order of arrival.
    fn queue(&self, filter: QueueFilter) -> impl Future<Output = Result<QueuePage, Refusal>> + Send;

    /// A message with its recipients, their fates and its custody events, but nothing of its body.
    fn show(&self, id: MailId) -> impl Future<Output = Result<MessageView, Refusal>> + Send;

    /// Changes the mode; it outlives a restart.
    fn set_mode(
        &self,
        mode: Mode,
        reason: Option<String>,
        who: Who,
    ) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// Has messages tried now that wait for their next attempt or were set aside.
    fn release(
        &self,
        which: Selection,
        who: Who,
    ) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// Says that a next hop, or every one that has to prove itself, is the right server with its mailboxes: mail goes.
    fn confirm(
        &self,
        hop: Option<String>,
        who: Who,
    ) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// Ends messages as removed by the operator. Messages that cannot be removed are told in the result; the others go.
    fn remove(
        &self,
        ids: Vec<MailId>,
        reason: String,
        who: Who,
    ) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// Has a page of delivered mail go out once more, or counts it. The addresses are bounded, which the caller has checked.
    fn replay(
        &self,
        request: ReplayRequest,
        who: Who,
    ) -> impl Future<Output = Result<ReplayPage, Refusal>> + Send;

    /// A page of what is held, in order of arrival, with why.
    fn held(&self, filter: HeldFilter) -> impl Future<Output = Result<HeldPage, Refusal>> + Send;

    /// Tells the sender of a message that held recipients did not get it, and ends these.
    fn bounce(
        &self,
        request: BounceRequest,
        who: Who,
    ) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// Gives out a message as it was received. That it was read is in the ledger before the first byte.
    fn export(
        &self,
        id: MailId,
        reason: String,
        who: Who,
    ) -> impl Future<Output = Result<Export, Refusal>> + Send;

    /// The newest events that pass the filter, oldest first.
    fn events(&self, filter: EventFilter) -> impl Future<Output = Result<EventPage, Refusal>> + Send;

    /// The canaries that were sent lately.
    fn canaries(&self, filter: CanaryFilter) -> impl Future<Output = Result<CanaryPage, Refusal>> + Send;

    /// The clients that hold or do most.
    fn clients(&self, filter: ClientsFilter) -> impl Future<Output = Result<ClientsPage, Refusal>> + Send;

    /// The settings that the service runs with.
    fn settings(&self) -> impl Future<Output = Result<SettingsView, Refusal>> + Send;

    /// Has other settings tried, where they can be changed from here: the service starts again with them, and they are
    /// kept if it is well then. The trial is under way when this returns.
    fn put_settings(
        &self,
        text: String,
        who: Who,
    ) -> impl Future<Output = Result<SettingsView, Refusal>> + Send;

    /// Takes a message of another box's volume over, unless it was before. It and all before it count as adopted then.
    fn adopt(&self, handed: HandedOver, who: Who) -> impl Future<Output = Result<Adopted, Refusal>> + Send;

    /// How far the messages of another volume, named by its id, were adopted.
    fn adopted(&self, volume: String) -> impl Future<Output = Result<AdoptedBelow, Refusal>> + Send;

    /// What a volume is, and how it stands.
    fn volume(&self, which: Store) -> impl Future<Output = Result<VolumeInfo, Refusal>> + Send;

    /// How the watch over a volume stands.
    fn scrub(&self, which: Store) -> impl Future<Output = Result<ScrubView, Refusal>> + Send;

    /// Has a volume gone through now.
    fn begin_scrub(
        &self,
        which: Store,
        repair: bool,
    ) -> impl Future<Output = Result<ScrubView, Refusal>> + Send;

    /// Ends the pass that is under way on a volume.
    fn stop_scrub(&self, which: Store) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// How the list of recipients stands.
    fn recipients(&self) -> impl Future<Output = Result<RecipientsView, Refusal>> + Send;

    /// Whether an address is on it.
    fn find_recipient(&self, address: String)
    -> impl Future<Output = Result<FoundRecipient, Refusal>> + Send;

    /// What would be said to a recipient now, and why.
    fn check_recipient(
        &self,
        address: String,
    ) -> impl Future<Output = Result<CheckedRecipient, Refusal>> + Send;

    /// Has the list read now from where it is read by itself.
    fn reload_recipients(
        &self,
        request: ReloadRequest,
        who: Who,
    ) -> impl Future<Output = Result<RecipientsView, Refusal>> + Send;

    /// Puts the list in a file in its place, or only tells what would be. A file with mistakes changes nothing.
    fn import_recipients(
        &self,
        file: Upload,
        dry_run: bool,
        who: Who,
    ) -> impl Future<Output = Result<ImportedView, Refusal>> + Send;

    /// Does away with the list.
    fn clear_recipients(&self, who: Who) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// How TLS stands on both sides.
    fn tls(&self) -> impl Future<Output = Result<TlsView, Refusal>> + Send;

    /// Says that the certificate that a next hop shows is right: mail goes.
    fn accept_certificate(
        &self,
        hop: String,
        who: Who,
    ) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// Reads the certificate's file again.
    fn reload_certificate(&self) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// Keeps a certificate, and has clients shown it unless the settings name a file.
    fn install_certificate(
        &self,
        request: InstallRequest,
        who: Who,
    ) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// Goes back to a certificate of the box's own making.
    fn uninstall_certificate(&self, who: Who) -> impl Future<Output = Result<ActionResult, Refusal>> + Send;

    /// All figures in Prometheus' text format.
    fn metrics(&self) -> impl Future<Output = Result<String, Refusal>> + Send;
}
