//! The mail side of a session: the envelope, whose mail is taken, and the message until it is committed.
//!
//! A message collects in the *page*. One that fits there goes to a volume when it is whole, so that a client that goes away
//! costs nothing, and a volume that fails just then can be passed by. A larger one goes there page by page.

use core::net::SocketAddr;

use heapless::{String as FixedString, Vec as FixedVec};
use penstock_flash::Medium;
use penstock_smtp::server::Config;
use penstock_smtp::trace::{Protocol, Received, times_passed};
use penstock_smtp::{BodyType, HostName, MailFrom, Recipient, Reply, ResultsFilter, Status, replies};
use penstock_spool::{Body, Error, HELO_BYTES_MAX, Incoming, PATH_BYTES_MAX, Stamp};
use smoltcp::time::Instant;

use crate::envelope::{Envelope, SpoolEnvelope};
use crate::site::Site;
use crate::status::Counters;
use crate::volumes::{Altered, Store, TRACE_BYTES_MAX, Volumes};

/// How much of a message is collected before it goes to a volume.
const PAGE_BYTES: usize = 4096;
/// What the filter may hold back of a header and give on later, in bytes.
const HELD_BYTES: usize = 1024;
/// A message that has passed here more often than this is going in circles, however few Received lines it has.
const TIMES_PASSED_MAX: usize = 3;

const ADDRESS_TOO_LONG: Reply<'static> =
    Reply::new(553, Status::new(5, 1, 3), "Address is longer than 256 octets");

/// What was refused, and how.
pub(crate) type Verdict<T = ()> = Result<T, Reply<'static>>;

/// What all sessions share while one of them goes on.
pub(crate) struct Shared<'a, D: Medium, N: Medium> {
    pub(crate) site: &'a Site,
    pub(crate) volumes: &'a mut Volumes<D, N>,
    pub(crate) envelope: &'a mut SpoolEnvelope,
    pub(crate) counters: &'a mut Counters,
    pub(crate) now: Instant,
    pub(crate) stamp: Stamp,
    /// What may still be done in this step, in bytes.
    pub(crate) budget_bytes: usize,
}

/// What there is of a message.
#[derive(Debug, Default)]
#[allow(clippy::large_enum_variant, reason = "a box would be memory that is taken for each message")]
enum Content {
    /// At most what is in the page.
    #[default]
    Page,
    /// The last of it is in the page, the rest on a volume.
    Streamed { store: Store, incoming: Incoming },
    /// It cannot be taken, which is said at its end.
    Refused(Reply<'static>),
}

/// A message that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    pub(crate) received_lines: u32,
    pub(crate) bare_newlines: bool,
}

/// A message that is committed on that volume and waits for the sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) store: Store,
    pub(crate) bytes: u64,
}

/// One transaction at a time, in memory of its own.
#[derive(Debug)]
pub(crate) struct Intake {
    client: SocketAddr,
    helo: FixedString<HELO_BYTES_MAX>,
    extended: bool,
    /// Ours.
    host_name: HostName,
    envelope: Envelope,
    filter: ResultsFilter,
    page: FixedVec<u8, { PAGE_BYTES + HELD_BYTES }>,
    content: Content,
}

