//! Looking: what the machine is, how it stands, what is in its flash.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

use embedded_storage::nor_flash::ReadNorFlash as _;
use penstock_console::{Failure, Report};

use super::lower::said;
use super::{NOT_READ_BACK, NOT_THERE, Upper, failure, lost};
use crate::bare::{fail, memory, serial};
use crate::board::{BOARD, ERASE_BYTES};
use crate::show;
use crate::work::Work;

/// How much of the scratch sector is written, in bytes.
const TEST_BYTES: usize = 4096;

type Done = Result<(), Failure>;

pub(super) fn status(upper: &Upper<'_>, out: &mut dyn Write) -> Done {
    match upper.taking.status() {
        Some(status) => writeln!(out, "{status}").map_err(lost),
        None => writeln!(out, "no mail is taken: `rescue start` begins that").map_err(lost),
    }
}

pub(super) fn journal(lines: u16, out: &mut dyn Write) -> Done {
    serial::newest(usize::from(lines), out).map_err(lost)
}

pub(super) fn counters(upper: &Upper<'_>, out: &mut dyn Write) -> Done {
    let Some(status) = upper.taking.status() else {
        return Err(failure(NOT_THERE, "nothing is counted while no mail is taken"));
    };
    let counters = status.counters;
    for (name, value) in [
        ("sessions_total", counters.sessions),
        ("sessions_refused_total", counters.sessions_refused),
        ("sessions_timed_out_total", counters.sessions_timed_out),
        ("messages_total", counters.messages),
        ("message_bytes_total", counters.message_bytes),
        ("refused_full_total", counters.refused_full),
        ("refused_failure_total", counters.refused_failure),
        ("refused_relay_total", counters.refused_relay),
        ("refused_loop_total", counters.refused_loop),
        ("syncs_total", counters.syncs),
        ("half_open_displaced_total", counters.net.half_open_displaced),
        ("half_open_timed_out_total", counters.net.half_open_timed_out),
    ] {
        writeln!(out, "penstock_rescue_{name} {value}").map_err(lost)?;
    }
    Ok(())
}

pub(super) fn machine(upper: &Upper<'_>, out: &mut dyn Write) -> Done {
    let machine = &upper.lower.begun.machine;
    let mut tell = || {
        writeln!(out, "memory    {:#x} to {:#x}", machine.ram.start, machine.ram.end)?;
        writeln!(out, "serial    {:#x}, clocked at {} Hz", machine.serial.base, machine.serial.clock_hz)?;
        writeln!(out, "psci      by {:?}", machine.conduit)?;
        match machine.rtc {
            Some(base) => writeln!(out, "clock     {base:#x}")?,
            None => writeln!(out, "clock     none")?,
        }
        match &machine.pci {
            Some(pci) => writeln!(out, "pci       {:#x}, memory {:#x}", pci.ecam.start, pci.memory32.start)?,
            None => writeln!(out, "pci       none")?,
        }
        writeln!(out, "virtio    {} places", machine.virtio.len())?;
        writeln!(out, "watchdog  {}", if upper.watchdog.is_some() { "armed" } else { "none" })?;
        writeln!(out, "seed      {}", if machine.seed.is_some() { "given" } else { "none given" })
    };
    tell().map_err(lost)
}

pub(super) fn heap(upper: &Upper<'_>, out: &mut dyn Write) -> Done {
    let ram = &upper.lower.begun.machine.ram;
    let (used, free) = memory::heap_bytes();
    let mib = (ram.end - ram.start) >> 20;
    writeln!(out, "{mib} MiB of memory; of the heap {} KiB are used and {} KiB free", used >> 10, free >> 10)
        .map_err(lost)
}

pub(super) fn clock(upper: &Upper<'_>, out: &mut dyn Write) -> Done {
    if upper.lower.begun.machine.rtc.is_none() {
        return Err(failure(NOT_THERE, "there is no clock on board"));
    }
    let now_s = upper.lower.begun.now_s();
    writeln!(out, "{now_s} seconds since 1970 by the clock on board, which nobody here can check")
        .map_err(lost)?;
    writeln!(out, "{} s since the reset", fail::since_reset_ms() / 1000).map_err(lost)
}

