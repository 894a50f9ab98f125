//! The power key, and how a box ends.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::thread;

use penstock_daemon::keeper::How;
use rustix::system::{RebootCommand, reboot};
use tokio::sync::mpsc;

use super::Error;

/// Where the kernel lists what has keys.
const LIST: &str = "/sys/class/input";
/// An event of the kernel (`struct input_event`): two words of time, type, code, value.
const EVENT_BYTES: usize = 24;
const TYPE_KEY: u16 = 1;
const CODE_POWER: u16 = 116;
const VALUE_PRESSED: i32 = 1;

/// How a box ends, in words.
pub(super) const fn words(how: How) -> &'static str {
    match how {
        How::Off => "power-off",
        How::Restart => "restart",
    }
}

/// The key, watched.
#[derive(Debug)]
pub(super) struct PowerKey(mpsc::Receiver<()>);

impl PowerKey {
    /// Finds what has keys, and watches all of it.
    pub(super) fn watch() -> Result<Self, Error> {
        let (tell, told) = mpsc::channel(1);
        let devices = devices().map_err(Error::NoPowerKey)?;
        for path in devices {
            let device = File::open(&path).map_err(|source| Error::File { path, source })?;
            let tell = tell.clone();
            let watch = move || watch(device, &tell);
            thread::Builder::new().name("keys".into()).spawn(watch).map_err(Error::io("start a thread"))?;
        }
        Ok(Self(told))
    }

    /// Waits until it is pressed. Without a key that is never.
    pub(super) async fn pressed(key: &mut Option<Self>) {
        if let Some(Self(told)) = key
            && told.recv().await.is_some()
        {
            return;
        }
        std::future::pending::<()>().await;
    }
}

fn devices() -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(LIST)?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let events: Vec<_> = names
        .filter(|name| name.starts_with("event"))
        .map(|name| Path::new("/dev/input").join(name))
        .collect();
    if events.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(events) }
}

fn watch(mut device: File, tell: &mpsc::Sender<()>) {
    let mut event = [0; EVENT_BYTES];
    while device.read_exact(&mut event).is_ok() {
        if is_power_key(&event) && tell.blocking_send(()).is_err() {
            return;
        }
    }
}

fn is_power_key(event: &[u8; EVENT_BYTES]) -> bool {
    let [.., t0, t1, c0, c1, v0, v1, v2, v3] = *event;
    u16::from_ne_bytes([t0, t1]) == TYPE_KEY
        && u16::from_ne_bytes([c0, c1]) == CODE_POWER
        && i32::from_ne_bytes([v0, v1, v2, v3]) == VALUE_PRESSED
}

/// Ends the box. Returns only if that fails.
pub(super) fn end(how: How) -> Result<(), Error> {
    let command = match how {
        How::Off => RebootCommand::PowerOff,
        How::Restart => RebootCommand::Restart,
    };
    reboot(command).map_err(Error::system("end the box"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_press_of_the_power_key_counts() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = [0; EVENT_BYTES];
            bytes[16..18].copy_from_slice(&kind.to_ne_bytes());
            bytes[18..20].copy_from_slice(&code.to_ne_bytes());
            bytes[20..].copy_from_slice(&value.to_ne_bytes());
            bytes
        };
        assert!(is_power_key(&event(TYPE_KEY, CODE_POWER, VALUE_PRESSED)));
        assert!(!is_power_key(&event(TYPE_KEY, CODE_POWER, 0)), "released");
        assert!(!is_power_key(&event(TYPE_KEY, 30, VALUE_PRESSED)), "another key");
        assert!(!is_power_key(&event(0, 0, 0)), "the end of a report");
    }
}
