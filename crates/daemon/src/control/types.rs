//! The language of the control interface: what goes over it, as serde types.
//!
//! Names of units come last: `_unix_ms` are milliseconds since 1970 by the box's clock, `_in_ms` and `_in_s` are from
//! now on. What is not known is `null`, never 0. Fields are only ever added; a reader passes over those it does not
//! know.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::MailId;
use super::recipients::PolicyView;
use super::volume::ScrubView;

/// The longest reason, in bytes. With who gave it, it fits into one event of the ledger.
pub const REASON_BYTES_MAX: usize = 256;
/// The most messages that one request names.
pub const IDS_MAX: usize = 1_000;
/// The most rows of a page, queue or events.
pub const PAGE_ROWS_MAX: u32 = 1_000;

/// Something that went wrong, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The stable code, `PS-…`.
    pub code: String,
    /// What is the matter, one sentence.
    pub message: String,
    /// What to do about it; empty where there is nothing to say.
    #[serde(default)]
    pub help: String,
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

/// How everything stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// The name that it greets with.
    pub hostname: String,
    /// What time it believes it is.
    pub now_unix_ms: u64,
    /// Whether it believes its clock.
    pub clock_trusted: bool,
    /// How long it has run.
    pub uptime_ms: u64,
    /// What needs somebody, the worst first; empty when all is well.
    pub alerts: Vec<Alert>,
    /// The mail that is here.
    pub mail: MailView,
    /// What the operator wants.
    pub mode: ModeView,
    /// The servers that take the mail, in the order of the settings.
    pub hops: Vec<HopView>,
    /// Whether clients wait for what these say of their messages.
    #[serde(default)]
    pub through: ThroughView,
    /// How far release has come.
    pub progress: Progress,
    /// Where mail is kept.
    pub volumes: Vec<VolumeView>,
    /// Sessions of clients.
    pub listener: ListenerView,
    /// What is said to recipients that nobody knows.
    #[serde(default)]
    pub recipients: PolicyView,
}

/// Whether clients wait, at the end of their messages, for what a next hop says of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThroughView {
    /// Whether they do now.
    pub on: bool,
    /// Why not; `null` while they do.
    pub why_not: Option<String>,
    /// Messages since the daemon started that a next hop took meanwhile.
    pub taken: u64,
    /// Messages that it refused, of which clients were told.
    pub refused: u64,
    /// Messages whose clients waited in vain, and those of which it said what clients are not told.
    pub late: u64,
    /// As above.
    pub untold: u64,
}

/// Something that needs somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// How bad it is.
    pub severity: Severity,
    /// Its stable code, what it is and what to do.
    #[serde(flatten)]
    pub what: ErrorBody,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Mail is damaged or refused: somebody is needed now.
    Critical,
    /// It will come to that unless somebody looks.
    Warning,
}

/// The mail that is here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailView {
    /// Messages with a recipient that is not done.
    pub messages: u64,
    /// The size of their bodies.
    pub bytes: u64,
    /// When the oldest of them came; `null` if there is none or the clock was not trusted then or is not now.
    pub oldest_unix_ms: Option<u64>,
    /// Those among them that were set aside for the operator.
    pub held: u64,
    /// Those among them that are damaged on flash and cannot be given out.
    pub damaged: u64,
    /// Finished messages that could still be replayed.
    pub kept: u64,
    /// Messages taken since the daemon started.
    pub accepted: u64,
    /// Messages that a next hop took since the daemon started.
    pub delivered: u64,
}

/// What the operator wants done with the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum Mode {
    /// Mail goes as the next hop can take it.
    Auto,
    /// Mail is taken and none goes; whether the next hop is there is still looked at.
    Hold {
        /// When it ends by itself; needs a clock that is trusted.
        until_unix_ms: Option<u64>,
    },
    /// Mail goes as fast as allowed, without waiting for anything but the next hop.
    Drain,
    /// Mail is taken and nothing else happens, not even a look at the next hop.
    Stop,
}

impl Mode {
    /// The mode as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Hold { .. } => "hold",
            Self::Drain => "drain",
            Self::Stop => "stop",
        }
    }
}

/// A mode with its history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeView {
    /// The mode.
    #[serde(flatten)]
    pub mode: Mode,
    /// Since when; `null` where it was never changed or the clock was not trusted.
    pub since_unix_ms: Option<u64>,
    /// Who set it; `null` where it comes from the settings.
    pub by: Option<String>,
    /// Why, if they said.
    pub reason: Option<String>,
}

