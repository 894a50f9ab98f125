//! A daemon that has what a test gives it and remembers what it was told, behind the real control socket.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use bytes::Bytes;
use penstock_daemon::control::adopt::{Adopted, AdoptedBelow, HandedOver};
use penstock_daemon::control::clients::{ClientsFilter, ClientsPage};
use penstock_daemon::control::quarantine::{BounceRequest, HeldFilter, HeldPage, HeldRow};
use penstock_daemon::control::recipients::{
    CheckedRecipient, DatabaseView, DomainView, FoundRecipient, ImportedView, ListView, PolicyView,
    RecipientsView, ReloadRequest, SkippedView, SourceView, Upload, ValidationEntry,
};
use penstock_daemon::control::replay::{ReplayPage, ReplayRequest};
use penstock_daemon::control::tls::{CheckView, Finding, HopTlsView, InstallRequest, TlsView, Verdict};
use penstock_daemon::control::types::*;
use penstock_daemon::control::volume::{ScrubView, VolumeInfo};
use penstock_daemon::control::{ControlSocket, Export, Kind, MailId, Operate, Refusal, Store, Who};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

/// 2026-03-01 02:00:00 UTC: the box believes it is then.
pub(crate) const NOW: u64 = 1_772_330_400_000;
pub(crate) const MINUTE: u64 = 60_000;
pub(crate) const HOUR: u64 = 60 * MINUTE;

/// What the fake daemon has.
pub(crate) struct World {
    pub status: Status,
    pub rows: Vec<QueueRow>,
    pub body: Vec<u8>,
    /// How many bytes of the body come before the volume fails; all of them if that is not less.
    pub readable_bytes: usize,
    pub events: Vec<EventView>,
    /// The canaries of each hop.
    pub canaries: Vec<CanaryView>,
    /// Who connects.
    pub clients: ClientsPage,
    /// Volumes that do not answer.
    pub unreachable: Vec<String>,
    pub settings: SettingsView,
    /// How the next trial of settings ends.
    pub outcome: Option<Trial>,
    /// Each request that changes something, as it arrived.
    pub told: Vec<String>,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<World>>);

impl Fake {
    fn did(&self, what: String) -> Result<ActionResult, Refusal> {
        self.0.lock().unwrap().told.push(what);
        Ok(ActionResult { summary: "done".into(), messages: 0, refused: vec![] })
    }
}

impl Operate for Fake {
    async fn status(&self) -> Result<Status, Refusal> {
        Ok(self.0.lock().unwrap().status.clone())
    }

    async fn queue(&self, filter: QueueFilter) -> Result<QueuePage, Refusal> {
        let world = self.0.lock().unwrap();
        let passes = |row: &&QueueRow| {
            filter.from.is_none_or(|from| row.id >= from)
                && filter.state.is_none_or(|state| row.state == state)
                && filter
                    .address
                    .as_ref()
                    .is_none_or(|text| row.sender.as_ref().is_some_and(|s| s.contains(text)))
        };
        let mut rows = world.rows.iter().filter(passes);
        let page: Vec<_> = rows.by_ref().take(filter.limit as usize).cloned().collect();
        Ok(QueuePage {
            now_unix_ms: NOW,
            rows: page,
            next: rows.next().map(|row| row.id),
            messages: world.status.mail.messages,
            bytes: world.status.mail.bytes,
            unreachable: world.unreachable.clone(),
        })
    }

    async fn canaries(&self, filter: CanaryFilter) -> Result<CanaryPage, Refusal> {
        let world = self.0.lock().unwrap();
        let hops =
            world.status.hops.iter().filter(|hop| filter.hop.as_ref().is_none_or(|name| *name == hop.name));
        let hops = hops.map(|hop| HopCanaries {
            hop: hop.name.clone(),
            proof: hop.proof.clone(),
            canaries: world.canaries.clone(),
        });
        Ok(CanaryPage { now_unix_ms: NOW, hops: hops.collect() })
    }

    async fn clients(&self, filter: ClientsFilter) -> Result<ClientsPage, Refusal> {
        let mut page = self.0.lock().unwrap().clients.clone();
        page.rows.truncate(filter.limit as usize);
        Ok(page)
    }

