//! a box that starts from its flash: how long until the kernel, until mail, and what the rescue takes where no system starts
//!
//! The image as it is shipped, under QEMU, which emulates the processor: the figures compare one image with another on the
//! same machine and say nothing of a real box. What the firmware says itself counts from the reset; what a client sees counts
//! from the start of QEMU. `--quick` makes one round of all: to see that it works.

// A measurement that cannot be made ends the program, and what it prints is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::net::SocketAddr;
use std::time::Instant;

use penstock_appliance::machine::{Appliance, settings_before, settings_without_disk, with_lent_address};
use penstock_image::bundle::{FIRMWARE_BUNDLE, STAGE0, SYSTEM_BUNDLE};
use penstock_image::slot::Bundle;
use penstock_peers::daemon::Settings;
use penstock_peers::load::Source;
use penstock_peers::process::free_port;

/// Size of a message in bytes, and connections that hand them in: fewer than the rescue's sessions.
const MESSAGE_BYTES: u32 = 4096;
const CONNECTIONS: u32 = 10;

/// How much is measured.
struct Extent {
    boots: usize,
    messages: u32,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The milliseconds at the end of the last line that begins so.
fn told_ms(log: &str, begins: &str) -> f64 {
    let line = log.lines().rev().find(|line| line.starts_with(begins));
    let line = line.unwrap_or_else(|| panic!("nothing begins with '{begins}': {log}"));
    let number = line.trim_end().strip_suffix(" ms").and_then(|line| line.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no time in '{line}'"))
}

/// A box that has been up once, and is off.
fn settled(settings: &Settings) -> Appliance {
    let mut appliance = Appliance::prepare(settings).from_flash();
    appliance.up();
    appliance.press_power_key();
    appliance
}

/// What the rescue of such a box does: seconds from the reset until it takes mail, from the start of QEMU until a client
/// sees `220`, and messages a second.
fn rescue(settings: &Settings, extent: &Extent) -> [f64; 3] {
    let mut appliance = settled(settings);
    for slot in ["system-a", "system-b"] {
        appliance.write_partition(slot, &[0; 4096]);
    }
    let (mut ready, mut greeting) = (Vec::new(), Vec::new());
    for _ in 0..extent.boots {
        greeting.push(appliance.up().as_secs_f64());
        ready.push(told_ms(&appliance.serial_log(), "rescue: started in") / 1000.0);
        appliance.unplug();
    }
    appliance.up();
    let source = Source {
        sessions: CONNECTIONS,
        messages: extent.messages,
        len_bytes: MESSAGE_BYTES,
        recipients: 1,
        keep_open: true,
    };
    let began = Instant::now();
    let status = source.spawn(appliance.address()).wait();
    assert!(status.success(), "smtp-source: {status}");
    let rate = f64::from(extent.messages) / began.elapsed().as_secs_f64();
    appliance.unplug();
    [median(ready), median(greeting), rate]
}

fn main() {
    let extent = match std::env::args().nth(1).as_deref() {
        None => Extent { boots: 5, messages: 1000 },
        Some("--quick") => Extent { boots: 1, messages: 100 },
        Some(other) => panic!("no option {other}; there is --quick"),
    };
    let hop = SocketAddr::from(([127, 0, 0, 1], free_port()));
    // Here all clients have one address, of which the rescue would take four sessions.
    let with_front = |settings: Settings| settings.set("listen.trusted_fronts", "[\"10.0.2.2\"]");
    let mut appliance = settled(&settings_before(hop));
    let (mut verified, mut unpacked, mut kernel, mut greeting) = (vec![], vec![], vec![], vec![]);
    for boot in 0..extent.boots {
        eprintln!("boot {} of {}", boot + 1, extent.boots);
        greeting.push(appliance.up().as_secs_f64());
        let log = appliance.serial_log();
        verified.push(told_ms(&log, "firmware: verified system-a"));
        unpacked.push(told_ms(&log, "firmware: unpacked the kernel"));
        kernel.push(told_ms(&log, "firmware: starts system-a") / 1000.0);
        appliance.press_power_key();
    }
    let (kernel_s, greeting_s) = (median(kernel), median(greeting));
    let file_bytes = |name: &str| appliance.image_file(name).len();
    let firmware = Bundle::from_bytes(appliance.image_file(FIRMWARE_BUNDLE)).unwrap();
    let firmware_bytes: u32 = firmware.manifest().parts().iter().map(|part| part.len_bytes).sum();

    eprintln!("the rescue on the disk");
    let [disk_ready_s, disk_greeting_s, disk_per_s] = rescue(&with_front(settings_before(hop)), &extent);
    eprintln!("the rescue on the disk, with an address that was lent");
    let [lent_ready_s, lent_greeting_s, _] =
        rescue(&with_lent_address(with_front(settings_before(hop))), &extent);
    eprintln!("the rescue in NOR flash");
    let [nor_ready_s, nor_greeting_s, nor_per_s] = rescue(&with_front(settings_without_disk(hop)), &extent);

    println!("from the reset to the kernel            {kernel_s:>8.2} s   (median of {})", extent.boots);
    println!("  the system copied and verified        {:>8.0} ms", median(verified));
    println!("  the kernel unpacked                   {:>8.0} ms", median(unpacked));
    println!("from the start of QEMU to the first 220 {greeting_s:>8.2} s");
    println!("the rescue                                   NOR       disk    disk and DHCP");
    println!(
        "  from the reset to taking mail         {nor_ready_s:>8.2} s {disk_ready_s:>8.2} s {lent_ready_s:>8.2} s"
    );
    println!(
        "  to a client's 220, from QEMU's start  {nor_greeting_s:>8.2} s {disk_greeting_s:>8.2} s {lent_greeting_s:>8.2} s"
    );
    println!("  taken, 4 KiB on {CONNECTIONS} connections        {nor_per_s:>8.0} /s {disk_per_s:>7.0} /s");
    println!(
        "stage 0; firmware; system               {:>8} bytes; {firmware_bytes}; {}",
        file_bytes(STAGE0),
        file_bytes(SYSTEM_BUNDLE)
    );
    println!(
        "{{\"bench\":\"firmware\",\"reset_to_kernel_s\":{kernel_s:.3},\"reset_to_220_s\":{greeting_s:.3},\
         \"rescue_220_s\":{nor_ready_s:.3},\"firmware_bytes\":{firmware_bytes},\
         \"rescue_accept_per_s\":{{\"nor\":{nor_per_s:.1},\"disk\":{disk_per_s:.1}}}}}"
    );
}
