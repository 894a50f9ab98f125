//! From the settings to a daemon that runs, and to its end.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use penstock_settings::Settings;
use penstock_spool::{Error as SpoolError, Event};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::authenticity::Authenticity;
use crate::clock::Clock;
use crate::control::{ControlSocket, Store};
use crate::deliver::{Delivery, SourceAddresses};
use crate::directory::Directory;
use crate::dns::Dns;
use crate::ledger::{Kind, Notes};
use crate::listen::{self, Listening};
use crate::metrics::Metrics;
use crate::news;
use crate::operator::Operator;
use crate::policy::Policy;
use crate::source::Sources;
use crate::storage::{self, Answered, Arrived, STALLED_AFTER, Started, Volumes};
use crate::{Error, notify, sandbox, stop, tls};

/// What a storage thread answers, in batches.
type Answers = mpsc::UnboundedReceiver<Vec<Answered>>;

/// Threads that read mail from the volume or resolve names, at most. They come when needed and go again.
const BLOCKING_THREADS: usize = 16;
/// Their stack. The deepest that they call is the system's resolver.
const BLOCKING_STACK_BYTES: usize = 512 * 1024;
/// How long what is under way may take to end when the daemon stops.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// As much of a reason to stop is read, in bytes.
const STOP_REASON_BYTES_MAX: u64 = 256;
/// How long reads that are under way may take to end after that.
const READER_GRACE: Duration = Duration::from_secs(1);

/// How often it is looked whether a storage thread has ended.
const JOIN_POLL: Duration = Duration::from_millis(10);
/// How long the disk may take to be mounted before mail is taken without it.
const MOUNT_GRACE: Duration = STALLED_AFTER;

/// What is not a setting: where the service runs, and what whoever started it wants to have said or done. By default: a host
/// that looks after its settings, its clock and its addresses itself, and no sandbox.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The file with the settings, which is shown to the operator.
    pub settings_file: PathBuf,
    /// On a box the socket of its first process, which keeps the settings.
    pub keeper: Option<PathBuf>,
    /// On a box, whose first process sets clock and addresses: the file in which it says whether the clock is right.
    pub clock_file: Option<PathBuf>,
    /// What is written into the ledger about settings that the service starts with.
    pub note: Option<String>,
    /// The file that says, when the service is asked to stop, why.
    pub stop_reason: Option<PathBuf>,
    /// Whether to let go of mode and states that were kept on the volumes: a factory reset.
    pub forget: bool,
    /// Whether all mail, and the ledger with it, was destroyed just before: the first thing that a new ledger says.
    pub erased: bool,
    /// Whether the process gives up the paths and calls that it does not need. That holds for all of it, so a process that
    /// does something else besides must not ask for it.
    pub sandbox: bool,
}

impl Options {
    /// The files that are read while the service runs.
    fn files<'f>(&'f self, settings: &'f Settings) -> impl Iterator<Item = &'f Path> {
        let recipients = settings.recipients.file.as_ref().map(|file| Path::new(file.as_str()));
        let said = [self.clock_file.as_deref(), self.stop_reason.as_deref(), recipients];
        let tls = &settings.tls;
        let certificate = [&tls.certificate_file, &tls.key_file, &tls.password_file].into_iter().flatten();
        let certificate = certificate.map(|path| Path::new(path.as_str()));
        said.into_iter().flatten().chain([self.settings_file.as_path()]).chain(certificate)
    }

    /// From which addresses to connect to next hops.
    fn source_addresses(&self, settings: &Settings) -> SourceAddresses {
        let fixed = settings.client.source_addresses.iter().copied();
        // On any other host what the settings call the appliance's addresses are not its own.
        let ours = settings.network.addresses.iter().filter(|_| self.clock_file.is_some());
        SourceAddresses::first_of_each_family(fixed.chain(ours.map(|ours| ours.address)))
    }
}