    async fn show(&self, id: MailId) -> Result<MessageView, Refusal> {
        let world = self.0.lock().unwrap();
        let row = world.rows.iter().find(|row| row.id == id).ok_or_else(|| Refusal::no_such_message(id))?;
        Ok(MessageView {
            now_unix_ms: NOW,
            row: row.clone(),
            sha256: Some("ab".repeat(32)),
            client: Some("198.51.100.7:2525".into()),
            helo: Some("mail.example.com".into()),
            tls: false,
            parameters: "BODY=8BITMIME".into(),
            recipient_list: vec![
                RecipientView {
                    address: "ann@example.org".into(),
                    fate: "delivered".into(),
                    parameters: "".into(),
                },
                RecipientView {
                    address: "mia@example.org".into(),
                    fate: "deferred".into(),
                    parameters: "NOTIFY=NEVER".into(),
                },
            ],
            events: world.events.clone(),
        })
    }

    async fn set_mode(&self, mode: Mode, reason: Option<String>, who: Who) -> Result<ActionResult, Refusal> {
        let mut world = self.0.lock().unwrap();
        if mode == Mode::Stop {
            return Err(Refusal::new(Kind::Conflict, "PS-T001", "not now", "Ask again later."));
        }
        world.told.push(format!("uid {}: {mode:?}, {reason:?}", who.uid));
        Ok(ActionResult { summary: format!("now: {}", mode.as_str()), messages: 0, refused: vec![] })
    }

    async fn release(&self, which: Selection, who: Who) -> Result<ActionResult, Refusal> {
        self.0.lock().unwrap().told.push(format!("uid {}: release {which:?}", who.uid));
        Ok(ActionResult { summary: "tried now".into(), messages: 2, refused: vec![] })
    }

    async fn confirm(&self, hop: Option<String>, who: Who) -> Result<ActionResult, Refusal> {
        self.0.lock().unwrap().told.push(format!("uid {}: confirm {hop:?}", who.uid));
        Ok(ActionResult { summary: "confirmed".into(), messages: 7, refused: vec![] })
    }

    async fn replay(&self, request: ReplayRequest, who: Who) -> Result<ReplayPage, Refusal> {
        let mut world = self.0.lock().unwrap();
        world.told.push(format!("uid {}: replay {request:?}", who.uid));
        if request.position.is_none() {
            let resumed_at = (!request.again && !request.dry_run).then(|| MailId::disk(17));
            let (messages, bytes, recipients) = (2, 3072, 3);
            let next = Some(MailId::disk(4097));
            return Ok(ReplayPage { messages, bytes, recipients, next, resumed_at, ..ReplayPage::default() });
        }
        let id = MailId::disk(4100);
        Ok(ReplayPage {
            messages: 1,
            bytes: 1024,
            recipients: 1,
            undated: 1,
            oldest_unix_ms: request.dry_run.then_some(NOW - 24 * HOUR),
            refused: if request.dry_run {
                vec![]
            } else {
                vec![Refused { id, error: Refusal::no_such_message(id).body }]
            },
            ..ReplayPage::default()
        })
    }

    async fn held(&self, filter: HeldFilter) -> Result<HeldPage, Refusal> {
        let row = |number: u64, said: &str| HeldRow {
            id: MailId::disk(number),
            received_unix_ms: Some(NOW - 2 * HOUR),
            size_bytes: 2048,
            sender: Some("ann@example.com".into()),
            recipients: vec!["mia@example.org".into()],
            held_recipients: 3,
            held_unix_ms: Some(NOW - HOUR),
            why: "refused".into(),
            said: said.into(),
        };
        let rows = [row(17, "550 5.1.1 gone \u{1b}[2J(RCPT)"), row(18, "550 5.7.1 spam (end of data)")];
        let is_wanted = |row: &HeldRow| filter.said.as_ref().is_none_or(|said| row.said.contains(said));
        let mut rows =
            rows.into_iter().filter(|row| filter.from.is_none_or(|from| row.id >= from)).filter(is_wanted);
        let page = rows.by_ref().take(filter.limit as usize).collect();
        let next = rows.next().map(|row| row.id);
        Ok(HeldPage { now_unix_ms: NOW, rows: page, next, unreachable: vec![] })
    }