impl Intake {
    /// Memory for transactions.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            client: SocketAddr::from(([0, 0, 0, 0], 0)),
            helo: FixedString::new(),
            extended: false,
            host_name: config.host_name.clone(),
            envelope: Envelope::default(),
            filter: ResultsFilter::new(config.host_name.clone()),
            page: FixedVec::new(),
            content: Content::Page,
        }
    }

    /// Somebody else is there.
    pub(crate) fn begin(&mut self, client: SocketAddr) {
        self.client = client;
        self.helo.clear();
        self.extended = false;
    }

    pub(crate) fn client(&self) -> SocketAddr {
        self.client
    }

    /// Gives up the transaction, if there is one.
    pub(crate) fn abandon<D: Medium, N: Medium>(&mut self, volumes: &mut Volumes<D, N>) {
        if let Content::Streamed { store, incoming } = core::mem::take(&mut self.content) {
            volumes.abort(store, incoming);
        }
        self.envelope.clear();
        self.page.clear();
    }

    /// HELO or EHLO.
    pub(crate) fn hello<D: Medium, N: Medium>(
        &mut self,
        name: &str,
        extended: bool,
        volumes: &mut Volumes<D, N>,
    ) {
        self.abandon(volumes);
        self.helo.clear();
        // The name is ASCII, and cut where it is too long.
        let _ = self.helo.push_str(name.get(..HELO_BYTES_MAX).unwrap_or(name));
        self.extended = extended;
    }

    /// MAIL.
    pub(crate) fn mail<D: Medium, N: Medium>(
        &mut self,
        mail: &MailFrom<'_>,
        shared: &mut Shared<'_, D, N>,
    ) -> Verdict {
        let store = shared.volumes.for_mail(mail.size_bytes, &[]);
        let store = store.map_err(|error| refusal(error, shared.counters))?;
        // Whatever has to be erased before the message can begin is erased from now on.
        let _ = shared.volumes.is_ready(store);
        self.envelope.begin(mail.sender.as_str()).ok_or(ADDRESS_TOO_LONG)?;
        self.envelope.declared_bytes = mail.size_bytes;
        self.envelope.received = shared.stamp;
        self.envelope.body = match mail.body {
            None | Some(BodyType::SevenBit) => Body::SevenBit,
            Some(BodyType::EightBitMime) => Body::EightBitMime,
            Some(BodyType::BinaryMime) => Body::BinaryMime,
        };
        Ok(())
    }

    /// RCPT: whoever is in the site's domains is taken, known or not, since nobody can be asked.
    pub(crate) fn rcpt<D: Medium, N: Medium>(
        &mut self,
        recipient: &Recipient<'_>,
        shared: &mut Shared<'_, D, N>,
    ) -> Verdict {
        let address = recipient.address;
        if !shared.site.takes(&address) {
            shared.counters.refused_relay += 1;
            return Err(replies::RELAY_DENIED);
        }
        if address.as_str().len() > PATH_BYTES_MAX {
            return Err(ADDRESS_TOO_LONG);
        }
        self.envelope.add(address.as_str()).ok_or(replies::RECIPIENTS_MAX)
    }

    /// DATA: the message may come once a volume is ready for it. `None` while none is.
    pub(crate) fn data<D: Medium, N: Medium>(&mut self, shared: &mut Shared<'_, D, N>) -> Option<Verdict> {
        let store = match shared.volumes.for_mail(self.envelope.declared_bytes, &[]) {
            Ok(store) => store,
            Err(error) => return Some(Err(refusal(error, shared.counters))),
        };
        if !shared.volumes.is_ready(store) {
            return None;
        }
        self.page.clear();
        self.content = Content::Page;
        self.filter = ResultsFilter::new(self.host_name.clone());
        Some(Ok(()))
    }

    /// How many bytes of a message there is room for.
    pub(crate) fn room(&self) -> usize {
        PAGE_BYTES.saturating_sub(self.page.len())
    }

    /// The next bytes of the message, for which there is [room](Self::room).
    pub(crate) fn body(&mut self, bytes: &[u8]) {
        if matches!(self.content, Content::Refused(_)) {
            return;
        }
        let mut rest = bytes;
        while let Some(bytes) = self.filter.next(&mut rest) {
            if self.page.extend_from_slice(bytes).is_err() {
                self.content = Content::Refused(replies::LOCAL_ERROR);
                return;
            }
        }
    }

    /// The message has ended: there will be no more of it.
    pub(crate) fn end_of_body(&mut self) {
        if self.page.extend_from_slice(self.filter.end()).is_err() {
            self.content = Content::Refused(replies::LOCAL_ERROR);
        }
    }

    /// A message that has ended: to a volume with what is not there yet, and its COMMIT behind it. `None` if no volume is
    /// ready; then it is to be tried again.
    pub(crate) fn take<D: Medium, N: Medium>(
        &mut self,
        whole: Whole,
        shared: &mut Shared<'_, D, N>,
    ) -> Option<Verdict<Committed>> {
        if whole.received_lines > shared.site.settings.listen.received_max {
            shared.counters.refused_loop += 1;
            self.refuse(replies::HOPS_MAX, shared);
        }
        if !self.pass_on(true, shared) {
            return None;
        }
        let altered = Altered { bare_newlines: whole.bare_newlines, removed: self.filter.removed() };
        let committed = match core::mem::take(&mut self.content) {
            Content::Streamed { store, incoming } => {
                let bytes = incoming.size_bytes();
                let committed = shared.volumes.commit(store, incoming, altered, shared.stamp);
                committed
                    .map(|()| Committed { store, bytes })
                    .map_err(|error| refusal(error, shared.counters))
            }
            Content::Refused(reply) => Err(reply),
            Content::Page => Err(replies::LOCAL_ERROR),
        };
        self.envelope.clear();
        Some(committed)
    }

    /// Gives what is in the page to a volume, where the message begins if it has not. Whether that is done; if not, a volume
    /// is not ready.
    pub(crate) fn pass_on<D: Medium, N: Medium>(
        &mut self,
        is_whole: bool,
        shared: &mut Shared<'_, D, N>,
    ) -> bool {
        match &mut self.content {
            Content::Refused(_) => {}
            Content::Page => {
                let Some(content) = self.begin_message(is_whole, shared) else { return false };
                self.content = content;
            }
            Content::Streamed { store, incoming } => {
                if let Err(error) = shared.volumes.write(*store, incoming, &self.page) {
                    let reply = refusal(error, shared.counters);
                    self.refuse(reply, shared);
                }
            }
        }
        self.page.clear();
        true
    }

    /// Begins the message on the first volume that takes it, with our line on top and what is in the page. `None` if that
    /// volume is not ready.
    fn begin_message<D: Medium, N: Medium>(
        &self,
        is_whole: bool,
        shared: &mut Shared<'_, D, N>,
    ) -> Option<Content> {
        if times_passed(&self.page, shared.site.host_name()) > TIMES_PASSED_MAX {
            shared.counters.refused_loop += 1;
            return Some(Content::Refused(replies::HOPS_MAX));
        }
        let here = (self.page.len() + TRACE_BYTES_MAX) as u64;
        // Of a whole message it is known how long it is.
        let declared = self.envelope.declared_bytes.map(|declared| declared.max(here));
        let bytes = if is_whole { Some(here) } else { declared };
        let mut failed: FixedVec<Store, 2> = FixedVec::new();
        let mut last = None;
        loop {
            let store = match shared.volumes.for_mail(bytes, &failed) {
                Ok(store) => store,
                Err(error) => {
                    return Some(Content::Refused(refusal(last.unwrap_or(error), shared.counters)));
                }
            };
            if !shared.volumes.is_ready(store) {
                return None;
            }
            match self.begin_on(store, bytes, shared) {
                Ok(incoming) => return Some(Content::Streamed { store, incoming }),
                Err(error) => {
                    last = Some(error);
                    // There are two of them.
                    let _ = failed.push(store);
                }
            }
        }
    }

    fn begin_on<D: Medium, N: Medium>(
        &self,
        store: Store,
        bytes: Option<u64>,
        shared: &mut Shared<'_, D, N>,
    ) -> Result<Incoming, Error> {
        let envelope = shared.envelope.fill(&self.envelope, &self.helo, self.client);
        let (mut incoming, id) = shared.volumes.begin(store, envelope, bytes)?;
        let line = Received {
            helo: &self.helo,
            client: self.client.ip(),
            client_name: None,
            host_name: shared.site.host_name(),
            software: "Penstock rescue",
            protocol: Protocol { extended: self.extended, ..Protocol::default() },
            recipient: self.envelope.only_recipient(),
            unix_ms: self.envelope.received.unix_ms,
            is_time_trusted: self.envelope.received.trusted,
        };
        let mut trace: FixedString<TRACE_BYTES_MAX> = FixedString::new();
        // All that stands in it is bounded, and by less.
        let _ = line.write(&mut trace, id);
        let volumes = &mut *shared.volumes;
        let written = volumes.write(store, &mut incoming, trace.as_bytes());
        match written.and_then(|()| volumes.write(store, &mut incoming, &self.page)) {
            Ok(()) => Ok(incoming),
            Err(error) => {
                volumes.abort(store, incoming);
                Err(error)
            }
        }
    }

    /// Gives the message up; its client hears of it at its end.
    fn refuse<D: Medium, N: Medium>(&mut self, reply: Reply<'static>, shared: &mut Shared<'_, D, N>) {
        let content = core::mem::replace(&mut self.content, Content::Refused(reply));
        if let Content::Streamed { store, incoming } = content {
            shared.volumes.abort(store, incoming);
        }
    }
}

/// What a client is told when no volume takes its message. Always 4xx: nothing that is wrong with us is the sender's fault.
pub(crate) fn refusal(error: Error, counters: &mut Counters) -> Reply<'static> {
    match error {
        Error::Full | Error::TooManyMessages => {
            counters.refused_full += 1;
            replies::STORAGE_FULL
        }
        Error::ReadOnly | Error::Write(_) | Error::Stale => {
            counters.refused_failure += 1;
            replies::STORAGE_FULL
        }
        _ => {
            counters.refused_failure += 1;
            replies::LOCAL_ERROR
        }
    }
}
