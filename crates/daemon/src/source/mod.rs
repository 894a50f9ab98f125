//! Where the list of recipients is read from by itself: a file that somebody writes anew, or the site's directory.
//!
//! What is read counts if it says something else than the list that is there, and if that can be right: a reading that lacks
//! more than a third of those known before is believed only at the operator's word, and none while no next hop is there. A
//! directory that is being restored, or whose reader lost a right, has few people in it. One that says the same as the list
//! is why the list is in step.

mod file;
mod ldap;

use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_settings::Settings;
use penstock_spool::Stamp;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::clock::{Clock, host_time};
use crate::control::recipients::SourceView;
use crate::control::types::ErrorBody;
use crate::deliver::SourceAddresses;
use crate::directory::{Directory, List};
use crate::ledger::Kind;
use crate::policy::Policy;
use crate::storage::Volumes;
use file::{FromFile, Mark};

/// How often it is looked whether the file has changed, and whether it is time to ask the directory.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long after a directory that could not be read the next try is, at most.
const AGAIN_AFTER: Duration = Duration::from_secs(300);
/// A reading that lacks more than one in so many of those known before is not believed.
const LOST_SHARE: usize = 3;

/// Why a list was not taken, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) body: ErrorBody,
}

impl Trouble {
    fn new(code: &str, message: String, help: String) -> Self {
        Self { body: ErrorBody { code: code.to_owned(), message, help } }
    }
}

/// Where it is read from.
enum Place {
    File(PathBuf),
    Directory,
}

/// What is read by itself.
pub(crate) struct Sources {
    place: Option<Place>,
    /// For the operator.
    name: String,
    settings: Arc<Settings>,
    clock: Arc<Clock>,
    volumes: Volumes,
    directory: Arc<Directory>,
    policy: Arc<Policy>,
    from: SourceAddresses,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When it was last read without mistake.
    read: Option<Stamp>,
    /// What came of the last try.
    last: String,
    trouble: Option<Trouble>,
    /// The file as it was last read, or tried.
    tried: Option<Mark>,
    /// The file as it was when last looked at.
    seen: Option<Mark>,
    /// When the directory is asked next.
    due: Option<Instant>,
}

/// What was read.
struct Fetched {
    list: List,
    at: Stamp,
    age: Duration,
    skipped: u64,
}