/// A server that takes the mail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopView {
    /// What the operator calls it.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its priority: those with a lower number come first.
    pub priority: u32,
    /// How it stands, as one word: `healthy`, `down`, `pressure`, …
    pub state: String,
    /// Whether it takes mail in that state.
    pub takes_mail: bool,
    /// Since when.
    pub since_unix_ms: Option<u64>,
    /// What it last said that was no success, with the command it was about.
    pub last_reply: Option<String>,
    /// In how many ms it is tried again; `null` while it is healthy or just being tried.
    pub next_probe_in_ms: Option<u64>,
    /// Sessions with it now.
    pub connections: u32,
    /// What the operator can do about its state, one sentence.
    pub advice: Option<String>,
    /// What is known of the mail that it took.
    #[serde(default)]
    pub proof: ProofView,
    /// Why it gets no mail before it has proved itself, if that is so, whatever its state.
    #[serde(default)]
    pub cause: Option<String>,
    /// While it has to prove itself by canaries: how they fare; `null` without probe mailboxes.
    #[serde(default)]
    pub proving: Option<Proof>,
}

/// What is known of the mail that a server took: whether it reaches mailboxes, and what waits before them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProofView {
    /// How much is known, as one word: `blind`, `canary` or `counters`.
    pub grade: String,
    /// How many probe mailboxes it has.
    pub probe_mailboxes: u32,
    /// Canaries that it took since the daemon started.
    pub canaries_taken: u64,
    /// Those that arrived in their mailboxes.
    pub canaries_arrived: u64,
    /// Those that may still arrive.
    pub canaries_outstanding: u32,
    /// How long the last one that arrived had been on its way.
    pub last_sojourn_ms: Option<u64>,
    /// How long ago its counters were last read; `null` if never.
    pub counters_age_ms: Option<u64>,
    /// What they were then.
    pub counters: Option<CountersView>,
    /// Why less is known than is set up, one sentence.
    pub trouble: Option<String>,
}

/// The counters of a server's queues. What its exporter does not serve is `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountersView {
    /// Messages in the submission queue.
    pub submission: Option<u64>,
    /// Messages before mailbox databases.
    pub active_mailbox: Option<u64>,
    /// Messages that wait for a mailbox database.
    pub retry_mailbox: Option<u64>,
    /// Messages in the poison queue.
    pub poison: Option<u64>,
}

/// The canaries of the last hour, and some before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryPage {
    /// What time the box believes it is.
    pub now_unix_ms: u64,
    /// The servers in the order of the settings.
    pub hops: Vec<HopCanaries>,
}

/// The canaries of one server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopCanaries {
    /// What the operator calls the server.
    pub hop: String,
    /// What is known of it.
    pub proof: ProofView,
    /// Its canaries, oldest first.
    pub canaries: Vec<CanaryView>,
}

/// A canary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryView {
    /// The mailbox that it was sent to.
    pub mailbox: String,
    /// How long ago it was sent.
    pub age_ms: u64,
    /// When that was, by the clock of the time.
    pub sent_unix_ms: u64,
    /// What has become of it.
    pub state: CanaryState,
    /// How long it was on its way, where it arrived.
    pub sojourn_ms: Option<u64>,
    /// Why it was not taken or did not arrive.
    pub why: Option<String>,
}

/// What has become of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CanaryState {
    /// It is on its way to the server.
    Going,
    /// The server did not take it.
    Refused,
    /// The server took it, and no report has come yet.
    Taken,
    /// The server took it, and no report has come within the hour.
    Missing,
    /// It lies in its mailbox.
    Arrived,
    /// The server reports that it cannot be delivered.
    Failed,
}

impl CanaryState {
    /// The state as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Going => "going",
            Self::Refused => "refused",
            Self::Taken => "taken",
            Self::Missing => "missing",
            Self::Arrived => "arrived",
            Self::Failed => "failed",
        }
    }
}

/// Which canaries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CanaryFilter {
    /// Only those of this server, as the operator calls it.
    pub hop: Option<String>,
}

/// Canaries that prove a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// How many have arrived since it has to prove itself.
    pub arrived: u32,
    /// How many have to, and one of them in each probe mailbox.
    pub needed: u32,
}

/// How far release has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Messages that are still to go, those set aside not among them.
    pub left_messages: u64,
    /// Their size.
    pub left_bytes: u64,
    /// Messages on their way at this moment.
    pub in_flight: u32,
    /// Messages delivered in a minute, lately.
    pub messages_per_minute: u32,
    /// Bytes delivered in a minute, lately.
    pub bytes_per_minute: u64,
    /// When it will be done if nothing new comes; `null` while nothing is delivered.
    pub estimate: Option<Estimate>,
    /// Why nothing moves, one sentence; `null` while something does.
    pub still: Option<String>,
}