pub(super) fn flash_info(upper: &Upper<'_>, out: &mut dyn Write) -> Done {
    for (number, bank) in BOARD.banks.iter().enumerate() {
        match upper.lower.banks.bank(number) {
            Some(chips) => {
                let chips = chips.borrow();
                let (query, mib) = (chips.query(), chips.capacity() >> 20);
                let suspends = if query.can_suspend_erase { "can" } else { "cannot" };
                writeln!(
                    out,
                    "flash {number} at {:#x}: {mib} MiB, sectors of {} KiB, buffers of {} bytes a chip, erases {suspends} be suspended",
                    bank.base,
                    ERASE_BYTES >> 10,
                    query.buffer_bytes,
                )
            }
            None => writeln!(out, "flash {number} at {:#x} does not answer", bank.base),
        }
        .map_err(lost)?;
        for partition in bank.partitions {
            let kib = partition.size_bytes >> 10;
            writeln!(out, "  {:10} {:#010x} {kib:6} KiB", partition.name, partition.offset).map_err(lost)?;
        }
    }
    Ok(())
}

pub(super) fn flash_test(upper: &Upper<'_>, out: &mut dyn Write) -> Done {
    let part = upper.lower.banks.part("scratch").map_err(said)?;
    let chip = |error: penstock_flash_cfi::Error| failure(error.code(), error);
    let mut back = vec![0; TEST_BYTES];
    part.erase_sector(0).map_err(chip)?;
    part.read_at(0, &mut back).map_err(chip)?;
    if back.iter().any(|byte| *byte != 0xFF) {
        return Err(failure(NOT_READ_BACK, "the scratch sector is not blank after an erase"));
    }
    // No byte like its neighbours, in any of the lanes.
    let pattern: Vec<u8> = (0..TEST_BYTES).map(|at| (at * 31 + (at >> 8)) as u8).collect();
    part.program_at(0, &pattern).map_err(chip)?;
    part.read_at(0, &mut back).map_err(chip)?;
    if back != pattern {
        return Err(failure(NOT_READ_BACK, "the scratch sector does not read back as it was written"));
    }
    part.erase_sector(0).map_err(chip)?;
    writeln!(out, "erased, written, read back: all well").map_err(lost)
}

pub(super) fn flash_dump(
    upper: &Upper<'_>,
    (partition, offset, bytes): (&'static str, u32, u32),
    out: &mut dyn Write,
) -> Done {
    let part = upper.lower.banks.part(partition).map_err(said)?;
    let room = part.size_bytes().saturating_sub(offset as usize);
    let mut dumped = vec![0; room.min(bytes as usize)];
    part.read_at(offset as usize, &mut dumped).map_err(|error| failure(error.code(), error))?;
    for (number, chunk) in dumped.chunks(1024).enumerate() {
        show::dump(offset + 1024 * number as u32, chunk, out).map_err(lost)?;
        upper.feed_watchdog();
    }
    Ok(())
}

pub(super) fn config(upper: &Upper<'_>, key: Option<&str>, out: &mut dyn Write) -> Done {
    let Some(text) = upper.taking.settings() else {
        return Err(failure(NOT_THERE, "there are no settings that are intact"));
    };
    let mut shown = 0;
    for entry in penstock_settings::entries(text) {
        if key.is_none_or(|key| entry.key == key) {
            writeln!(out, "{} = {}", entry.key, entry.value).map_err(lost)?;
            shown += 1;
        }
    }
    if shown == 0 {
        Err(failure(NOT_THERE, "the settings do not set that: its default holds"))
    } else {
        Ok(())
    }
}

pub(super) fn report(upper: &mut Upper<'_>, out: &mut dyn Write) -> Done {
    let mut report = Report::begin(out).map_err(lost)?;
    for (title, work) in [("version", Work::Version), ("why", Work::Why), ("state dump", Work::StateDump)] {
        writeln!(report, "--- {title}").map_err(lost)?;
        if let Err(failure) = upper.lower.run(work, &mut report, &mut || {}) {
            writeln!(report, "{failure}").map_err(lost)?;
        }
    }
    type Section<'a> = (&'a str, fn(&Upper<'_>, &mut dyn Write) -> Done);
    let sections: [Section<'_>; 7] = [
        ("status", status),
        ("counters", counters),
        ("dt", machine),
        ("mem", heap),
        ("clock", clock),
        ("flash info", flash_info),
        ("config show", |upper, out| config(upper, None, out)),
    ];
    for (title, section) in sections {
        writeln!(report, "--- {title}").map_err(lost)?;
        if let Err(failure) = section(upper, &mut report) {
            writeln!(report, "{failure}").map_err(lost)?;
        }
        upper.feed_watchdog();
    }
    writeln!(report, "--- journal").map_err(lost)?;
    serial::newest(usize::MAX, &mut report).map_err(lost)?;
    report.end().map_err(lost)
}