impl Sources {
    pub(crate) fn new(
        settings: Arc<Settings>,
        clock: Arc<Clock>,
        volumes: Volumes,
        directory: Arc<Directory>,
        policy: Arc<Policy>,
        from: SourceAddresses,
    ) -> Arc<Self> {
        let (place, name) = match (&settings.recipients.file, &settings.ldap.url) {
            (Some(path), _) => (Some(Place::File(PathBuf::from(path.as_str()))), path.as_str().to_owned()),
            (None, Some(url)) => (Some(Place::Directory), url.to_string()),
            (None, None) => (None, String::new()),
        };
        let state = Mutex::new(State { last: "It was not read yet.".to_owned(), ..State::default() });
        Arc::new(Self { place, name, settings, clock, volumes, directory, policy, from, state })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands; `None` if the list is read from nowhere by itself.
    pub(crate) fn view(&self) -> Option<SourceView> {
        self.place.as_ref()?;
        let state = self.lock();
        Some(SourceView {
            place: self.name.clone(),
            read_unix_ms: state.read.map(|read| read.unix_ms),
            last: state.last.clone(),
            trouble: state.trouble.as_ref().map(|trouble| trouble.body.clone()),
        })
    }

    /// Reads for good whenever there is reason to.
    pub(crate) async fn watch(self: Arc<Self>) {
        let Some(place) = &self.place else { return };
        loop {
            let is_due = match place {
                Place::File(path) => self.file_has_changed(path).await,
                Place::Directory => self.lock().due.is_none_or(|due| Instant::now() >= due),
            };
            if is_due && !self.policy.is_frozen() {
                // Told where it happened.
                let _ = self.reload(false, None).await;
            } else if is_due {
                self.lock().last =
                    "It is not read while no next hop is there: what was known when the outage began counts."
                        .to_owned();
            }
            tokio::time::sleep(host_time(LOOK_EVERY)).await;
        }
    }

    /// Whether a file has changed since it was tried, and is at rest.
    async fn file_has_changed(&self, path: &std::path::Path) -> bool {
        let path = path.to_owned();
        let Ok(now) = tokio::task::spawn_blocking(move || Mark::now(&path)).await else { return false };
        let mut state = self.lock();
        let is_at_rest = std::mem::replace(&mut state.seen, now) == now;
        match now {
            Some(now) => is_at_rest && state.tried != Some(now),
            // That it is not there is told once, and again when it has been there.
            None => is_at_rest && state.trouble.is_none(),
        }
    }

    /// Reads now. What came of it, a sentence; nothing if there is nowhere to read from.
    ///
    /// # Errors
    /// Why nothing came of it.
    pub(crate) async fn reload(&self, believe: bool, by: Option<&str>) -> Result<Option<String>, Trouble> {
        let Some(place) = &self.place else { return Ok(None) };
        let Some(_change) = self.directory.try_change() else {
            return Err(Trouble::new(
                "PS-D296",
                "another list of recipients is being imported at this moment".to_owned(),
                "Try again in a minute.".to_owned(),
            ));
        };
        let outcome = match self.fetch(place).await {
            Ok(fetched) => self.take(fetched, believe, by).await,
            Err(trouble) => Err(trouble),
        };
        let rest = match outcome {
            Ok(_) => self.settings.ldap.interval,
            Err(_) => self.settings.ldap.interval.min(AGAIN_AFTER),
        };
        let is_news = {
            let mut state = self.lock();
            state.due = Some(Instant::now() + host_time(rest));
            let trouble = outcome.as_ref().err().cloned();
            state.last = match &outcome {
                Ok(what) => what.clone(),
                Err(trouble) => format!("It was not taken: {}.", trouble.body.message),
            };
            std::mem::replace(&mut state.trouble, trouble.clone()) != trouble
        };
        match &outcome {
            Err(trouble) if is_news => {
                let ErrorBody { code, message, help } = &trouble.body;
                warn!(code, help, "{message}");
                let event = Kind::Recipients.event(self.clock.stamp(), None, format!("not taken: {message}"));
                // Told in the log already; what cannot be recorded now is no reason to stop.
                let _ = self.volumes.record(event).await;
            }
            _ => {}
        }
        outcome.map(Some)
    }

    async fn fetch(&self, place: &Place) -> Result<Fetched, Trouble> {
        let key = match self.directory.list() {
            Some(list) => list.key(),
            None => random_key()?,
        };
        let now = self.clock.stamp();
        match place {
            Place::File(path) => {
                let (path, name) = (path.clone(), self.name.clone());
                let path_of = path.clone();
                let read = tokio::task::spawn_blocking(move || file::read(&path, key, now, &name)).await;
                let read = read.map_err(|_| stopping())?;
                self.lock().tried = match &read {
                    Ok(FromFile { mark, .. }) => Some(*mark),
                    Err(_) => tokio::task::spawn_blocking(move || Mark::now(&path_of)).await.ok().flatten(),
                };
                let FromFile { list, at, age, .. } = read?;
                Ok(Fetched { list, at, age, skipped: 0 })
            }
            Place::Directory => {
                let (list, skipped) = ldap::read(&self.settings.ldap, self.from, key, now).await?;
                Ok(Fetched { list, at: now, age: Duration::ZERO, skipped })
            }
        }
    }

    /// Takes what was read, if it can be believed.
    async fn take(&self, fetched: Fetched, believe: bool, by: Option<&str>) -> Result<String, Trouble> {
        let Fetched { list, at, age, skipped } = fetched;
        self.lock().read = Some(self.clock.stamp());
        let (count, recipients) = (list.len(), list.about.recipients);
        let before = self.directory.list();
        if let Some(before) = &before {
            if before.says_the_same(&list) {
                self.policy.agreed(at, age);
                return Ok(format!("It says the same as the list: {count} addresses."));
            }
            let lost = lost(before, &list);
            if let Some(lost) = lost.filter(|_| !believe) {
                return Err(Trouble::new(
                    "PS-D288",
                    format!(
                        "of {} addresses on the list of recipients {lost} are missing in {}, more than a third",
                        before.len(),
                        self.name
                    ),
                    "Look whether it is whole. `penstock recipients reload --believe` takes it; until then the list from \
                     before counts."
                        .to_owned(),
                ));
            }
        }
        let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        let mono_ms = self.clock.mono_ms().checked_sub(age_ms);
        self.directory.replace(&self.volumes, Some(list), mono_ms).await.map_err(|error| {
            Trouble::new(
                "PS-D298",
                format!("the list of recipients from {} cannot be kept: {error}", self.name),
                "The list from before counts. It is read again.".to_owned(),
            )
        })?;
        let by = by.map(|by| format!(", as {by} asked")).unwrap_or_default();
        let passed = if skipped == 0 { String::new() } else { format!(", {skipped} passed over") };
        let what =
            format!("read from {}{by}: {recipients} recipients with {count} addresses{passed}", self.name);
        info!("the list of recipients was {what}");
        let event = Kind::Recipients.event(self.clock.stamp(), None, what.clone());
        let _ = self.volumes.record(event).await;
        Ok(format!("It was {what}."))
    }
}

/// How many addresses of a list another one lacks, if that is more than can be believed.
fn lost(before: &List, after: &List) -> Option<usize> {
    let lost = before.missing_from(after);
    (lost.saturating_mul(LOST_SHARE) > before.len()).then_some(lost)
}

fn stopping() -> Trouble {
    Trouble::new("PS-D254", "the daemon is stopping".to_owned(), String::new())
}

/// A key for a list that is the first.
fn random_key() -> Result<[u8; 16], Trouble> {
    let mut key = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut key))
        .map_err(|error| Trouble::new("PS-D005", format!("no random bytes: {error}"), String::new()))?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Gather;

    fn list(range: std::ops::Range<u32>) -> List {
        let mut gather = Gather::new([7; 16], Stamp::default(), "x".into());
        for n in range {
            gather.add([format!("user{n}@x.org").as_str()].into_iter(), None).unwrap();
        }
        gather.finish().unwrap().0
    }

    #[test]
    fn a_list_may_lose_a_third_and_no_more_however_many_are_new() {
        let before = list(0..90);
        assert_eq!(lost(&before, &list(30..90)), None);
        assert_eq!(lost(&before, &list(31..90)), Some(31));
        assert_eq!(lost(&before, &list(31..500)), Some(31), "others do not make up for them");
        assert_eq!(lost(&before, &list(0..500)), None);
    }
}