/// Runs the service until SIGTERM or SIGINT asks it to stop. A second one does not wait for what is under way.
///
/// # Errors
/// Why it could not start, or was not stopped cleanly.
pub fn run(settings: Settings, options: &Options) -> Result<(), Error> {
    let started = Instant::now();
    #[cfg(feature = "faults")]
    crate::speed::check()?;
    listen::raise_descriptors();
    if options.sandbox {
        sandbox::restrict_paths(&settings, options.files(&settings));
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(BLOCKING_STACK_BYTES)
        .thread_name("reader")
        .build()
        .map_err(Error::System)?;
    let clock = Arc::new(Clock::new(options.clock_file.as_deref()));
    let metrics = Arc::new(Metrics::default());
    let Started { volumes, threads } = storage::start(&settings, &clock, &metrics).map_err(Error::System)?;
    let (answers, threads): (Vec<_>, Vec<_>) =
        threads.into_iter().map(|running| (running.answers, running.thread)).unzip();
    let (settings, options) = (Arc::new(settings), Arc::new(options.clone()));
    let daemon = Daemon { settings, options, clock, metrics, volumes: volumes.clone(), started };
    let served = runtime.block_on(daemon.serve(answers));
    // A thread that hangs in the system's resolver is not waited for.
    runtime.shutdown_timeout(READER_GRACE);
    volumes.close();
    served.and(join(threads, &volumes))
}

/// Waits for the storage threads to end. One that is stuck in a read or a write cannot be waited for; what it had
/// acknowledged is on flash.
fn join(threads: Vec<JoinHandle<Result<(), SpoolError>>>, volumes: &Volumes) -> Result<(), Error> {
    let until = Instant::now() + STOP_GRACE;
    let mut closed = Ok(());
    for (thread, storage) in threads.into_iter().zip(volumes.all()) {
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(JOIN_POLL);
        }
        let volume = storage.store().as_str();
        closed = closed.and(match thread.is_finished().then(|| thread.join()) {
            Some(Ok(closed)) => closed.map_err(Error::Close),
            Some(Err(_)) => Err(Error::StorageGone),
            None => {
                error!(code = "PS-D242", volume, "the volume does not answer, and is left as it is");
                Err(Error::Close(SpoolError::ReadOnly))
            }
        });
    }
    closed
}

/// Waits until there is a volume to begin with: the disk, for as long as it may take to mount it if it is the only one. With
/// a reserve it is given a while, after which whichever is there will do; the other one is picked up when it comes.
///
/// # Errors
/// What is wrong with the disk, if none of them can be used.
async fn first_volumes(answers: &mut [Answers]) -> Result<(Vec<Arrived>, Vec<(Store, Error)>), Error> {
    let mut first = First::default();
    match answers {
        [disk] => first.take(disk.recv().await)?,
        [disk, reserve] => {
            let patience = tokio::time::sleep(MOUNT_GRACE);
            tokio::pin!(patience);
            let (mut waits_for_disk, mut waits_for_reserve) = (true, true);
            while waits_for_disk || waits_for_reserve {
                let is_late = patience.is_elapsed();
                if is_late && !first.arrived.is_empty() {
                    break;
                }
                tokio::select! {
                    batch = disk.recv(), if waits_for_disk => {
                        waits_for_disk = false;
                        first.take(batch)?;
                    }
                    batch = reserve.recv(), if waits_for_reserve => {
                        waits_for_reserve = false;
                        first.take(batch)?;
                    }
                    () = &mut patience, if !is_late => {}
                }
            }
        }
        _ => return Err(Error::StorageGone),
    }
    let First { mut arrived, absent } = first;
    if arrived.is_empty() {
        // The disk's comes first.
        let why = absent.into_iter().min_by_key(|(store, _)| *store);
        return Err(why.map_or(Error::StorageGone, |(_, error)| error));
    }
    // The disk first, whichever was quicker.
    arrived.sort_by_key(|arrived| arrived.store);
    Ok((arrived, absent))
}

/// What the storage threads said first.
#[derive(Default)]
struct First {
    arrived: Vec<Arrived>,
    absent: Vec<(Store, Error)>,
}

impl First {
    fn take(&mut self, batch: Option<Vec<Answered>>) -> Result<(), Error> {
        for answered in batch.ok_or(Error::StorageGone)? {
            match answered {
                Answered::Arrived(arrived) => self.arrived.push(*arrived),
                Answered::Absent(store, error) => self.absent.push((store, error)),
                // Nothing was asked yet.
                _ => {}
            }
        }
        Ok(())
    }
}

/// What all parts share.
struct Daemon {
    settings: Arc<Settings>,
    options: Arc<Options>,
    clock: Arc<Clock>,
    metrics: Arc<Metrics>,
    volumes: Volumes,
    started: Instant,
}

