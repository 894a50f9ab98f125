//! What the first process of a box is asked, and how: the language between it, the daemon and the console.
//!
//! The first process keeps the settings in flash, sets up the network and ends the box; it alone is root. One question a
//! connection on a Unix socket: a [`Request`] as JSON, then the end of the stream; the answer is JSON as well, [`Said`]. Who
//! may ask what is for the first process to decide, by what the kernel says of who is at the other end.

pub mod slots;

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use slots::{FirmwareTold, Software};

use crate::control::types::{ErrorBody, Trial};

/// Where the first process listens.
pub const SOCKET: &str = "/run/init/requests";
/// What the daemon tells it once it has read again what it wrote on a volume in this run, as it tells that it is ready
/// (sd_notify(3)).
pub const VOLUME_PROVEN: &str = "X_PENSTOCK_VOLUME_PROVEN=1";
/// So many sentences for the ledger are kept on either side while nobody takes them; the oldest goes first.
pub const NEWS_MAX: usize = 32;
/// The longest request and the longest answer, in bytes: settings may be 64 KiB, and each of their bytes may become six.
pub const MESSAGE_BYTES_MAX: u64 = 512 * 1024;
/// How long an answer may take. A look for who has an address already, and an erase of flash, take seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// The settings, and how the last trial of others went: [`Kept`].
    Settings,
    /// Run with these settings, and keep them if the service is well with them: [`Kept`].
    Try {
        /// The text of the file.
        text: String,
        /// Who wants it. Counts only if the daemon asks, which knows.
        by: String,
    },
    /// Set up the network as these settings have it, for a look before they are tried: [`Network`]. What is not tried
    /// then is put back after a while.
    Network {
        /// The text of a file that may lack all other sections.
        text: String,
        /// Whether to take an address that somebody else has.
        even_if_taken: bool,
    },
    /// Put the network back as the kept settings have it: [`Network`].
    NetworkBack,
    /// How this start of the box came about, and what happened since: [`Start`].
    Start,
    /// What the ledger is to say of the box, each sentence once: [`News`]. For the daemon alone, which writes it down.
    News,
    /// Somebody is at the console, so that the box is not started again under their hands: [`Done`].
    Attended,
    /// How the slots stand: [`SlotsView`](slots::SlotsView).
    Slots,
    /// Look at the whole content of all slots: a list of [`VerifiedView`](slots::VerifiedView).
    Verify,
    /// What is on trial has proved itself, as somebody says who knows: [`Done`].
    MarkGood,
    /// Go back to the other slot with the next start: [`Done`].
    RollBack {
        /// Of what.
        software: Software,
    },
    /// End the box: [`Done`].
    End {
        /// How.
        how: How,
    },
    /// Forget what the operator set: [`Done`].
    Reset {
        /// What exactly.
        what: Reset,
        /// The serial number of the box, typed by who wants it.
        serial: String,
    },
}

/// How a box ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// The power goes off.
    Off,
    /// It starts again.
    Restart,
}

/// What is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reset {
    /// The settings, and what release remembers: mode and states. The mail stays.
    Settings,
    /// The mail, all of it. The settings stay.
    Mail,
}

/// What the first process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said<T> {
    /// What was asked for.
    Well(T),
    /// Why not.
    Refused(ErrorBody),
}

/// The settings that are kept, and the last trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// The text in flash; `null` where there is none that could be used.
    pub text: Option<String>,
    /// Why there is none.
    pub why_none: Option<String>,
    /// The last trial since the box was started.
    pub trial: Option<Trial>,
}

/// What came of setting up the network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Addresses that are not taken since somebody has them: who, as a MAC address.
    pub taken: Vec<(IpAddr, String)>,
    /// Why it is not up, if it is not.
    pub failed: Option<String>,
}

/// How a start came about, and what happened since.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Whether the watchdog says that it was it; `null` where it cannot say.
    pub by_watchdog: Option<bool>,
    /// How often the service ended by itself or was killed since then.
    pub service_ends: u32,
    /// How the service ended last, one sentence.
    pub last_end: Option<String>,
    /// What the firmware told; `null` where something else has started the kernel.
    #[serde(default)]
    pub firmware: Option<FirmwareTold>,
}

/// What the ledger is to say of the box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct News {
    /// What has come to pass since it was last asked, in order.
    pub sentences: Vec<String>,
}

/// It is done, or will be in a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What, one sentence.
    pub summary: String,
}

/// Asks the first process, and waits for its answer.
///
/// # Errors
/// What it says, or `PS-D332` if it cannot be asked.
pub fn ask<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, ErrorBody> {
    let answer = exchange(socket, request).map_err(|error| ErrorBody {
        code: "PS-D332".to_owned(),
        message: format!("the first process of the box cannot be asked: {error}"),
        help: "Only on a box can it be, by the service and the console; elsewhere use what the system has for it."
            .to_owned(),
    })?;
    match answer {
        Said::Well(answer) => Ok(answer),
        Said::Refused(why) => Err(why),
    }
}

fn exchange<T: DeserializeOwned>(socket: &Path, request: &Request) -> io::Result<Said<T>> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    stream.write_all(&serde_json::to_vec(request)?)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(MESSAGE_BYTES_MAX).read_to_end(&mut answer)?;
    Ok(serde_json::from_slice(&answer)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_question_is_answered_or_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let refusal = ErrorBody { code: "PS-T001".to_owned(), message: "no".to_owned(), help: String::new() };
        let answers = [Said::Well(Done { summary: "soon".to_owned() }), Said::Refused(refusal.clone())];
        let server = std::thread::spawn(move || {
            answers.map(|answer| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = String::new();
                stream.read_to_string(&mut asked).unwrap();
                stream.write_all(&serde_json::to_vec(&answer).unwrap()).unwrap();
                serde_json::from_str::<Request>(&asked).unwrap()
            })
        });
        let request = Request::End { how: How::Off };
        assert_eq!(ask::<Done>(&path, &request).unwrap().summary, "soon");
        assert_eq!(ask::<Done>(&path, &request), Err(refusal));
        assert_eq!(server.join().unwrap(), [request.clone(), request.clone()]);
        assert_eq!(ask::<Done>(&path, &request).unwrap_err().code, "PS-D332", "nobody listens any more");
    }
}