    async fn bounce(&self, request: BounceRequest, who: Who) -> Result<ActionResult, Refusal> {
        let mut world = self.0.lock().unwrap();
        world.told.push(format!("uid {}: bounce {request:?}", who.uid));
        if !request.force {
            return Err(Refusal::new(Kind::Conflict, "PS-D278", "nobody knows the sender", "Say --force."));
        }
        Ok(ActionResult { summary: "told".into(), messages: 1, refused: vec![] })
    }

    async fn remove(&self, ids: Vec<MailId>, reason: String, who: Who) -> Result<ActionResult, Refusal> {
        let mut world = self.0.lock().unwrap();
        let (known, unknown): (Vec<_>, Vec<_>) =
            ids.into_iter().partition(|id| world.rows.iter().any(|row| row.id == *id));
        world.told.push(format!("uid {}: remove {known:?}, {reason:?}", who.uid));
        let refused = unknown.into_iter().map(|id| Refused { id, error: Refusal::no_such_message(id).body });
        Ok(ActionResult {
            summary: format!("{} removed", known.len()),
            messages: known.len() as u64,
            refused: refused.collect(),
        })
    }

    async fn export(&self, id: MailId, reason: String, who: Who) -> Result<Export, Refusal> {
        let mut world = self.0.lock().unwrap();
        if !world.rows.iter().any(|row| row.id == id) {
            return Err(Refusal::no_such_message(id));
        }
        world.told.push(format!("uid {}: export {id}, {reason:?}", who.uid));
        let (sender, chunks) = mpsc::channel(2);
        let (body, readable) = (world.body.clone(), world.readable_bytes);
        tokio::spawn(async move {
            for chunk in body[..readable.min(body.len())].chunks(65_536) {
                if sender.send(Ok(Bytes::copy_from_slice(chunk))).await.is_err() {
                    return;
                }
            }
            if readable < body.len() {
                let _ = sender.send(Err(Refusal::new(Kind::Internal, "PS-S033", "damaged", ""))).await;
            }
        });
        Ok(Export { size_bytes: world.body.len() as u64, sha256: [0xAB; 32], chunks })
    }

    async fn events(&self, filter: EventFilter) -> Result<EventPage, Refusal> {
        let world = self.0.lock().unwrap();
        let passes = |event: &&EventView| {
            filter.message.is_none_or(|id| event.message == Some(id))
                && filter.kind.as_ref().is_none_or(|kind| event.kind == *kind)
        };
        let all: Vec<_> = world.events.iter().filter(passes).cloned().collect();
        let left_off = all.len().saturating_sub(filter.limit as usize);
        Ok(EventPage { events: all[left_off..].to_vec(), more: left_off > 0 })
    }

    async fn settings(&self) -> Result<SettingsView, Refusal> {
        Ok(self.0.lock().unwrap().settings.clone())
    }

    async fn put_settings(&self, text: String, who: Who) -> Result<SettingsView, Refusal> {
        let mut world = self.0.lock().unwrap();
        if !world.settings.changeable {
            return Err(Refusal::new(Kind::Conflict, "PS-T003", "they are in a file", "Change it there."));
        }
        world.told.push(format!("uid {}: settings of {} bytes", who.uid, text.len()));
        let before = world.settings.clone();
        // Whoever looks next sees how it ended.
        let mut trial = world.outcome.clone();
        if let Some(trial) = &trial
            && trial.state == TrialState::Kept
        {
            world.settings.text = text;
        }
        world.settings.trial = trial.take();
        let running = Trial { number: 1, by: "you".into(), state: TrialState::Running, why: None };
        Ok(SettingsView { trial: Some(running), ..before })
    }

    async fn adopt(&self, _: HandedOver, _: Who) -> Result<Adopted, Refusal> {
        Ok(Adopted { id: None })
    }

    async fn adopted(&self, _: String) -> Result<AdoptedBelow, Refusal> {
        Ok(AdoptedBelow { below: 0 })
    }

    async fn volume(&self, _: Store) -> Result<VolumeInfo, Refusal> {
        Err(Refusal::new(Kind::Unavailable, "PS-T002", "the fake has no volume", ""))
    }

