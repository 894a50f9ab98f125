//! `penstock volume qualify`

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

use penstock_flash_linux::qualify::trial::{self, Trial, place};
use penstock_flash_linux::qualify::{Attributes, Latencies, Latency, Verdict, judge};
use serde_json::{Value, json};

use super::image::volume_failure;
use crate::args::Qualify;
use crate::commands::write_json;
use crate::failure::{Exit, Failure};
use crate::text::human::{count, counted, plain, span};
use crate::text::{Screen, Style};

/// How long a witness may be silent before it counts as gone.
const WITNESS_TIMEOUT: Duration = Duration::from_secs(10);
/// How often numbers are told on standard output.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// The longest line that a machine that writes may send: a number of 20 digits.
const LINE_BYTES_MAX: u64 = 21;

pub(super) fn run(asked: &Qualify, screen: &mut Screen) -> Result<(), Failure> {
    if let Some(address) = asked.listen {
        return listen(address, screen);
    }
    // The parser has seen to it that there is one.
    let path = asked.path.as_deref().unwrap_or(Path::new("."));
    if let Some(number) = asked.verify {
        return verify(path, number, asked.json, screen);
    }
    let is_device = std::fs::metadata(path).is_ok_and(|found| found.file_type().is_block_device());
    if is_device && !asked.destroy {
        return look(path, asked.json, screen);
    }
    if asked.write { write(path, asked, screen) } else { measure(path, asked.json, screen) }
}

fn attributes(path: &Path) -> Result<Attributes, Failure> {
    Attributes::of(path).map_err(|error| Failure::file(path, "examined", &error))
}

fn begin(path: &Path) -> Result<Trial, Failure> {
    Trial::begin(path).map_err(|error| {
        use penstock_flash_linux::VolumeError;
        match error {
            VolumeError::Exists { path } => Failure::new(
                Exit::Usage,
                "PS-D314",
                format!("{} is a file, and is not touched", path.display()),
                "Name the folder that it is in: a scratch file is made there. Or name a whole device, with --destroy.",
            ),
            error => volume_failure(&error),
        }
    })
}

/// A device that may not be written: what the kernel says of it.
fn look(path: &Path, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let attributes = attributes(path)?;
    if json {
        return write_json(
            &json!({ "device": device_json(&attributes), "latency": null, "verdict": null }),
            screen,
        );
    }
    write_device(&attributes, screen)?;
    writeln!(
        screen,
        "\nNothing was written: how long a flush takes is measured with --destroy, which overwrites"
    )?;
    Ok(writeln!(screen, "the first 64 MiB of the device, or in a folder on a file system on it.")?)
}

fn measure(path: &Path, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let attributes = attributes(path)?;
    let trial = begin(path)?;
    let measured = trial.measure();
    trial.remove();
    let latencies = measured.map_err(|error| volume_failure(&error))?;
    let verdict = judge(&attributes, &latencies);
    if json {
        let (word, why) = match &verdict {
            Verdict::Plausible(why) => ("plausible", why),
            Verdict::Doubtful(why) => ("doubtful", why),
            Verdict::Unknown(why) => ("unknown", why),
        };
        let latency = json!({
            "write": latency_json(latencies.write),
            "flush": latency_json(latencies.flush),
            "through": latencies.through.map(latency_json),
        });
        let answer = json!({
            "device": device_json(&attributes), "latency": latency, "verdict": word, "why": why,
        });
        write_json(&answer, screen)?;
    } else {
        write_device(&attributes, screen)?;
        write_latencies(&latencies, screen)?;
        let (style, text) = match &verdict {
            Verdict::Plausible(why) => (Style::Good, format!("The flush may be believed: {why}.")),
            Verdict::Doubtful(why) => {
                (Style::Bad, format!("The flush must not be believed as it is: {why}."))
            }
            Verdict::Unknown(why) => (Style::Warning, format!("Nothing can be said from here: {why}.")),
        };
        writeln!(screen, "\n{}", screen.paint(style, &text))?;
        writeln!(screen, "To know, pull the plug: penstock volume qualify {} --write", path.display())?;
    }
    if !matches!(verdict, Verdict::Doubtful(_)) {
        return Ok(());
    }
    screen.flush()?;
    Err(Failure::Silent(Exit::Failed))
}

