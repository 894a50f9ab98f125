//! How the slots of a box stand, and how it is given another system or firmware.
//!
//! An update has a socket of its own, since it is long: a line of JSON ([`Offer`]), then the bytes of the bundle unless it is
//! on a device; the answer is lines of JSON ([`Step`]), of which the last one says how it ended. Who has gone does not hear
//! that, and changes nothing of it: a bundle that came whole and is right is written to the end.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::control::types::ErrorBody;

/// Where the first process takes updates.
pub const UPDATE_SOCKET: &str = "/run/init/update";
/// The longest line of an offer and of a step, in bytes.
pub const LINE_BYTES_MAX: u64 = 64 * 1024;
/// As much of a bundle is handed over at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// How long a step may take to come: an erase takes a second, a look at a whole bundle some.
const STEP_TIMEOUT: Duration = Duration::from_secs(120);

/// Which of the two kinds of software.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Software {
    /// Kernel and userland.
    System,
    /// What starts them, and the rescue.
    Firmware,
}

impl Software {
    /// Its name, as people and the partitions have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Firmware => "firmware",
        }
    }
}

/// How this start came about, as the firmware tells it. There is none where something else has started the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirmwareTold {
    /// The version of the firmware.
    pub firmware_version: String,
    /// The slot that it was started from: `a` or `b`.
    pub firmware_slot: String,
    /// The slot that this system was started from.
    pub system_slot: String,
    /// Which of them have to prove themselves.
    pub on_trial: Vec<Software>,
    /// What the last reset was for: `power`, `asked`, `watchdog`, `panic`, `firmware`, `rescue-turn`, `service`.
    pub reason: String,
    /// How many resets in a row were failures.
    pub resets: u8,
    /// How many turns the rescue has had since the system last stayed up.
    pub rescue_turns: u8,
}

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotView {
    /// `a` or `b`.
    pub slot: String,
    /// Whether what is in it runs now; of a firmware, whether it has started this.
    pub runs: bool,
    /// Whether it is started before the other one.
    pub preferred: bool,
    /// `empty`, `trial`, `confirmed` or `failed`.
    pub condition: String,
    /// Why it failed, or how often it may still be tried; one sentence.
    pub detail: Option<String>,
    /// What it claims to hold.
    pub version: Option<String>,
    /// The security version of that.
    pub security_version: Option<u32>,
}

/// A pair of slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairView {
    /// Of what.
    pub software: Software,
    /// The lowest security version that is started.
    pub floor: u32,
    /// Both.
    pub slots: Vec<SlotView>,
}

/// How the slots stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsView {
    /// What the firmware told.
    pub started: Option<FirmwareTold>,
    /// The pairs, the firmware first.
    pub pairs: Vec<PairView>,
    /// What is not as it should be, each a sentence.
    pub warnings: Vec<String>,
    /// The update that is under way.
    pub update: Option<Progress>,
    /// How the last one since the start ended, in one sentence.
    pub last_update: Option<String>,
    /// What is waited for before what is on trial is marked good, in one sentence.
    pub waits_for: Option<String>,
}

/// What came of a look at the whole content of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifiedView {
    /// Of what.
    pub software: Software,
    /// `a` or `b`.
    pub slot: String,
    /// What it holds; `null` if that is not to be known.
    pub version: Option<String>,
    /// Why the firmware would not start it, with its code.
    pub rejected: Option<String>,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doing {
    /// The bundle comes in.
    Receiving,
    /// It is looked whether it may be started here.
    Verifying,
    /// It is written.
    Writing,
    /// What was written is read back.
    Comparing,
}

/// How far an update is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Of what.
    pub doing: Doing,
    /// So much of it.
    pub done_bytes: u64,
    /// Of so much.
    pub all_bytes: u64,
}

/// A bundle, offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Offer {
    /// Its bytes follow, up to the end of the stream.
    Stream,
    /// It stands at the beginning of a block device, which the first process can read.
    Device {
        /// Which.
        path: String,
    },
}

/// What came of an update.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// Of what.
    pub software: Software,
    /// The slot that was written.
    pub slot: String,
    /// What it holds now.
    pub version: String,
}

/// What happens, as it happens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It goes on.
    Progress(Progress),
    /// It is done: the next start tries it.
    Done(Updated),
    /// It is not done, and why.
    Refused(ErrorBody),
}