    async fn scrub(&self, _: Store) -> Result<ScrubView, Refusal> {
        Ok(self.0.lock().unwrap().status.volumes[0].scrub.clone())
    }

    async fn begin_scrub(&self, which: Store, repair: bool) -> Result<ScrubView, Refusal> {
        self.0.lock().unwrap().told.push(format!("scrub {}, repair {repair}", which.as_str()));
        self.scrub(which).await
    }

    async fn stop_scrub(&self, _: Store) -> Result<ActionResult, Refusal> {
        self.0.lock().unwrap().told.push("stop the scrub".into());
        Ok(ActionResult { summary: "stopped".into(), messages: 0, refused: vec![] })
    }

    async fn recipients(&self) -> Result<RecipientsView, Refusal> {
        Ok(recipients())
    }

    async fn find_recipient(&self, address: String) -> Result<FoundRecipient, Refusal> {
        let user = address.split(['+', '@']).next().unwrap_or_default().to_owned();
        Ok(FoundRecipient {
            known: Some(user != "eve"),
            database: (user == "mia").then(|| "DB01".into()),
            without_tag: address.contains('+'),
            address,
        })
    }

    async fn check_recipient(&self, address: String) -> Result<CheckedRecipient, Refusal> {
        Ok(CheckedRecipient {
            address,
            answer: "later".into(),
            reply: "450 4.1.1 User cannot be checked now".into(),
            reason: "unknown_by_old_list".into(),
            why: vec!["It is not on the list.".into(), "That is old.".into()],
        })
    }

    async fn reload_recipients(&self, request: ReloadRequest, who: Who) -> Result<RecipientsView, Refusal> {
        self.0.lock().unwrap().told.push(format!("uid {}: reload, believe {}", who.uid, request.believe));
        Ok(recipients())
    }

    async fn import_recipients(
        &self,
        mut file: Upload,
        dry_run: bool,
        who: Who,
    ) -> Result<ImportedView, Refusal> {
        let mut bytes = Vec::new();
        while let Some(chunk) = file.next_chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        if bytes.starts_with(b"wrong") {
            return Err(Refusal::new(Kind::BadRequest, "PS-D295", "not right: line 1: no address", ""));
        }
        let told = format!("uid {}: recipients of {} bytes, dry run {dry_run}", who.uid, bytes.len());
        self.0.lock().unwrap().told.push(told);
        let skipped = vec![SkippedView { why: "listed before".into(), count: 2, first_line: 1_017 }];
        let volumes = if dry_run { vec![] } else { recipients().volumes };
        Ok(ImportedView {
            kept: !dry_run,
            lines: 1_200,
            skipped,
            view: RecipientsView { volumes, ..recipients() },
        })
    }

    async fn clear_recipients(&self, who: Who) -> Result<ActionResult, Refusal> {
        self.0.lock().unwrap().told.push(format!("uid {}: clear recipients", who.uid));
        Ok(ActionResult { summary: "cleared".into(), messages: 0, refused: vec![] })
    }

    async fn tls(&self) -> Result<TlsView, Refusal> {
        let hop = HopTlsView {
            hop: "exchange".into(),
            wants: "opportunistic".into(),
            certificate: None,
            vouched: false,
            since_unix_ms: None,
            session: None,
            pins: Vec::new(),
            unpinned: None,
            trouble: None,
        };
        Ok(TlsView {
            now_unix_ms: NOW,
            clock_trusted: true,
            offered: true,
            certificate: None,
            origin: None,
            trouble: None,
            hops: vec![hop],
        })
    }

    async fn accept_certificate(&self, hop: String, who: Who) -> Result<ActionResult, Refusal> {
        self.did(format!("tls accept {hop} by {}", who.uid))
    }

    async fn reload_certificate(&self) -> Result<ActionResult, Refusal> {
        self.did("tls reload".to_owned())
    }

    async fn check_tls(&self) -> Result<CheckView, Refusal> {
        let finding = Finding {
            verdict: Verdict::Wrong,
            subject: "MTA-STS example.org".into(),
            what: "mx.example.org is an MX and not in the policy".into(),
            help: String::new(),
        };
        Ok(CheckView { findings: vec![finding] })
    }

