//! What somebody at the box wants to see of it, apart from its mail.

use std::fs;
use std::io::{self, Write as _};

use jiff::Timestamp;

use crate::client::Client;
use crate::commands::{self, await_it};
use crate::failure::Failure;
use crate::init::{CLOCK_FILE, IDENTITY_FILE, LOG_FILE, OLDER_LOG_FILE, serial};
use crate::memory::Memory;
use crate::text::Screen;
use crate::text::human::{plain, span};

/// Reads one of the kernel's small files, or one of the box's own.
fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| Failure::file(path.as_ref(), "read", &error))
}

/// Which box and which software this is, and for how long it has run.
pub(super) fn version(screen: &mut Screen) -> Result<(), Failure> {
    let kernel = rustix::system::uname();
    let uptime = read("/proc/uptime")?;
    let up_s = uptime.split('.').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    writeln!(
        screen,
        "Penstock {}, {} {} ({}), up {}",
        env!("CARGO_PKG_VERSION"),
        kernel.sysname().to_string_lossy(),
        kernel.release().to_string_lossy(),
        kernel.machine().to_string_lossy(),
        span(up_s * 1000),
    )?;
    if let Some(line) = commands::update::short() {
        writeln!(screen, "{}", plain(&line))?;
    }
    let known = ["serial", "mac", "board", "hostname"].map(|name| (name, serial::fact(name)));
    if known[0].1.is_none() {
        writeln!(screen, "no serial number: {IDENTITY_FILE} is not there or has none")?;
    }
    for (name, value) in known {
        if let Some(value) = value {
            writeln!(screen, "{name:<9}{}", plain(&value))?;
        }
    }
    Ok(())
}

/// The newest lines of what the service has said.
pub(super) fn journal(count: u16, screen: &mut Screen) -> Result<(), Failure> {
    // The older part is not there before the newer one was full.
    let mut text = fs::read(OLDER_LOG_FILE).unwrap_or_default();
    match fs::read(LOG_FILE) {
        Ok(bytes) => text.extend(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound && text.is_empty() => {}
        Err(error) => return Err(Failure::file(LOG_FILE.as_ref(), "read", &error)),
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(usize::from(count))..] {
        writeln!(screen, "{}", plain(line))?;
    }
    Ok(())
}

/// How much memory there is.
pub(super) fn memory(screen: &mut Screen) -> Result<(), Failure> {
    let memory = Memory::now();
    for (name, label) in [
        ("MemTotal", "in all"),
        ("MemAvailable", "free for whoever asks"),
        ("AnonPages", "used by processes"),
        ("Cached", "copies of what is on disk, and files in memory"),
        ("Slab", "used by the kernel"),
    ] {
        if let Some(kib) = memory.kib(name) {
            writeln!(screen, "{kib:>9} KiB  {label}")?;
        }
    }
    Ok(())
}

/// What time it is.
pub(super) fn clock(screen: &mut Screen) -> Result<(), Failure> {
    writeln!(screen, "system  {} UTC", Timestamp::now().strftime("%Y-%m-%d %H:%M:%S"))?;
    let part = |name: &str| read(&format!("/sys/class/rtc/rtc0/{name}"));
    match (part("date"), part("time")) {
        (Ok(date), Ok(time)) => writeln!(screen, "chip    {} {} UTC", date.trim(), time.trim())?,
        _ => writeln!(screen, "chip    there is none: the time is lost whenever the power is")?,
    }
    for line in read(CLOCK_FILE)?.lines() {
        match line.split_once(" = ") {
            Some(("trusted", "true")) => writeln!(screen, "trusted yes")?,
            Some(("trusted", _)) => {
                writeln!(screen, "trusted no: nothing expires, and a hold does not end by itself")?;
            }
            Some(("why", why)) => writeln!(screen, "        {}", plain(why.trim_matches('"')))?,
            _ => {}
        }
    }
    Ok(())
}

/// What the service counts, but for what only explains it to a program.
pub(super) fn counters(screen: &mut Screen) -> Result<(), Failure> {
    let text = await_it(async { Client::new(None).metrics().await })??;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        writeln!(screen, "{}", plain(line))?;
    }
    Ok(())
}

/// What the device tree says of the machine, and what the kernel was told.
pub(super) fn device_tree(screen: &mut Screen) -> Result<(), Failure> {
    let root = "/sys/firmware/devicetree/base";
    for name in ["model", "compatible", "chosen/bootargs"] {
        let value = fs::read(format!("{root}/{name}")).unwrap_or_default();
        // Texts end in a zero byte; some properties hold several.
        let texts: Vec<_> = value.split(|byte| *byte == 0).filter(|text| !text.is_empty()).collect();
        for text in texts {
            writeln!(screen, "{name:16} {}", plain(&String::from_utf8_lossy(text)))?;
        }
    }
    for entry in fs::read_dir(root).map_err(|error| Failure::file(root.as_ref(), "read", &error))?.flatten() {
        if entry.path().is_dir() {
            writeln!(screen, "node             {}", plain(&entry.file_name().to_string_lossy()))?;
        }
    }
    Ok(())
}