fn device_json(attributes: &Attributes) -> Value {
    json!({
        "name": attributes.name,
        "model": attributes.model,
        "rotational": attributes.rotational,
        "write_cache": attributes.write_cache,
        "fua": attributes.fua,
        "physical_block_bytes": attributes.physical_block_bytes,
        "file_system": attributes.file_system,
        "virtual": attributes.virtual_kind(),
    })
}

fn latency_json(latency: Latency) -> Value {
    let Latency { median_us, worst_us, writes } = latency;
    json!({ "median_us": median_us, "worst_us": worst_us, "writes": writes })
}

fn write_device(attributes: &Attributes, screen: &mut Screen) -> Result<(), Failure> {
    let unknown = "not known".to_owned();
    let mut device = attributes.name.clone().unwrap_or_else(|| {
        attributes.file_system.map_or_else(|| unknown.clone(), |name| format!("none of its own ({name})"))
    });
    if let Some(model) = &attributes.model {
        device += &format!(" ({})", plain(model));
    }
    if let Some(kind) = attributes.virtual_kind() {
        device += &format!(", {kind}");
    }
    let cache = match attributes.write_cache.as_deref() {
        Some("write back") => "write back: volatile, a flush is needed".to_owned(),
        Some("write through") => "write through: the device says that what it took is safe".to_owned(),
        Some(other) => plain(other),
        None => unknown.clone(),
    };
    let yes = |flag: Option<bool>, yes: &str, no: &str| {
        flag.map_or_else(|| unknown.clone(), |flag| if flag { yes.to_owned() } else { no.to_owned() })
    };
    for (label, text) in [
        ("Device", device),
        ("Medium", yes(attributes.rotational, "turning disk", "flash, or says so")),
        ("Cache", cache),
        ("FUA", yes(attributes.fua, "yes: single writes can be forced to the medium", "no")),
    ] {
        let label = screen.paint(Style::Heading, &format!("{label:9}"));
        writeln!(screen, "{label}{text}")?;
    }
    Ok(())
}

fn write_latencies(latencies: &Latencies, screen: &mut Screen) -> Result<(), Failure> {
    let said = |latency: Latency| {
        format!("{:>6} µs, at most {} µs", count(latency.median_us), count(latency.worst_us))
    };
    writeln!(screen, "\n4 KiB at a time, past the page cache (half take no longer than):")?;
    writeln!(screen, "  write                {}", said(latencies.write))?;
    writeln!(screen, "  write and flush      {}", said(latencies.flush))?;
    match latencies.through {
        Some(through) => writeln!(screen, "  write through (FUA)  {}", said(through))?,
        None => writeln!(screen, "  write through (FUA)  not known to the kernel")?,
    }
    Ok(())
}

/// Writes records until the power goes, and tells each number only after its flush.
fn write(path: &Path, asked: &Qualify, screen: &mut Screen) -> Result<(), Failure> {
    let mut witness = asked.witness.as_deref().map(connect).transpose()?;
    let mut trial = begin(path)?;
    if witness.is_some() {
        writeln!(screen, "Pull the plug whenever you like; the witness knows the last number.")?;
    } else {
        writeln!(screen, "Pull the plug whenever you like, and remember the last number you see.")?;
    }
    screen.flush()?;
    let mut told = Instant::now();
    loop {
        let number = trial.write_next().map_err(|error| volume_failure(&error))?;
        let is_last = asked.records.is_some_and(|records| number >= records);
        if let Some(witness) = &mut witness {
            witness.write_all(format!("{number}\n").as_bytes()).map_err(|error| witness_gone(&error))?;
        } else if is_last || told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            writeln!(screen, "{number}")?;
            screen.flush()?;
        }
        if is_last {
            return Ok(());
        }
    }
}