    async fn install_certificate(&self, request: InstallRequest, _: Who) -> Result<ActionResult, Refusal> {
        self.did(format!("tls install {} bytes", request.certificate.len()))
    }

    async fn uninstall_certificate(&self, _: Who) -> Result<ActionResult, Refusal> {
        self.did("tls install --own".to_owned())
    }

    async fn metrics(&self) -> Result<String, Refusal> {
        Ok("penstock_up 1\n".into())
    }
}

/// The list of recipients that every fake has.
fn recipients() -> RecipientsView {
    let domain =
        |name: &str, addresses: u64, accepted: bool| DomainView { name: name.into(), addresses, accepted };
    let database = |name: &str, addresses: u64| DatabaseView { name: name.into(), addresses };
    RecipientsView {
        now_unix_ms: NOW,
        list: Some(ListView {
            imported_unix_ms: NOW - 26 * HOUR,
            clock_trusted: true,
            by: "mia".into(),
            recipients: 1_180,
            addresses: 2_345,
            databases: vec![database("DB01", 1_500), database("Sales", 800)],
            without_database: 45,
            domains: vec![domain("example.org", 2_300, true), domain("example.net", 40, false)],
            other_addresses: 5,
        }),
        unreadable: false,
        volumes: vec![Store::Disk, Store::Nor],
        warnings: vec!["No probe mailbox is configured for the database Sales.".into()],
        policy: PolicyView {
            decides: "older_list".into(),
            unknown: "No next hop is there: unknown recipients are put off with 450.".into(),
            away_since_unix_ms: Some(NOW - 5 * HOUR),
            in_step_unix_ms: Some(NOW - 26 * HOUR),
            in_step: false,
            validation: vec![ValidationEntry {
                hop: "exchange".into(),
                domain: "example.org".into(),
                validates: Some(false),
                words: "takes mail for every name".into(),
                found_unix_ms: Some(NOW - 7 * HOUR),
            }],
        },
        source: Some(SourceView {
            place: "ldaps://dc1.example.org".into(),
            read_unix_ms: Some(NOW - 26 * HOUR),
            last: "It was not taken: of 2345 addresses 900 are missing.".into(),
            trouble: Some(ErrorBody {
                code: "PS-D288".into(),
                message: "of 2345 addresses 900 are missing".into(),
                help: "Look whether it is whole.".into(),
            }),
        }),
    }
}