/// When something will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// At the earliest.
    pub earliest_in_s: u64,
    /// At the latest.
    pub latest_in_s: u64,
}

/// Where mail is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VolumeView {
    /// `disk` or `nor`.
    pub name: String,
    /// Its file or device.
    pub path: String,
    /// Whether it takes mail.
    pub health: Health,
    /// Whether new mail goes there now.
    #[serde(default)]
    pub takes_mail: bool,
    /// Why it does not, one sentence.
    pub why: Option<String>,
    /// The size of the medium.
    pub medium_bytes: u64,
    /// What mail may take in all.
    pub capacity_bytes: u64,
    /// What undelivered mail takes, envelopes and overhead included.
    pub live_bytes: u64,
    /// What messages on their way in have reserved.
    pub reserved_bytes: u64,
    /// What finished mail kept for replay takes; it counts as free.
    pub kept_bytes: u64,
    /// What mail may still take.
    pub free_bytes: u64,
    /// Messages in the index, kept ones among them.
    pub messages: u64,
    /// How many there may be.
    pub messages_max: u64,
    /// What came in over the last day, or since the start if that is less, made a day; `null` in the first minutes.
    pub inflow_bytes_per_day: Option<u64>,
    /// When it is full if mail comes as it does and none goes.
    pub full_in_s: Option<u64>,
    /// Segments that cannot be trusted and are left alone.
    pub quarantined_segments: u32,
    /// The highest count of erases of a segment.
    pub erase_count_max: u32,
    /// How it is watched over.
    #[serde(default)]
    pub scrub: ScrubView,
}

/// Whether a volume does its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It takes mail and gives it back.
    Good,
    /// It takes none for want of room; what it has is safe.
    Full,
    /// A write failed: it takes none; what it has can be read.
    ReadOnly,
    /// It is missing, or cannot be mounted.
    Absent,
    /// Another version wrote on it what this one cannot read.
    OtherVersion,
    /// A read or a write does not come back.
    Stalled,
}

/// Sessions of clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerView {
    /// Where it listens.
    pub addresses: Vec<String>,
    /// Sessions now.
    pub sessions: u32,
    /// How many there may be.
    pub sessions_max: u32,
    /// Sources that have sessions.
    pub sources: u32,
    /// Sources that came to one of their limits within the last minute.
    pub sources_at_limits: u32,
    /// What the machine runs short of, so that idle sessions end: `memory` or `descriptors`.
    pub short_of: Option<String>,
}

/// Which part of the queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct QueueFilter {
    /// Only those in this state. Without it: all that is not finished.
    pub state: Option<MailState>,
    /// Only those from or to an address that contains this, whatever its case.
    pub address: Option<String>,
    /// From this one on: [`QueuePage::next`] of the page before.
    pub from: Option<MailId>,
    /// At most so many, up to [`PAGE_ROWS_MAX`]; the caller has set it.
    pub limit: u32,
}

/// Where a message is in its life, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MailState {
    /// To be delivered; not tried yet.
    Queued,
    /// On its way at this moment.
    InFlight,
    /// Tried, and waiting for its next attempt.
    Deferred,
    /// Set aside for the operator.
    Held,
    /// Damaged on flash: not given out.
    Damaged,
    /// All its recipients are final, and it is kept for replay.
    Kept,
}

impl MailState {
    /// The state as one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InFlight => "in_flight",
            Self::Deferred => "deferred",
            Self::Held => "held",
            Self::Damaged => "damaged",
            Self::Kept => "kept",
        }
    }
}

/// A part of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueuePage {
    /// What time the box believes it is, from which ages are counted.
    pub now_unix_ms: u64,
    /// In order of arrival. May be fewer than asked for, or none, though there is more: a search looks at a bounded
    /// number of messages for each page.
    pub rows: Vec<QueueRow>,
    /// Where the next page begins; `null` at the end.
    pub next: Option<MailId>,
    /// How many messages are not finished, whatever the filter.
    pub messages: u64,
    /// The size of their bodies.
    pub bytes: u64,
    /// Volumes that do not answer: what is on them is neither listed nor counted.
    #[serde(default)]
    pub unreachable: Vec<String>,
}