/// Offers a bundle to the first process, with its bytes where they are here, and waits for what comes of it.
///
/// # Errors
/// What the first process says; `PS-D333` if it cannot be asked, or if the bytes cannot be had.
pub fn update(
    socket: &Path,
    offer: &Offer,
    bytes: &mut dyn Read,
    mut heard: impl FnMut(Progress),
) -> Result<Updated, ErrorBody> {
    let failed = |error: io::Error| ErrorBody {
        code: "PS-D333".to_owned(),
        message: format!("the bundle cannot be handed to the first process of the box: {error}"),
        help: "Only on a box can it be. If one is under way, `penstock update status` tells how far it is."
            .to_owned(),
    };
    let mut stream = UnixStream::connect(socket).map_err(failed)?;
    stream.set_read_timeout(Some(STEP_TIMEOUT)).map_err(failed)?;
    stream.set_write_timeout(Some(STEP_TIMEOUT)).map_err(failed)?;
    let mut line = serde_json::to_vec(offer).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(failed)?;
    hand_over(&mut stream, bytes, &mut heard).map_err(failed)?;
    let mut steps = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if steps.by_ref().take(LINE_BYTES_MAX).read_line(&mut line).map_err(failed)? == 0 {
            return Err(failed(io::ErrorKind::UnexpectedEof.into()));
        }
        match serde_json::from_str(&line).map_err(|error| failed(error.into()))? {
            Step::Progress(progress) => heard(progress),
            Step::Done(updated) => return Ok(updated),
            Step::Refused(why) => return Err(why),
        }
    }
}

/// Writes what there is. Who hears enough hangs up before the end, and says why: that is read afterwards.
fn hand_over(
    stream: &mut UnixStream,
    bytes: &mut dyn Read,
    heard: &mut impl FnMut(Progress),
) -> io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut done_bytes = 0;
    loop {
        match bytes.read(&mut piece) {
            Ok(0) => break,
            Ok(len) => {
                if stream.write_all(piece.get(..len).unwrap_or_default()).is_err() {
                    return Ok(());
                }
                done_bytes += len as u64;
                heard(Progress { doing: Doing::Receiving, done_bytes, all_bytes: 0 });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // If it has hung up, that is said.
    let _ = stream.shutdown(Shutdown::Write);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A first process that reads so much of a bundle, and then says this.
    fn first_process(
        path: &Path,
        reads_bytes: usize,
        says: Vec<Step>,
    ) -> thread::JoinHandle<(Offer, Vec<u8>)> {
        let listener = UnixListener::bind(path).unwrap();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let mut bytes = Vec::new();
            reader.take(reads_bytes as u64).read_to_end(&mut bytes).unwrap();
            for step in says {
                let mut line = serde_json::to_vec(&step).unwrap();
                line.push(b'\n');
                (&stream).write_all(&line).unwrap();
            }
            (serde_json::from_str(&line).unwrap(), bytes)
        })
    }

    #[test]
    fn a_bundle_is_handed_over_and_its_steps_are_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let updated = Updated { software: Software::System, slot: "b".into(), version: "1.2.3".into() };
        let progress = Progress { doing: Doing::Writing, done_bytes: 7, all_bytes: 9 };
        let says = vec![Step::Progress(progress), Step::Done(updated.clone())];
        let listening = first_process(&path, usize::MAX, says);
        let bundle = vec![5; 3 * PIECE_BYTES + 1];
        let mut heard = Vec::new();
        let ended = update(&path, &Offer::Stream, &mut bundle.as_slice(), |step| heard.push(step));
        assert_eq!(ended, Ok(updated));
        assert_eq!(listening.join().unwrap(), (Offer::Stream, bundle.clone()));
        assert_eq!(heard.last(), Some(&progress));
        assert_eq!(heard[heard.len() - 2].done_bytes, bundle.len() as u64);
    }

    #[test]
    fn who_is_refused_before_the_end_hears_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let why = ErrorBody { code: "PS-B011".into(), message: "not signed".into(), help: String::new() };
        let listening = first_process(&path, 416, vec![Step::Refused(why.clone())]);
        let ended = update(&path, &Offer::Stream, &mut io::repeat(1).take(8 << 20), |_| {});
        assert_eq!(ended, Err(why));
        assert_eq!(listening.join().unwrap().1.len(), 416);
    }

    #[test]
    fn without_a_first_process_there_is_no_update() {
        let folder = tempfile::tempdir().unwrap();
        let ended = update(&folder.path().join("none"), &Offer::Stream, &mut io::empty(), |_| {});
        assert_eq!(ended.unwrap_err().code, "PS-D333");
    }
}
