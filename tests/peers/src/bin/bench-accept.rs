//! taking mail: against Postfix with everything in HOLD, smtp-sink and raw group commit
//!
//! All contenders run on one file system and take turns cell by cell, so that whatever else the machine does hits them
//! alike; a cell is the median of its rounds. smtp-source keeps its connections open, so that what is compared is the
//! taking of messages. Postfix runs with Debian's defaults but for HOLD and without a log, which favours it.
//! `--quick` makes one round with a tenth of the messages: to see that all works, not to compare.

// A measurement that cannot be made ends the program, and what it prints is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use std::fs;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use penstock_peers::client::{Client, stuffed};
use penstock_peers::daemon::{Daemon, Fault, Settings};
use penstock_peers::group_commit::group_commit;
use penstock_peers::load::{Source, send_big_message};
use penstock_peers::memory::peak_kib;
use penstock_peers::postfix::{Postfix, Role};
use penstock_peers::process::{
    Process, answers, children, device_write_bytes, free_port, signal, wait_until, write_bytes,
};
use penstock_peers::recorder::Recorder;
use penstock_peers::scratch::Scratch;
use penstock_peers::sink::Sink;
use rustix::process::Signal;

const SIZES: [u32; 3] = [4096, 65_536, 1_048_576];
const CONNECTIONS: [u32; 4] = [1, 10, 50, 100];
const GROUP_COMMIT_WRITERS: u64 = 100;
/// Of starts, with the median reported.
const RESTARTS: usize = 3;
const BIG_MIB: u32 = 200;

/// Messages that a contender gets in one cell: about a second or two of work at its own pace.
fn messages(size: u32, connections: u32, contender: Contender) -> u32 {
    let of_penstock = match (size, connections) {
        (4096, 1) => 2000,
        (4096, _) => 10_000,
        (65_536, 1) => 600,
        (65_536, _) => 2000,
        (_, 1) => 60,
        (_, _) => 200,
    };
    match contender {
        Contender::Penstock => of_penstock,
        Contender::PenstockSlowSync => of_penstock / 5,
        Contender::Postfix => (of_penstock / 5).max(50),
        Contender::SmtpSink => of_penstock * 2,
        Contender::GroupCommit => of_penstock,
    }
}

/// How much is measured.
#[derive(Clone, Copy)]
struct Extent {
    /// Rounds over all cells.
    rounds: usize,
    /// By what all numbers of messages are divided.
    divisor: u32,
}