fn connect(witness: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(witness).map_err(|error| witness_gone(&error))?;
    // Each number goes out at once.
    stream.set_nodelay(true).map_err(|error| witness_gone(&error))?;
    stream.set_write_timeout(Some(WITNESS_TIMEOUT)).map_err(|error| witness_gone(&error))?;
    Ok(stream)
}

fn witness_gone(error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "PS-D315",
        format!("the witness cannot be reached: {error}"),
        "On another machine, run `penstock volume qualify --listen 0.0.0.0:2600` first.",
    )
}

/// Notes the last number of one machine after another.
fn listen(address: SocketAddr, screen: &mut Screen) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(Exit::Failed, "PS-D316", format!("{address} cannot be listened on: {error}"), "")
    };
    let listener = TcpListener::bind(address).map_err(failed)?;
    writeln!(screen, "listening on {}", listener.local_addr().map_err(failed)?)?;
    screen.flush()?;
    loop {
        let (stream, peer) = listener.accept().map_err(failed)?;
        // A machine without power says no goodbye: silence is its end.
        stream.set_read_timeout(Some(WITNESS_TIMEOUT)).map_err(failed)?;
        writeln!(screen, "{peer} writes")?;
        screen.flush()?;
        let begun = Instant::now();
        let last = last_number(BufReader::new(stream));
        let lasted = span(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        match last {
            0 => writeln!(screen, "{peer} has gone without a number")?,
            last => writeln!(
                screen,
                "{peer} has gone after {lasted}. When it is back: penstock volume qualify PATH --verify {last}"
            )?,
        }
        screen.flush()?;
    }
}

fn last_number(mut lines: impl BufRead) -> u64 {
    let mut last = 0;
    loop {
        let mut line = String::new();
        // Half a line is no number: its end may be missing.
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
        match line.strip_suffix('\n').and_then(|line| line.parse().ok()) {
            Some(number) if read.is_ok() => last = number,
            _ => return last,
        }
    }
}

fn verify(path: &Path, acknowledged: u64, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    let remains = trial::verify(path, acknowledged).map_err(|error| volume_failure(&error))?;
    let holds = remains.lost == 0;
    if json {
        let answer = json!({
            "acknowledged": acknowledged,
            "looked_for": remains.expected,
            "lost": remains.lost,
            "first_lost": remains.first_lost,
            "last": remains.last,
            "believable": holds,
        });
        write_json(&answer, screen)?;
    } else if holds {
        let text = format!(
            "All {} that were acknowledged and can still be there are there; the last one is {}.",
            counted(remains.expected, "record"),
            remains.last
        );
        writeln!(screen, "{}", screen.paint(Style::Good, &text))?;
        writeln!(
            screen,
            "This cut lost nothing. Pull the plug a few times more before you trust it with mail."
        )?;
        writeln!(screen, "{} can be deleted.", place(path).display())?;
    } else {
        let text = format!(
            "{} of {} acknowledged are gone, the first is {}: the flush does not reach the medium.",
            count(remains.lost),
            counted(remains.expected, "record"),
            remains.first_lost.unwrap_or(0)
        );
        writeln!(screen, "{}", screen.paint(Style::Bad, &text))?;
        writeln!(
            screen,
            "Do not keep mail on it. Turn its write cache off (`hdparm -W0`) and try again, or replace it."
        )?;
    }
    if holds {
        return Ok(());
    }
    screen.flush()?;
    Err(Failure::Silent(Exit::Failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_is_the_last_whole_line() {
        assert_eq!(last_number(&b"1\n2\n3\n"[..]), 3);
        assert_eq!(last_number(&b"1\n2\n34"[..]), 2, "it may have been 345");
        assert_eq!(last_number(&b"7\nnonsense\n9\n"[..]), 7);
        assert_eq!(last_number(&b""[..]), 0);
    }
}
