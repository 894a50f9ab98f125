//! the volume: mount time and memory, throughput against its medium, write amplification and wear
//!
//! Everything runs on one file system, under `PENSTOCK_SCRATCH` or else `/var/tmp`, and needs some 6 GB there. `--quick`
//! measures less of everything: to see that all works, not to compare.

// What it prints is what it is for, and a measurement that cannot be made ends it.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::{Path, PathBuf};

use penstock_bench::churn::{self, Order};
use penstock_bench::throughput::Pace;
use penstock_bench::{mounts, throughput};
use serde_json::{Value, json};

const USAGE: &str = "usage: scripts/bench volume [--quick]

Measures mounts, throughput and wear of a volume in a file under PENSTOCK_SCRATCH or else /var/tmp, with some 6 GB.
--quick measures less of everything: to see that all works, not to compare.";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, path, segment_bytes] = arguments.as_slice()
        && flag == mounts::CHILD
    {
        println!("{}", mounts::mount_once(Path::new(path), segment_bytes.parse().unwrap()));
        return;
    }
    let quick = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => false,
        ["--quick"] => true,
        _ => {
            println!("{USAGE}");
            std::process::exit(i32::from(arguments != ["--help"]));
        }
    };
    let base = std::env::var_os("PENSTOCK_SCRATCH").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let folder = tempfile::Builder::new().prefix("penstock-bench-").tempdir_in(base).unwrap();

    println!("Mount, with nothing in the page cache; (…) after an unclean stop");
    println!(
        "{:>10} {:>9} {:>8} {:>16} {:>16} {:>14} {:>9} {:>9} {:>16}",
        "messages",
        "volume",
        "segments",
        "ms",
        "read MiB",
        "requests",
        "index MiB",
        "peak MiB",
        "longest step ms"
    );
    let mount = mounts::measure(folder.path(), quick, |row| {
        println!(
            "{:>10} {:>9} {:>8} {:>16} {:>16} {:>14} {:>9} {:>9} {:>16}",
            row["messages"].to_string(),
            size(&row["volume_bytes"]),
            row["segments"].to_string(),
            and_unclean(row, "mount_ms", ToString::to_string),
            and_unclean(row, "bytes_read", mib),
            and_unclean(row, "requests", ToString::to_string),
            mib(&row["index_bytes"]),
            mib(&row["peak_bytes"]),
            row.get("longest_step_ms").map_or(String::new(), ToString::to_string),
        );
    });

    println!("\nThroughput in MiB/s of message bodies, beside the same requests straight to the medium");
    println!("{:>26} {:>8} {:>8} {:>6} {:>10} {:>8} {:>6}", "", "append", "raw", "", "read", "raw", "");
    let throughput = throughput::measure(folder.path(), quick, |row| {
        println!(
            "{:>22} {:>8.0} {:>8.0} {:>6.2} {:>10.0} {:>8.0} {:>6.2}",
            format!(
                "{}, {} session{}{}",
                row["body"].as_str().unwrap(),
                row["sessions"],
                if row["sessions"] == 1 { "" } else { "s" },
                row["pace"].as_str().map_or(String::new(), |pace| format!(", {pace}")),
            ),
            row["append_mib_s"].as_f64().unwrap(),
            row["raw_append_mib_s"].as_f64().unwrap(),
            row["append_vs_raw"].as_f64().unwrap(),
            row["read_mib_s"].as_f64().unwrap(),
            row["raw_read_mib_s"].as_f64().unwrap(),
            row["read_vs_raw"].as_f64().unwrap(),
        );
    });

    println!(
        "\nMail coming and going on 256 segments of 1 MiB: all bytes programmed for each byte of mail taken"
    );
    println!(
        "{:>24} {:>9} {:>10} {:>8} {:>8} {:>8} {:>16}",
        "", "turnovers", "write amp", "erases", "fewest", "most", "longest step ms"
    );
    let few = if quick { 2 } else { 6 };
    let many = if quick { 3 } else { 50 };
    let cases = [
        ("in order", Order::InOrder, many),
        ("random, 60 % full", Order::Random, few),
        ("a stubborn 1 %", Order::Stubborn, few),
    ];
    let churn = cases.map(|(name, order, turnovers)| {
        let row = churn::run(order, turnovers);
        println!(
            "{name:>24} {turnovers:>9} {:>10} {:>8} {:>8} {:>8} {:>16}",
            row["write_amp"].to_string(),
            row["erases"].to_string(),
            row["erase_counts"][0].to_string(),
            row["erase_counts"][1].to_string(),
            row["longest_step_ms"].to_string(),
        );
        row
    });

    // Sequential is what one session sends without a pause: the largest messages.
    let sequential = |pace: Option<Pace>| {
        let large = throughput.iter().rfind(|row| row["pace"].as_str() == pace.map(|pace| pace.name));
        large.map(|row| row["append_vs_raw"].clone()).unwrap()
    };
    // By hand, so that the keys stand in the order in which they are asked for.
    let member = |key: &str, value: &Value| format!("\"{key}\":{value}");
    let members = [
        member("bench", &json!("volume")),
        member("mount", &json!(mount)),
        member(
            "write_amp",
            &json!({
                "in_order": churn[0]["write_amp"],
                "random": churn[1]["write_amp"],
                "stubborn": churn[2]["write_amp"],
            }),
        ),
        member("append_vs_raw", &sequential(None)),
        member("erase_spread", &churn[0]["erase_spread"]),
        member("append_vs_raw_at_emmc_pace", &sequential(Some(throughput::EMMC))),
        member("append_vs_raw_at_1_gb_s", &sequential(Some(throughput::DISK))),
        member("throughput", &json!(throughput)),
        member("churn", &json!(churn)),
    ];
    println!("\n{{{}}}", members.join(","));
}

/// A number of a mount, and in brackets the same after an unclean stop where that was measured.
fn and_unclean(row: &Value, key: &str, show: impl Fn(&Value) -> String) -> String {
    let clean = show(&row[key]);
    row.get(format!("unclean_{key}")).map_or(clean.clone(), |unclean| format!("{clean} ({})", show(unclean)))
}

fn mib(bytes: &Value) -> String {
    format!("{:.1}", bytes.as_f64().unwrap() / f64::from(1 << 20))
}

fn size(bytes: &Value) -> String {
    let mib = bytes.as_u64().unwrap() >> 20;
    if mib < 1024 { format!("{mib} MiB") } else { format!("{} GiB", mib >> 10) }
}
