//! `penstock volume info`

use std::io::Write;
use std::path::Path;

use penstock_daemon::control::Store;
use penstock_daemon::control::volume::VolumeInfo;
use penstock_flash_linux::Image;

use super::image;
use crate::client::Client;
use crate::commands::write_json;
use crate::failure::Failure;
use crate::text::human::{count, counted, plain, size, span};
use crate::text::{Screen, Style};

pub(super) async fn online(
    client: &Client,
    which: Store,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    write(&client.volume(which).await?, json, screen)
}

pub(super) fn offline(
    path: &Path,
    segment_bytes: Option<u32>,
    json: bool,
    screen: &mut Screen,
) -> Result<(), Failure> {
    let segment_bytes = image::segment_bytes(path, segment_bytes)?;
    let medium = Image::open(path, segment_bytes).map_err(|error| image::volume_failure(&error))?;
    let (spool, took_ms) = image::mount(medium).map_err(|error| image::mount_failure(path, &error))?;
    write(&VolumeInfo::of(&spool, &path.display().to_string(), took_ms), json, screen)
}

fn write(info: &VolumeInfo, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    if json {
        return write_json(info, screen);
    }
    for (label, style, text) in facts(info) {
        let label = screen.paint(Style::Heading, &format!("{label:11}"));
        let text = style.map_or_else(|| text.clone(), |style| screen.paint(style, &text));
        writeln!(screen, "{label}{text}")?;
    }
    Ok(())
}

fn facts(info: &VolumeInfo) -> Vec<(&'static str, Option<Style>, String)> {
    let mut facts = vec![("Volume", None, plain(&info.path)), ("Id", None, plain(&info.id))];
    let features = [info.features_compatible, info.features_append_compatible, info.features_incompatible];
    let features = match features {
        [0, 0, 0] => "no features".to_owned(),
        [ignored, written, mounted] => format!("features {ignored:#x} {written:#x} {mounted:#x}"),
    };
    facts.push(("Format", None, format!("{}, {features}", info.format)));
    let segments = &info.segments;
    facts.push((
        "Size",
        None,
        format!(
            "{} in {} of {}, {} of it for mail, program unit {}",
            size(info.medium_bytes),
            counted(segments.total.into(), "segment"),
            size(info.segment_bytes.into()),
            size(info.capacity_bytes),
            size(info.unit_bytes.into()),
        ),
    ));
    facts.push((
        "Room",
        None,
        format!(
            "{} free, {} taken, {} kept for replay (counts as free)",
            size(info.free_bytes),
            size(info.live_bytes),
            size(info.kept_bytes)
        ),
    ));
    let damaged = (info.damaged_messages > 0).then_some(Style::Bad);
    facts.push((
        "Messages",
        damaged,
        format!(
            "{} waiting, {} kept, {} damaged",
            count(info.messages),
            count(info.kept_messages),
            count(info.damaged_messages)
        ),
    ));
    let lost = segments.quarantined + segments.unreadable + segments.bad;
    facts.push((
        "Segments",
        (lost > 0).then_some(Style::Warning),
        format!(
            "{} free, {} open, {} sealed, {} given up, {} anchors; left alone: {} without a header, {} not readable, {} bad",
            segments.free,
            segments.open,
            segments.sealed,
            segments.retired,
            segments.anchors,
            segments.quarantined,
            segments.unreadable,
            segments.bad
        ),
    ));
    facts.push((
        "Erases",
        None,
        format!(
            "{} to {} a segment, {} on average",
            info.erase_count_min, info.erase_count_max, info.erase_count_mean
        ),
    ));
    let mount = &info.mount;
    let stop = if mount.clean { "after a clean stop" } else { "after an unclean stop" };
    let took = if mount.took_ms < 1000 { format!("{} ms", mount.took_ms) } else { span(mount.took_ms) };
    facts.push((
        "Mount",
        None,
        format!(
            "{took}, {stop}, boot {}: {} read whole, {} unreadable, {} torn, {} damaged",
            info.boot,
            counted(mount.scanned_segments.into(), "segment"),
            counted(mount.damaged_frames.into(), "frame"),
            counted(mount.torn_messages.into(), "message"),
            count(mount.damaged_messages.into())
        ),
    ));
    facts
}
