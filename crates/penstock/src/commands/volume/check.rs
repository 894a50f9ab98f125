//! `penstock volume check` and `scrub` on an image.

use std::io::Write;
use std::path::Path;

use penstock_daemon::control::volume::{ScrubCounts, ScrubResult};
use penstock_flash::Medium;
use penstock_flash_linux::{Image, Volume};
use penstock_spool::{Error, Finding, MessageId, ScrubMode, ScrubStep};
use serde::Serialize;

use super::image::{self, Mounted, mount_failure, volume_failure};
use crate::commands::write_json;
use crate::failure::{Exit, Failure};
use crate::text::human::{count, counted, size};
use crate::text::progress::Progress;
use crate::text::{Screen, Style};

/// What a step reads at once, in bytes.
const STEP_BYTES: u64 = 4 * 1024 * 1024;

/// What is wrong with a volume, for programs.
#[derive(Serialize)]
struct Answer {
    #[serde(flatten)]
    result: ScrubResult,
    clean: bool,
    quarantined_segments: u32,
    findings: Vec<String>,
}

pub(super) fn run(
    path: &Path,
    segment_bytes: Option<u32>,
    mode: ScrubMode,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let segment_bytes = image::segment_bytes(path, segment_bytes)?;
    let opened = |error| volume_failure(&error);
    let mounted = |error| mount_failure(path, &error);
    let (answer, closed) = match mode {
        ScrubMode::Check => {
            let medium = Image::open(path, segment_bytes).map_err(opened)?;
            let (mut spool, _) = image::mount(medium).map_err(mounted)?;
            (pass(&mut spool, mode, json).map_err(mounted)?, Ok(()))
        }
        ScrubMode::Repair => {
            let medium = Volume::open(path, segment_bytes).map_err(opened)?;
            let (mut spool, _) = image::mount(medium).map_err(mounted)?;
            let answer = pass(&mut spool, mode, json).map_err(mounted)?;
            // What was found to be right is left as it was, to the byte.
            let wrote = spool.counters().programmed_bytes > 0;
            (answer, if wrote { spool.close().map(drop) } else { Ok(()) })
        }
    };
    closed.map_err(mounted)?;
    write(&answer, json, screen)
}

fn pass<M: Medium>(spool: &mut Mounted<M>, mode: ScrubMode, json: bool) -> Result<Answer, Error> {
    let what = if mode == ScrubMode::Check { "checking" } else { "scrubbing" };
    let mut progress = Progress::new(what, json);
    let mut scrub = spool.begin_scrub(mode, MessageId(0));
    let mut findings = Vec::new();
    let report = loop {
        match spool.scrub_step(&mut scrub, STEP_BYTES)? {
            ScrubStep::Progress(at) => progress.at(at.done_bytes, at.total_bytes),
            ScrubStep::Found(finding) => findings.push(described(finding)),
            ScrubStep::Done(report) => break report,
        }
    };
    let quarantined_segments = spool.info().segments.2;
    let result = ScrubResult {
        number: 0,
        ended_unix_ms: None,
        complete: true,
        repair: mode == ScrubMode::Repair,
        found: report.into(),
    };
    Ok(Answer {
        clean: report.is_clean() && quarantined_segments == 0,
        result,
        quarantined_segments,
        findings,
    })
}

fn described(finding: Finding) -> String {
    match finding {
        Finding::Unsteady(id) => format!("d-{id}: read right only at another try"),
        Finding::Repaired(id) => format!("d-{id}: flipped bits put right, SHA-256 agrees"),
        Finding::Repairable(id) => format!("d-{id}: flipped bits that can be put right"),
        Finding::Damaged(id) => format!("d-{id}: damaged"),
        Finding::Records { segment, frames } => {
            format!("segment {segment}: {} of fates or state unreadable", counted(frames.into(), "record"))
        }
        Finding::Header { segment, copies } => {
            format!("segment {segment}: {copies} of 2 copies of its header readable")
        }
    }
}

fn write(answer: &Answer, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    if json {
        write_json(answer, screen)?;
    } else {
        for finding in &answer.findings {
            writeln!(screen, "{finding}")?;
        }
        if answer.quarantined_segments > 0 {
            let lost = counted(answer.quarantined_segments.into(), "segment");
            writeln!(
                screen,
                "{lost} without a header, left alone: `penstock volume salvage` looks into them"
            )?;
        }
        write_verdict(&answer.result, answer.clean, screen)?;
    }
    if answer.clean {
        return Ok(());
    }
    screen.flush()?;
    Err(Failure::Silent(Exit::Failed))
}

/// The last lines: what was read, and whether it was as it was written.
pub(super) fn write_verdict(result: &ScrubResult, clean: bool, screen: &mut Screen) -> Result<(), Failure> {
    let ScrubCounts { messages, message_bytes, records, torn_records, .. } = result.found;
    let torn = if torn_records > 0 { format!(", {torn_records} torn by a power cut") } else { String::new() };
    writeln!(
        screen,
        "{} ({}) and {} of fates and state are whole{torn}",
        counted(messages, "message"),
        size(message_bytes),
        counted(records, "record"),
    )?;
    let verdict = match (result.found.flaws(), clean) {
        (_, true) => screen.paint(Style::Good, "Everything is as it was written."),
        (Some(flaws), false) => screen.paint(Style::Bad, &format!("Not as it was written: {flaws}.")),
        (None, false) => screen.paint(Style::Bad, "Parts of the volume cannot be read."),
    };
    writeln!(screen, "{verdict}")?;
    if result.found.repairable > 0 && !result.repair {
        writeln!(screen, "`penstock volume scrub` puts {} right.", count(result.found.repairable))?;
    }
    if result.found.damaged > 0 {
        writeln!(
            screen,
            "Damaged mail stays on the volume and is not given out: its senders have to be asked for it."
        )?;
    }
    Ok(())
}