impl Extent {
    /// Messages that lie in the queue when the daemon and Postfix are started.
    fn queued(self) -> u32 {
        50_000 / self.divisor
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Contender {
    Penstock,
    PenstockSlowSync,
    Postfix,
    SmtpSink,
    GroupCommit,
}

const CONTENDERS: [Contender; 5] = [
    Contender::Penstock,
    Contender::Postfix,
    Contender::SmtpSink,
    Contender::GroupCommit,
    Contender::PenstockSlowSync,
];

/// What the rounds of one cell have measured.
#[derive(Default)]
struct Cell {
    size: u32,
    connections: u32,
    /// Messages per second by contender, in the order of [`CONTENDERS`].
    rates: [Vec<f64>; CONTENDERS.len()],
    syncs: Vec<f64>,
    syncs_slow: Vec<f64>,
    write_amplification: Vec<f64>,
}

impl Cell {
    fn rate(&self, contender: Contender) -> f64 {
        let index = CONTENDERS.iter().position(|one| *one == contender).unwrap();
        median(&self.rates[index])
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The counters of the daemon's medium since it was started.
#[derive(Clone, Copy)]
struct Counters {
    syncs: f64,
    bytes: f64,
}

impl Counters {
    fn of(daemon: &Daemon) -> Self {
        let syncs = daemon.metric("penstock_volume_syncs_total");
        let bytes = daemon.metric("penstock_volume_programmed_bytes_total");
        Self { syncs: syncs as f64, bytes: bytes as f64 }
    }
}

/// Sends and returns messages per second.
fn rate(to: SocketAddr, size: u32, connections: u32, messages: u32) -> f64 {
    let source = Source { sessions: connections, messages, len_bytes: size, recipients: 1, keep_open: true };
    let began = Instant::now();
    let status = source.spawn(to).wait();
    assert!(status.success(), "smtp-source: {status}");
    f64::from(messages) / began.elapsed().as_secs_f64()
}

/// A daemon that keeps everything.
fn holding(fault: Fault, volume: &str) -> Daemon {
    let nowhere = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let daemon = Daemon::start(keeping(nowhere, volume).with(fault));
    daemon.hold();
    daemon
}

/// Segments of the shipped size and room for a big message.
fn keeping(next_hop: SocketAddr, volume: &str) -> Settings {
    Settings::before(next_hop)
        .set("volume.size", volume)
        .set("volume.segment_size", "\"16MiB\"")
        .set("listen.size_max", "\"208MiB\"")
}

/// How many bytes a message of smtp-source is in custody: itself, our Received line and its envelope.
fn custody_bytes() -> [f64; SIZES.len()] {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(Settings::before(sink.address()));
    let recorder = Recorder::start(daemon.address());
    SIZES.map(|size| {
        let before = sink.count();
        rate(recorder.address(), size, 1, 1);
        wait_until("the message has arrived", || sink.count() > before);
        let delivery = sink.deliveries().pop().unwrap();
        let addresses = delivery.from.address.len() + delivery.to[0].address.len();
        (delivery.content.len_bytes as usize + delivery.trace.len() + addresses) as f64
    })
}

fn measure_cells(extent: Extent) -> Vec<Cell> {
    let custody_bytes = custody_bytes();
    let scratch = Scratch::new("bench");
    let sink_port = free_port();
    let sink_address = SocketAddr::from(([127, 0, 0, 1], sink_port));
    let mut smtp_sink = Command::new("smtp-sink");
    smtp_sink.args(["-u", "postfix", &format!("inet:{sink_address}"), "1000"]).stdout(Stdio::null());
    let _smtp_sink = Process::spawn(&mut smtp_sink);
    wait_until("smtp-sink answers", || answers(sink_address));
    let postfix = Postfix::start(Role::Hold);

    let mut cells: Vec<Cell> = SIZES
        .into_iter()
        .flat_map(|size| CONNECTIONS.map(|connections| Cell { size, connections, ..Cell::default() }))
        .collect();
    for round in 0..extent.rounds {
        let penstock = holding(Fault::None, "\"3GiB\"");
        let slow = holding(Fault::SyncDelay(Duration::from_millis(2)), "\"1GiB\"");
        for cell in &mut cells {
            let (size, connections) = (cell.size, cell.connections);
            eprintln!("round {} of {}: {size} bytes, {connections} connections", round + 1, extent.rounds);
            for turn in 0..CONTENDERS.len() {
                // Who comes first changes, for what one leaves behind hits the next.
                let index = (turn + round) % CONTENDERS.len();
                let contender = CONTENDERS[index];
                let messages = messages(size, connections, contender).div_ceil(extent.divisor);
                let rate = match contender {
                    Contender::Postfix => rate(postfix.address(), size, connections, messages),
                    Contender::SmtpSink => rate(sink_address, size, connections, messages),
                    Contender::GroupCommit => {
                        let file = scratch.join("log");
                        let run = group_commit(&file, size as usize, GROUP_COMMIT_WRITERS, messages.into());
                        fs::remove_file(file).unwrap();
                        run.records as f64 / run.took.as_secs_f64()
                    }
                    Contender::Penstock | Contender::PenstockSlowSync => {
                        let daemon = if contender == Contender::Penstock { &penstock } else { &slow };
                        let before = Counters::of(daemon);
                        let rate = rate(daemon.address(), size, connections, messages);
                        let after = Counters::of(daemon);
                        let syncs = (after.syncs - before.syncs) / f64::from(messages);
                        if contender == Contender::Penstock {
                            cell.syncs.push(syncs);
                            let custody = custody_bytes[SIZES.iter().position(|one| *one == size).unwrap()];
                            let bytes = (after.bytes - before.bytes) / f64::from(messages);
                            cell.write_amplification.push(bytes / custody);
                        } else {
                            cell.syncs_slow.push(syncs);
                        }
                        rate
                    }
                };
                cell.rates[index].push(rate);
            }
        }
        postfix.empty();
    }
    cells
}

fn print_cells(cells: &[Cell], extent: Extent) {
    println!(
        "messages per second (median of {} rounds; the rivals' columns, then ours as a multiple of theirs)",
        extent.rounds
    );
    println!(
        "{:>9} {:>5} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "bytes",
        "conns",
        "penstock",
        "postfix",
        "smtp-sink",
        "grp-comm",
        "x postfix",
        "x sink",
        "syncs/msg",
        "at 2 ms",
        "bytes/b"
    );
    for cell in cells {
        let (ours, postfix) = (cell.rate(Contender::Penstock), cell.rate(Contender::Postfix));
        let sink = cell.rate(Contender::SmtpSink);
        println!(
            "{:>9} {:>5} {ours:>9.0} {postfix:>9.0} {sink:>9.0} {:>9.0} {:>9.2} {:>9.2} {:>9.3} {:>9.3} {:>9.3}",
            cell.size,
            cell.connections,
            cell.rate(Contender::GroupCommit),
            ours / postfix,
            ours / sink,
            median(&cell.syncs),
            median(&cell.syncs_slow),
            median(&cell.write_amplification),
        );
    }
}

/// What storing 4 KiB messages costs at 50 connections by the kernel's books: bytes that the processes wrote, and bytes
/// that the device got, file system included, for each byte in custody.
fn print_costs() {
    let custody = custody_bytes()[0];
    let messages = 5000;
    let scratch = Scratch::new("device");
    let cost = |name: &str, address: SocketAddr, process: u32| {
        // What was there before is on the device, and the processes are there before they are counted.
        rate(address, SIZES[0], 50, 500);
        rustix::fs::sync();
        let device = || device_write_bytes(scratch.path());
        let (processes_before, device_before) = (write_bytes(process), device());
        rate(address, SIZES[0], 50, messages);
        rustix::fs::sync();
        let per_byte = |bytes: u64| bytes as f64 / f64::from(messages) / custody;
        let device = match device_before.zip(device()) {
            Some((before, after)) => format!("{:.2}", per_byte(after - before)),
            None => "an unknown number".to_owned(),
        };
        println!(
            "{name}, 4 KiB, 50 connections: {:.2} bytes written per byte, {device} on the device (others' writes count too)",
            per_byte(write_bytes(process) - processes_before)
        );
    };
    println!();
    let penstock = holding(Fault::None, "\"1GiB\"");
    cost("penstock", penstock.address(), penstock.id());
    drop(penstock);
    let postfix = Postfix::start(Role::Hold);
    cost("postfix", postfix.address(), postfix.master().unwrap());
    println!("postfix, 4 KiB, 50 connections: {} syncs per message", postfix_syncs_per_message(&postfix));
}

/// Counted by strace, where it may.
fn postfix_syncs_per_message(postfix: &Postfix) -> String {
    let messages = 2000;
    let master = postfix.master().unwrap();
    let scratch = Scratch::new("strace");
    let counts = scratch.join("counts");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-c", "-e", "trace=fsync,fdatasync", "-o"])
        .arg(&counts)
        .args(["-p", &master.to_string()]);
    for child in children(master) {
        strace.args(["-p", &child.to_string()]);
    }
    let mut strace = Process::spawn(strace.stdout(Stdio::null()).stderr(Stdio::null()));
    sleep(Duration::from_secs(1));
    if strace.ended().is_some() {
        return "an unknown number (no ptrace here) of".to_owned();
    }
    rate(postfix.address(), SIZES[0], 50, messages);
    signal(strace.id(), Signal::INT);
    strace.wait();
    // The fourth column of its table.
    let table = fs::read_to_string(&counts).unwrap();
    let calls: f64 = table
        .lines()
        .filter(|line| line.ends_with("fsync") || line.ends_with("fdatasync"))
        .filter_map(|line| line.split_whitespace().nth(3)?.parse::<f64>().ok())
        .sum();
    format!("{:.2}", calls / f64::from(messages))
}

/// The wait for the reply to the final dot of a 4 KiB message on one connection: median and 99th percentile in µs.
fn latency_us(to: SocketAddr) -> (u128, u128) {
    let mut client = Client::connect(to);
    client.ask("EHLO client.example");
    let message = stuffed(&[b"Subject: x\r\n\r\n".as_slice(), &b"0123456789abcd\r\n".repeat(255)].concat());
    let mut waits: Vec<_> = (0..500)
        .map(|_| {
            client.ask("MAIL FROM:<a@example.org>");
            client.ask("RCPT TO:<b@example.com>");
            client.ask("DATA");
            let began = Instant::now();
            client.send(&message);
            assert_eq!(client.reply().code, 250);
            began.elapsed().as_micros()
        })
        .collect();
    waits.sort_unstable();
    (waits[waits.len() / 2], waits[waits.len() * 99 / 100])
}

/// Time from the start to the greeting with many messages queued, in ms.
fn restart_ms(mut up: impl FnMut() -> Duration) -> f64 {
    let runs: Vec<_> = (0..RESTARTS).map(|_| up().as_secs_f64() * 1000.0).collect();
    median(&runs)
}

/// The peak of PSS while a big message comes in and goes out again, in KiB.
fn big_message_kib() -> u64 {
    let sink = Sink::start(0, 1);
    let daemon = Daemon::start(keeping(sink.address(), "\"1GiB\""));
    daemon.hold();
    peak_kib(
        || daemon.pss_kib(),
        || {
            send_big_message(daemon.address(), BIG_MIB);
            daemon.release();
            wait_until("the big message has arrived", || sink.count() == 1);
        },
    )
}

fn main() {
    let extent = match std::env::args().nth(1).as_deref() {
        None => Extent { rounds: 3, divisor: 1 },
        Some("--quick") => Extent { rounds: 1, divisor: 10 },
        Some(other) => panic!("no option {other}; there is --quick"),
    };
    let queued = extent.queued();
    let cells = measure_cells(extent);
    print_cells(&cells, extent);
    print_costs();

    let postfix = Postfix::start(Role::Hold);
    let mut penstock = holding(Fault::None, "\"2GiB\"");
    let (idle_kib, ours, theirs) =
        (penstock.pss_kib(), latency_us(penstock.address()), latency_us(postfix.address()));
    println!(
        "reply to the final dot, one connection, 4 KiB: penstock {} µs (p99 {}), postfix {} µs (p99 {})",
        ours.0, ours.1, theirs.0, theirs.1
    );

    eprintln!("queueing {queued} messages in each");
    rate(penstock.address(), SIZES[0], 50, queued);
    let queued_kib = penstock.pss_kib();
    rate(postfix.address(), SIZES[0], 50, queued);
    let restart_penstock = restart_ms(|| {
        penstock.stop();
        penstock.up()
    });
    let restart_postfix = restart_ms(|| {
        postfix.down();
        let began = Instant::now();
        postfix.up();
        began.elapsed()
    });
    println!(
        "start to greeting with {queued} queued: penstock {restart_penstock:.0} ms, postfix {restart_postfix:.0} ms"
    );

    let big_kib = big_message_kib();
    println!(
        "memory (PSS): idle {idle_kib} KiB, {queued} queued {queued_kib} KiB, {BIG_MIB} MiB message {big_kib} KiB"
    );

    let cells: Vec<_> = cells
        .iter()
        .map(|cell| {
            format!(
                "{{\"size\":{},\"conns\":{},\"penstock\":{:.1},\"postfix_hold\":{:.1},\"smtp_sink\":{:.1},\
                 \"group_commit\":{:.1},\"syncs_per_msg\":{:.4},\"syncs_per_msg_2ms\":{:.4},\"write_amp\":{:.4}}}",
                cell.size,
                cell.connections,
                cell.rate(Contender::Penstock),
                cell.rate(Contender::Postfix),
                cell.rate(Contender::SmtpSink),
                cell.rate(Contender::GroupCommit),
                median(&cell.syncs),
                median(&cell.syncs_slow),
                median(&cell.write_amplification),
            )
        })
        .collect();
    println!(
        "{{\"bench\":\"accept\",\"cells\":[{}],\"restart_ms\":{{\"penstock\":{restart_penstock:.1},\"postfix\":{restart_postfix:.1}}},\
         \"pss_kib\":{{\"idle\":{idle_kib},\"queued_50k\":{queued_kib},\"big_message\":{big_kib}}}}}",
        cells.join(",")
    );
}