impl Daemon {
    async fn serve(self, mut answers: Vec<Answers>) -> Result<(), Error> {
        let mut signals = Signals::new()?;
        let (stop, stopping) = watch::channel(false);
        // Where there is a reserve the disk may still be on its way.
        let (mut arrived, absent) = tokio::select! {
            first = first_volumes(&mut answers) => first?,
            () = signals.next() => return Ok(()),
        };
        if self.options.forget {
            arrived.iter_mut().for_each(|arrived| arrived.kept.forget());
        }
        let directory =
            Arc::new(Directory::load(&self.volumes, self.settings.recipients.subaddress.delimiter()).await);
        let delivery = Delivery::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            Arc::clone(&self.metrics),
            (self.volumes.clone(), arrived),
            self.options.source_addresses(&self.settings),
            Arc::clone(&directory),
            stopping.clone(),
        )?;
        let (dns, notes) = (Dns::new(&self.settings), Arc::new(Notes::default()));
        let authenticity = Authenticity::new(
            Arc::clone(&self.settings),
            Arc::clone(&dns),
            Arc::clone(&self.clock),
            Arc::clone(&notes),
        );
        let policy = Policy::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            self.volumes.clone(),
            Arc::clone(&directory),
            Arc::clone(&delivery),
        );
        let listening = Listening::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            Arc::clone(&self.metrics),
            self.volumes.clone(),
            Arc::clone(&delivery),
            (dns, Arc::clone(&authenticity), Arc::clone(&notes), Arc::clone(&policy)),
            stopping.clone(),
        )?;
        let told = |store: Store| absent.iter().any(|(absent, _)| *absent == store);
        if self.volumes.taking().is_some_and(|taking| taking.store() != Store::Disk) && !told(Store::Disk) {
            delivery.lost(Store::Disk, "it is not mounted yet");
        }
        for (store, error) in absent {
            let volume = store.as_str();
            if error.is_of_other_version() {
                error!(code = "PS-D208", volume, %error, "a volume is of another version; nothing on it is touched");
            } else {
                error!(code = "PS-D204", volume, %error, "a volume cannot be used; it is tried again every 30 s");
            }
            delivery.lost(store, &error.to_string());
        }
        let mut dispatching = JoinSet::new();
        for answers in answers {
            dispatching.spawn(dispatch(answers, Arc::clone(&delivery)));
        }
        if self.options.forget {
            delivery.forget().await.map_err(Error::Forget)?;
            directory.replace(&self.volumes, None, None).await.map_err(Error::Forget)?;
        }
        if let Err(error) = delivery.save_tls(false).await {
            // A certificate that was made for this start is of this start alone.
            warn!(code = error.code(), %error, "the certificate that clients are shown is not kept yet");
        }
        tokio::spawn(authenticity.run(self.volumes.clone()));
        let (noting, volumes) = (Arc::clone(&notes), self.volumes.clone());
        tokio::spawn(async move { noting.run(&volumes).await });
        let mut tasks = self.start(&listening, &delivery, &directory, &policy, &stopping)?;
        let follow =
            self.options.clock_file.clone().map(|file| tokio::spawn(Arc::clone(&self.clock).follow(file)));
        if self.options.sandbox {
            sandbox::restrict_calls();
        }
        notify::ready();
        self.begin_ledger().await;
        if self.options.erased {
            self.record(Kind::Removed, "all mail, and the ledger before this, was erased at the console")
                .await;
        }
        if self.options.forget {
            self.record(Kind::Mode, "mode and states of the next hops begin anew: factory reset").await;
        }
        if let Some(note) = &self.options.note {
            self.record(Kind::Settings, note).await;
        }

        if let Some(keeper) = self.options.keeper.clone() {
            tasks.spawn(news::fetch(keeper, self.volumes.clone(), Arc::clone(&self.clock), stopping.clone()));
        }
        tokio::select! {
            _ = dispatching.join_next() => return Err(Error::StorageGone),
            () = signals.next() => {}
        }
        info!("stopping: no new mail is taken, what is under way is finished");
        notify::stopping();
        // If all have gone there is nobody left to tell.
        let _ = stop.send(true);
        if let Some(follow) = follow {
            follow.abort();
        }
        let finished = async {
            while tasks.join_next().await.is_some() {}
            listening.wait_until_empty().await;
            notes.write(&self.volumes).await;
            self.record(Kind::Stopped, &self.stop_reason()).await;
        };
        tokio::select! {
            _ = dispatching.join_next() => Err(Error::StorageGone),
            () = finished => Ok(()),
            () = tokio::time::sleep(STOP_GRACE) => {
                warn!(code = "PS-D240", "not everything ended in time; what was not acknowledged is dropped");
                Ok(())
            }
            () = signals.next() => Err(Error::Forced),
        }
    }

    /// Starts everything that serves somebody.
    fn start(
        &self,
        listening: &Arc<Listening>,
        delivery: &Arc<Delivery>,
        directory: &Arc<Directory>,
        policy: &Arc<Policy>,
        stopping: &watch::Receiver<bool>,
    ) -> Result<JoinSet<()>, Error> {
        let mut tasks = JoinSet::new();
        let sources = Sources::new(
            Arc::clone(&self.settings),
            Arc::clone(&self.clock),
            self.volumes.clone(),
            Arc::clone(directory),
            Arc::clone(policy),
            self.options.source_addresses(&self.settings),
        );
        let socket = ControlSocket::bind(Path::new(self.settings.system.control_socket.as_str()))?;
        let operator = Operator {
            settings: Arc::clone(&self.settings),
            options: Arc::clone(&self.options),
            clock: Arc::clone(&self.clock),
            metrics: Arc::clone(&self.metrics),
            volumes: self.volumes.clone(),
            listening: Arc::clone(listening),
            delivery: Arc::clone(delivery),
            directory: Arc::clone(directory),
            policy: Arc::clone(policy),
            sources: Arc::clone(&sources),
            started: self.started,
            adopting: tokio::sync::Mutex::default(),
            bouncing: tokio::sync::Mutex::default(),
        };
        for address in &self.settings.listen.addresses {
            let listener = listen::bind(*address)?;
            info!(%address, "listening");
            tasks.spawn(listen::accept(listener, Arc::clone(listening)));
        }
        tasks.spawn(listen::watch_resources(Arc::clone(listening)));
        tasks.spawn(socket.serve(Arc::new(operator), stop::signalled(stopping.clone())));
        tasks.spawn(Arc::clone(delivery).run());
        tasks.spawn(Arc::clone(delivery).count());
        tasks.spawn(notify::watchdog(self.volumes.clone(), stopping.clone()));
        // It ends with the runtime: what hangs while we stop is noticed, too.
        tokio::spawn(self.volumes.clone().watch(Arc::clone(delivery)));
        tokio::spawn(Arc::clone(directory).keep_in_step(self.volumes.clone()));
        tokio::spawn(Arc::clone(policy).watch());
        tokio::spawn(sources.watch());
        tokio::spawn(Arc::clone(delivery).find_out());
        tokio::spawn(tls::watch(Arc::clone(delivery.tls()), Arc::clone(&self.clock), self.volumes.clone()));
        Ok(tasks)
    }

    /// What is written into the ledger about the stop, with its reason if whoever asked for it left one.
    fn stop_reason(&self) -> String {
        let mut reason = String::new();
        if let Some(file) = self.options.stop_reason.as_deref().and_then(|path| File::open(path).ok()) {
            // What cannot be read is not known.
            let _ = file.take(STOP_REASON_BYTES_MAX).read_to_string(&mut reason);
        }
        match reason.lines().next() {
            Some(reason) if !reason.trim().is_empty() => format!("stopped: {}", reason.trim()),
            _ => "stopped".to_owned(),
        }
    }

    /// The first thing that is written into the ledger in each run. On a box it is read again, and the first process hears
    /// that this volume gives back what it takes: an update that cannot write is not good.
    async fn begin_ledger(&self) {
        const TEXT: &str = "started";
        if self.options.keeper.is_none() {
            return self.record(Kind::Started, TEXT).await;
        }
        match self.volumes.prove(Kind::Started.event(self.clock.stamp(), None, TEXT.to_owned())).await {
            Ok(true) => notify::volume_proven(),
            Ok(false) => {
                warn!(code = "PS-D209", "the volume does not give back what was written to the ledger");
            }
            Err(error) => warn!(code = error.code(), %error, "the start could not be written to the ledger"),
        }
    }

    async fn record(&self, kind: Kind, text: &str) {
        let event: Event = kind.event(self.clock.stamp(), None, text.to_owned());
        if let Err(error) = self.volumes.record(event).await {
            warn!(code = error.code(), %error, text, "that could not be written to the ledger");
        }
    }
}

/// Hands on what the storage thread answers, in its order.
async fn dispatch(mut answers: Answers, delivery: Arc<Delivery>) {
    while let Some(batch) = answers.recv().await {
        for answered in batch {
            answered.deliver(&delivery);
        }
        delivery.wake();
    }
}

/// The signals that ask the daemon to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let terminate = signal(SignalKind::terminate()).map_err(Error::System)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(Error::System)?;
        Ok(Self { terminate, interrupt })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