/// A message in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRow {
    /// Its name.
    pub id: MailId,
    /// Where it is in its life.
    pub state: MailState,
    /// When it came; `null` if the clock was not trusted then or its envelope cannot be read.
    pub received_unix_ms: Option<u64>,
    /// The size of its body.
    pub size_bytes: u64,
    /// From whom; empty for the null sender, `null` if it cannot be read.
    pub sender: Option<String>,
    /// The first recipient that is not done, else the first.
    pub recipient: Option<String>,
    /// How many recipients it has.
    pub recipients: u32,
    /// How many of them are not done.
    pub open_recipients: u32,
    /// How often it was tried.
    pub attempts: u32,
    /// In how many ms it is tried again, where it waits for that.
    pub next_attempt_in_ms: Option<u64>,
    /// What the next hop last said about it.
    pub last_reply: Option<String>,
}

/// A message, all but its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageView {
    /// What time the box believes it is, from which ages are counted.
    pub now_unix_ms: u64,
    /// What the list says of it.
    #[serde(flatten)]
    pub row: QueueRow,
    /// SHA-256 of its body as lower-case hexadecimal; `null` if it cannot be read.
    pub sha256: Option<String>,
    /// The client's address and port.
    pub client: Option<String>,
    /// What the client said in HELO or EHLO.
    pub helo: Option<String>,
    /// Whether it came encrypted.
    pub tls: bool,
    /// The envelope's parameters as they were given, `BODY=8BITMIME SMTPUTF8 …`.
    pub parameters: String,
    /// Its recipients in the order of the envelope.
    pub recipient_list: Vec<RecipientView>,
    /// What happened to it, oldest first.
    pub events: Vec<EventView>,
}

/// A recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientView {
    /// The address.
    pub address: String,
    /// What has become of it: `queued`, `deferred`, `held`, `delivered`, `removed`, `refused_in_session`, `torn`.
    pub fate: String,
    /// DSN parameters as they were given, `NOTIFY=… ORCPT=…`.
    #[serde(default)]
    pub parameters: String,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventView {
    /// When, by the clock of the time.
    pub at_unix_ms: u64,
    /// Whether that clock was trusted.
    pub clock_trusted: bool,
    /// In which boot of the volume's life.
    pub boot: u32,
    /// What kind of thing, as one word.
    pub kind: String,
    /// The message that it is about.
    pub message: Option<MailId>,
    /// What to tell a person.
    pub text: String,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    /// Only those about this message.
    pub message: Option<MailId>,
    /// Only those of this kind.
    pub kind: Option<String>,
    /// The newest so many, up to [`PAGE_ROWS_MAX`]; the caller has set it.
    pub limit: u32,
}

/// Events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventPage {
    /// Oldest first.
    pub events: Vec<EventView>,
    /// Whether older ones that pass the filter were left off.
    pub more: bool,
}

/// Which messages an action is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// All of them.
    All,
    /// These, at most [`IDS_MAX`].
    Ids(Vec<MailId>),
}

/// Asks for another mode.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModeRequest {
    /// The mode.
    #[serde(flatten)]
    pub mode: Mode,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Says that a next hop is itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfirmRequest {
    /// Which, by its name; without one, all that wait for it.
    #[serde(default)]
    pub hop: Option<String>,
}

/// Asks for messages to be removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveRequest {
    /// Which, at most [`IDS_MAX`].
    pub ids: Vec<MailId>,
    /// Why.
    pub reason: String,
}

/// Asks for the body of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRequest {
    /// Why it is read.
    pub reason: String,
}

/// What an action did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionResult {
    /// What was done, one sentence for a person.
    pub summary: String,
    /// How many messages it concerned.
    pub messages: u64,
    /// Messages with which it could not be done.
    #[serde(default)]
    pub refused: Vec<Refused>,
}

/// A message with which something could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which.
    pub id: MailId,
    /// Why.
    pub error: ErrorBody,
}

/// The settings that the service runs with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsView {
    /// The text of the file.
    pub text: String,
    /// Where it is: `flash` on a box, else the path of the file.
    pub place: String,
    /// Whether they can be changed from here.
    pub changeable: bool,
    /// The last trial of others since the box was started.
    pub trial: Option<Trial>,
}

/// Settings that the service was started with to see whether it is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Which one since the box was started, from 1.
    pub number: u32,
    /// Who wanted it.
    pub by: String,
    /// How it goes.
    pub state: TrialState,
    /// Why they were not kept, one sentence.
    pub why: Option<String>,
}

/// How a trial of settings goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialState {
    /// The service runs with them, and it is not known yet whether it is well.
    Running,
    /// It is well: they are in flash.
    Kept,
    /// It was not: those from before are back.
    GoneBack,
}

/// Asks for other settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsRequest {
    /// The text of the file.
    pub text: String,
}
