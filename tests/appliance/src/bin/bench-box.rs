//! the emulated box: how soon it takes mail, how much it takes and gives back a second, what memory is left
//!
//! The image as it is shipped, under QEMU, which emulates the processor: the figures compare one image with another on the
//! same machine and say nothing of a real box. smtp-source hands in, smtp-sink is the next hop. A boot is from the start of
//! QEMU to the first `220`. `--quick` makes one round of all: to see that it works.

// A measurement that cannot be made ends the program, and what it prints is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use penstock_appliance::console::Console;
use penstock_appliance::machine::{Appliance, settings_before};
use penstock_peers::load::Source;
use penstock_peers::process::{Process, answers, free_port, wait_until};
use penstock_peers::scratch::Scratch;

/// Size of a message in bytes, and connections that hand them in.
const MESSAGE_BYTES: u32 = 4096;
const CONNECTIONS: u32 = 10;

/// How much is measured.
struct Extent {
    boots: usize,
    rounds: usize,
    messages: u32,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Boots it again and again after it was switched off in order. Returns the seconds of each boot; it runs afterwards.
fn boot_s(appliance: &mut Appliance, boots: usize) -> Vec<f64> {
    (0..boots)
        .map(|_| {
            appliance.press_power_key();
            appliance.up().as_secs_f64()
        })
        .collect()
}

/// Hands in and returns messages a second.
fn accept(to: SocketAddr, messages: u32) -> f64 {
    let source =
        Source { sessions: CONNECTIONS, messages, len_bytes: MESSAGE_BYTES, recipients: 1, keep_open: true };
    let began = Instant::now();
    let status = source.spawn(to).wait();
    assert!(status.success(), "smtp-source: {status}");
    f64::from(messages) / began.elapsed().as_secs_f64()
}

/// Is the next hop that comes back, until it has got all. Returns messages a second from the first one on.
fn release(hop: SocketAddr, messages: u32) -> f64 {
    let scratch = Scratch::new("sink");
    let counts = scratch.join("counts");
    let mut sink = Command::new("smtp-sink");
    sink.args(["-c", "-u", "postfix", &format!("inet:{hop}"), "100"]);
    let mut sink = Process::spawn(sink.stdout(File::create(&counts).unwrap()));
    wait_until("smtp-sink answers", || answers(hop));
    wait_until("the first message arrives", || counted(&counts) > 0);
    let (began, first) = (Instant::now(), counted(&counts));
    wait_until("all messages arrive", || counted(&counts) >= messages);
    let rate = f64::from(messages - first) / began.elapsed().as_secs_f64();
    sink.kill();
    rate
}

/// The last count of messages that smtp-sink has written.
fn counted(counts: &Path) -> u32 {
    let text = fs::read_to_string(counts).unwrap();
    let last = text.rsplit("mesg=").next().filter(|_| text.contains("mesg="));
    let digits = last.map(|rest| rest.chars().take_while(char::is_ascii_digit).collect::<String>());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// What the console says is free for whoever asks, in KiB.
fn memory_free_kib(console: &mut Console) -> u64 {
    let answer = console.ask("mem");
    let line = answer.text.lines().find(|line| line.contains("free")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

fn main() {
    let extent = match std::env::args().nth(1).as_deref() {
        None => Extent { boots: 7, rounds: 3, messages: 1000 },
        Some("--quick") => Extent { boots: 1, rounds: 1, messages: 200 },
        Some(other) => panic!("no option {other}; there is --quick"),
    };
    let hop = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut appliance = Appliance::prepare(&settings_before(hop));
    let [kernel_bytes, initramfs_bytes] = appliance.system_bytes();
    eprintln!("booting {} times", extent.boots + 1);
    let blank_s = appliance.up().as_secs_f64();
    let boots = boot_s(&mut appliance, extent.boots);
    let (fastest, slowest) =
        boots.iter().fold((f64::MAX, 0_f64), |(low, high), boot| (low.min(*boot), high.max(*boot)));
    let boot_s = median(boots);
    let mut console = Console::take(appliance.serial());
    let idle_kib = memory_free_kib(&mut console);

    let (mut accepts, mut releases, mut queued_kib) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..extent.rounds {
        eprintln!("round {} of {}: {} messages in and out", round + 1, extent.rounds, extent.messages);
        accepts.push(accept(appliance.address(), extent.messages));
        queued_kib.push(memory_free_kib(&mut console) as f64);
        releases.push(release(hop, extent.messages));
    }
    let (accept_per_s, release_per_s, queued_kib) = (median(accepts), median(releases), median(queued_kib));

    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "from the start of QEMU to the first 220 {boot_s:>8.2} s   (median of {}, {fastest:.2} to {slowest:.2})",
        extent.boots
    );
    println!("  on a blank disk                       {blank_s:>8.2} s");
    println!("kernel, compressed                      {:>8.2} MiB", mib(kernel_bytes));
    println!("initramfs, compressed                   {:>8.2} MiB", mib(initramfs_bytes));
    println!("memory free                             {idle_kib:>8} KiB");
    println!("  with {:>5} messages queued            {queued_kib:>8.0} KiB", extent.messages);
    println!("taken, 4 KiB on {CONNECTIONS} connections            {accept_per_s:>8.0} messages a second");
    println!("given back, by smtp-sink's count        {release_per_s:>8.0} messages a second");
    println!(
        "{{\"bench\":\"box\",\"boot_s\":{boot_s:.3},\"image_bytes\":{},\"mem_free_kib\":{idle_kib},\
         \"accept_per_s\":{accept_per_s:.1},\"release_per_s\":{release_per_s:.1}}}",
        kernel_bytes + initramfs_bytes
    );
    appliance.press_power_key();
}