/// The fake daemon at work.
pub(crate) struct Daemon {
    world: Arc<Mutex<World>>,
    pub dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn with(world: World) -> Self {
        let world = Arc::new(Mutex::new(world));
        let dir = tempfile::tempdir().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let (path, fake) = (dir.path().join("control.sock"), Arc::new(Fake(Arc::clone(&world))));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let socket = ControlSocket::bind(&path).unwrap();
                ready.send(()).unwrap();
                socket.serve(fake, async { drop(stopped.await) }).await;
            });
        });
        is_ready.recv().unwrap();
        Self { world, dir, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// Runs `penstock` with these arguments against this daemon.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        run(&self.socket(), args)
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.world.lock().unwrap().told.clone()
    }

    /// Stops it and waits until it has gone.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Ran {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// What it printed, if it succeeded and complained of nothing.
    #[track_caller]
    pub(crate) fn printed(&self) -> &str {
        assert_eq!((self.exit, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        &self.stdout
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.printed()).unwrap()
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            exit: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// The command line, in a clean environment in which it is always UTC.
pub(crate) fn penstock(socket: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_penstock"));
    command.env_clear().env("TZ", "UTC").env("PENSTOCK_SOCKET", socket);
    command
}

pub(crate) fn run(socket: &std::path::Path, args: &[&str]) -> Ran {
    penstock(socket).args(args).output().unwrap().into()
}

/// A box in an outage: two messages, one tried in vain.
pub(crate) fn outage() -> World {
    World {
        status: Status {
            version: "0.1.0".into(),
            hostname: "mx.example.org".into(),
            now_unix_ms: NOW,
            clock_trusted: true,
            uptime_ms: 76 * HOUR,
            alerts: vec![],
            mail: MailView {
                messages: 1204,
                bytes: 327_680_000,
                oldest_unix_ms: Some(NOW - 312 * MINUTE),
                held: 0,
                damaged: 0,
                kept: 7,
                accepted: 2000,
                delivered: 796,
            },
            mode: ModeView { mode: Mode::Auto, since_unix_ms: None, by: None, reason: None },
            hops: vec![HopView {
                name: "exchange".into(),
                address: "192.0.2.25:25".into(),
                priority: 0,
                state: "down".into(),
                takes_mail: false,
                since_unix_ms: Some(NOW - 313 * MINUTE),
                last_reply: Some("connect: Connection refused".into()),
                next_probe_in_ms: Some(4_200),
                connections: 0,
                advice: Some("Check that the server is up.".into()),
                proof: ProofView::default(),
                cause: None,
                proving: None,
            }],
            through: ThroughView { why_not: Some("the next hop is down".into()), ..ThroughView::default() },
            progress: Progress {
                left_messages: 1204,
                left_bytes: 327_680_000,
                in_flight: 0,
                messages_per_minute: 0,
                bytes_per_minute: 0,
                estimate: None,
                still: Some("The next hop does not answer. Check that the server is up.".into()),
            },
            volumes: vec![VolumeView {
                name: "disk".into(),
                path: "/var/lib/penstock/volume".into(),
                health: Health::Good,
                takes_mail: true,
                why: None,
                medium_bytes: 4 << 30,
                capacity_bytes: 3 << 30,
                live_bytes: 330_000_000,
                reserved_bytes: 0,
                kept_bytes: 0,
                free_bytes: 2_890_000_000,
                messages: 1211,
                messages_max: 1_000_000,
                inflow_bytes_per_day: Some(283_115_520),
                full_in_s: Some(86_400 * 10),
                quarantined_segments: 0,
                erase_count_max: 3,
                scrub: ScrubView::default(),
            }],
            listener: ListenerView {
                addresses: vec!["[::]:25".into()],
                sessions: 3,
                sessions_max: 200,
                sources: 2,
                sources_at_limits: 0,
                short_of: None,
            },
            recipients: PolicyView::default(),
        },
        rows: vec![
            QueueRow {
                id: MailId::disk(17),
                state: MailState::Deferred,
                received_unix_ms: Some(NOW - 312 * MINUTE),
                size_bytes: 12_345,
                sender: Some("bob@example.com".into()),
                recipient: Some("mia@example.org".into()),
                recipients: 2,
                open_recipients: 1,
                attempts: 3,
                next_attempt_in_ms: Some(250_000),
                last_reply: Some("RCPT: 451 4.7.1 try later".into()),
            },
            QueueRow {
                id: MailId::disk(18),
                state: MailState::Queued,
                received_unix_ms: Some(NOW - 45_000),
                size_bytes: 900,
                sender: Some("".into()),
                recipient: Some("ann@example.org".into()),
                recipients: 3,
                open_recipients: 3,
                attempts: 0,
                next_attempt_in_ms: None,
                last_reply: None,
            },
        ],
        body: b"Subject: hello\r\n\r\nworld\r\n".to_vec(),
        readable_bytes: usize::MAX,
        unreachable: Vec::new(),
        canaries: Vec::new(),
        clients: ClientsPage::default(),
        events: vec![
            EventView {
                at_unix_ms: NOW - 312 * MINUTE,
                clock_trusted: true,
                boot: 4,
                kind: "accepted".into(),
                message: Some(MailId::disk(17)),
                text: "from 198.51.100.7".into(),
            },
            EventView {
                at_unix_ms: 5_000,
                clock_trusted: false,
                boot: 5,
                kind: "started".into(),
                message: None,
                text: "version 0.1.0".into(),
            },
        ],
        settings: SettingsView {
            text: "# site 17\n[system]\nhostname = \"mx.example.org\"\n".into(),
            place: "flash".into(),
            changeable: true,
            trial: None,
        },
        outcome: Some(Trial { number: 1, by: "you".into(), state: TrialState::Kept, why: None }),
        told: vec![],
    }
}
