//! `penstock volume`: on images that nobody uses, and on the volume of the running service.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use penstock_flash::sim::Sim;
use penstock_flash::{Erase, Geometry};
use penstock_flash_linux::Volume;
use penstock_spool::{Begin, Buffers, Fate, MountOptions, Notify, Recipient, Spool, Stamp, Status};
use serde_json::json;
use tempfile::TempDir;

use crate::fake::{Daemon, Ran, outage, penstock, run};
use crate::real::Appliance;

const SEGMENT_BYTES: u32 = 256 * 1024;

fn alone(args: &[&str]) -> Ran {
    run(Path::new("/nonexistent/control.sock"), args)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A volume made by `format`.
fn formatted(dir: &TempDir) -> (PathBuf, String) {
    let path = dir.path().join("volume");
    let made =
        alone(&["volume", "format", text(&path), "--size", "8MiB", "--segment-size", "256KiB", "--json"]);
    let id = made.json()["id"].as_str().unwrap().to_owned();
    (path, id)
}

/// The body of the message with that number, which contains a word of its own.
fn body(number: u64) -> String {
    format!("Subject: number {number}\r\n\r\n{}\r\n", format!("word-{number} ").repeat(2000))
}

/// A volume with three messages, the second of which is delivered to one of its two recipients. It is made in memory: a
/// lock that this process had held would outlive its file in every child that another test is just starting.
fn with_mail(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("volume");
    let (segments, unit_bytes, erase) = (32, 4096, Erase::Logical);
    let sim = Sim::new(Geometry { segments, segment_bytes: SEGMENT_BYTES, unit_bytes, erase }).unwrap();
    penstock_spool::format(&mut sim.medium(), *b"a volume of mail", false, |_, _| {}).unwrap();
    let buffer = || vec![0; 128 * 1024];
    let buffers = Buffers { hot: buffer(), moved: buffer(), status: buffer() };
    let mut spool = Spool::mount(sim.medium(), buffers, MountOptions::default()).unwrap();
    let at = Stamp { unix_ms: 1_772_330_400_000, boot: 1, trusted: true };
    for number in 1..=3 {
        let begin = Begin { received: at, sender: "bob@example.com".into(), ..Begin::default() };
        let recipient =
            |name: &str, notify| Recipient { address: format!("{name}@example.org"), notify, orcpt: None };
        let recipients = [recipient("ann", Notify::NEVER), recipient("mia", Notify::default())];
        let mut incoming = spool.begin(&begin, &recipients, None).unwrap();
        spool.write(&mut incoming, body(number).as_bytes()).unwrap();
        let id = spool.commit(incoming).unwrap();
        spool.sync().unwrap();
        if number == 2 {
            let fate = Fate::Delivered;
            let status = Status { first: 0, count: 1, fate, attempts: 1, reply_code: 250, at };
            spool.set_status(id, &status).unwrap();
            spool.sync().unwrap();
        }
    }
    spool.close().unwrap();
    fs::write(&path, sim.image()).unwrap();
    path
}

/// Flips bits of a message, so many bytes behind the first of its words.
fn flip(path: &Path, number: u64, behind: usize, mask: u8) {
    let mut image = fs::read(path).unwrap();
    let word = format!("word-{number} ");
    let at = image.windows(word.len()).position(|window| window == word.as_bytes()).unwrap();
    image[at + behind] ^= mask;
    fs::write(path, image).unwrap();
}

#[test]
fn a_volume_is_made_in_full_and_never_over_another_unless_its_id_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, id) = formatted(&dir);
    assert_eq!(fs::metadata(&path).unwrap().len(), 8 << 20);
    let format = |more: &[&str]| {
        let mut args = vec!["volume", "format", text(&path), "--size", "8MiB", "--segment-size", "256KiB"];
        args.extend(more);
        alone(&args)
    };
    let before = fs::read(&path).unwrap();
    let refused = format(&[]);
    assert_eq!(refused.exit, Some(1));
    assert!(refused.stderr.contains(&id) && refused.stderr.contains("--overwrite"), "{refused:?}");
    for more in [&["--overwrite"][..], &["--overwrite", "--confirm", "yes"]] {
        let refused = format(more);
        assert_eq!(refused.exit, Some(1), "{more:?}");
        assert!(refused.stderr.contains("PS-D312"), "{refused:?}");
    }
    assert!(before == fs::read(&path).unwrap(), "nothing was touched");
    assert!(format(&["--overwrite", "--confirm", &id]).printed().contains("is a new volume of 8.0 MiB"));
    let info = alone(&["volume", "info", text(&path), "--json"]).json();
    assert_ne!(info["id"], id);
    assert_eq!(info["segments"]["total"], 32);
}

#[test]
fn something_that_is_no_volume_is_destroyed_only_if_its_path_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holiday.mov");
    fs::write(&path, vec![7; 8 << 20]).unwrap();
    let args = ["volume", "format", text(&path), "--size", "8MiB", "--segment-size", "256KiB"];
    assert!(alone(&args).stderr.contains("PS-D311"));
    assert_eq!(fs::read(&path).unwrap(), vec![7; 8 << 20]);
    let confirmed = [&args[..], &["--overwrite", "--confirm", text(&path)]].concat();
    alone(&confirmed).printed();
    assert_eq!(alone(&["volume", "info", text(&path), "--json"]).json()["messages"], 0);
}

#[test]
fn what_is_typed_wrong_is_told_apart_from_what_fails() {
    let wrong: [&[&str]; 9] = [
        &["volume"],
        &["volume", "format"],
        &["volume", "format", "/x", "--segment-size", "3MiB"],
        &["volume", "format", "/x", "--confirm", "id"],
        &["volume", "scrub", "--stop", "image"],
        &["volume", "salvage", "image"],
        &["volume", "qualify"],
        &["volume", "qualify", "/tmp", "--verify", "0"],
        &["volume", "qualify", "/tmp", "--witness", "other:1"],
    ];
    for args in wrong {
        assert_eq!(alone(args).exit, Some(2), "{args:?}");
    }
    assert_eq!(alone(&["volume", "check", "/nonexistent"]).exit, Some(1));
    assert_eq!(alone(&["volume", "check"]).exit, Some(3), "there is no service to ask");
}

#[test]
fn a_check_tells_what_is_wrong_and_changes_nothing_and_a_scrub_puts_right_what_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = with_mail(&dir);
    let check = ["volume", "check", text(&path)];
    assert!(alone(&check).printed().ends_with("Everything is as it was written.\n"));
    flip(&path, 1, 100, 0x10);
    flip(&path, 3, 100, 0x10);
    flip(&path, 3, 900, 0x01);
    let before = fs::read(&path).unwrap();
    let checked = alone(&check);
    assert_eq!(checked.exit, Some(1));
    assert!(
        checked.stdout.starts_with("d-1: flipped bits that can be put right\nd-3: damaged\n"),
        "{checked:?}"
    );
    assert!(before == fs::read(&path).unwrap(), "a check writes nothing");
    let scrubbed = alone(&["volume", "scrub", text(&path), "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&scrubbed.stdout).unwrap();
    assert_eq!((scrubbed.exit, &answer["clean"]), (Some(1), &json!(false)));
    assert_eq!((&answer["found"]["repaired"], &answer["found"]["damaged"]), (&json!(1), &json!(1)));
    let checked = alone(&check);
    assert!(checked.stdout.starts_with("d-3: damaged\n2 messages ("), "{checked:?}");
}

#[test]
fn a_salvage_writes_exactly_the_messages_that_are_intact() {
    let dir = tempfile::tempdir().unwrap();
    let path = with_mail(&dir);
    flip(&path, 3, 100, 0x10);
    flip(&path, 3, 900, 0x01);
    let before = fs::read(&path).unwrap();
    let rescued = dir.path().join("rescued");
    let salvage = ["volume", "salvage", text(&path), text(&rescued)];
    let salvaged = alone(&salvage);
    assert_eq!(salvaged.exit, Some(1));
    assert!(salvaged.stdout.starts_with("2 messages written to "), "{salvaged:?}");
    assert!(salvaged.stdout.contains("1 message damaged:\n  d-3: "), "{salvaged:?}");
    assert!(before == fs::read(&path).unwrap(), "a salvage writes nothing");
    let mut names: Vec<_> = fs::read_dir(&rescued)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["d-1.eml", "d-1.json", "d-2.eml", "d-2.json", "penstock-salvage.json"]);
    for number in 1..=2 {
        assert_eq!(fs::read_to_string(rescued.join(format!("d-{number}.eml"))).unwrap(), body(number));
    }
    let envelope: serde_json::Value =
        serde_json::from_slice(&fs::read(rescued.join("d-2.json")).unwrap()).unwrap();
    assert_eq!(envelope["sender"], "bob@example.com");
    let recipients = json!([
        { "address": "ann@example.org", "fate": "delivered", "parameters": "NOTIFY=NEVER" },
        { "address": "mia@example.org", "fate": "queued", "parameters": "" },
    ]);
    assert_eq!(envelope["recipients"], recipients);

    let again = alone(&salvage);
    assert!(again.stderr.contains("PS-D313") && again.stderr.contains("--resume"), "{again:?}");
    fs::remove_file(rescued.join("d-1.json")).unwrap();
    let resumed = alone(&[&salvage[..], &["--resume", "--json"]].concat());
    let answer: serde_json::Value = serde_json::from_str(&resumed.stdout).unwrap();
    assert_eq!((&answer["written"], &answer["present"]), (&json!(1), &json!(1)));
}

#[test]
fn a_salvage_finds_all_mail_on_a_volume_without_a_single_header() {
    let dir = tempfile::tempdir().unwrap();
    let path = with_mail(&dir);
    let mut image = fs::read(&path).unwrap();
    image.chunks_mut(SEGMENT_BYTES as usize).for_each(|segment| segment[..8192].fill(0));
    fs::write(&path, image).unwrap();
    let info = alone(&["volume", "info", text(&path), "--segment-size", "256KiB"]);
    assert!(info.stderr.contains("PS-S010") && info.stderr.contains("volume salvage"), "{info:?}");
    let rescued = dir.path().join("rescued");
    let salvage = ["volume", "salvage", text(&path), text(&rescued), "--segment-size", "256KiB", "--json"];
    let answer = alone(&salvage).json();
    assert_eq!((&answer["written"], &answer["damaged"]), (&json!(3), &json!([])));
    for number in 1..=3 {
        assert_eq!(fs::read_to_string(rescued.join(format!("d-{number}.eml"))).unwrap(), body(number));
    }
}

#[test]
fn a_volume_in_use_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = with_mail(&dir);
    let user = Volume::open(&path, SEGMENT_BYTES).unwrap();
    let rescued = dir.path().join("rescued");
    for args in [
        &["volume", "info", text(&path)][..],
        &["volume", "check", text(&path)],
        &["volume", "scrub", text(&path)],
        &["volume", "format", text(&path)],
        &["volume", "salvage", text(&path), text(&rescued)],
    ] {
        let refused = alone(args);
        assert_eq!(refused.exit, Some(1), "{args:?}");
        assert!(
            refused.stderr.contains("PS-M102") && refused.stderr.contains("systemctl stop"),
            "{refused:?}"
        );
    }
    assert!(!rescued.exists());
    drop(user);
}

#[test]
fn the_running_service_tells_of_its_volume_and_goes_through_it() {
    let mut the_box = Appliance::new();
    the_box.hand_in("mia@example.org");
    let info = the_box.run(&["volume", "info", "--json"]).json();
    assert_eq!((&info["messages"], &info["segment_bytes"]), (&json!(1), &json!(1 << 20)));
    let checked = the_box.run(&["volume", "check", "--json"]).json();
    assert_eq!((&checked["complete"], &checked["repair"]), (&json!(true), &json!(false)));
    assert_eq!((&checked["found"]["messages"], &checked["found"]["damaged"]), (&json!(1), &json!(0)));
    let scrubbed = the_box.run(&["volume", "scrub"]);
    assert!(scrubbed.printed().ends_with("Everything is as it was written.\n"), "{scrubbed:?}");
    assert!(the_box.run(&["volume", "scrub", "--stop"]).printed().contains("No scrub was running."));
    let followed = the_box.run(&["volume", "scrub", "--follow"]);
    assert!(followed.printed().starts_with("None is running. The last ended "), "{followed:?}");
    assert!(the_box.run(&["status"]).printed().contains("last read and checked "));
    assert_eq!(the_box.stop(), Some(0));
    let path = the_box.dir.path().join("volume");
    let offline = alone(&["volume", "info", text(&path), "--json"]).json();
    assert_eq!((&offline["id"], &offline["mount"]["clean"]), (&info["id"], &json!(true)));
}

#[test]
fn the_mail_of_another_boxs_volume_is_taken_over_once_with_envelope_and_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let path = with_mail(&dir);
    flip(&path, 3, 500, 0xFF);
    let before = fs::read(&path).unwrap();
    let mut the_box = Appliance::new();
    let own = the_box.hand_in("own@example.org");
    let adopted = the_box.run(&["volume", "adopt", text(&path)]);
    assert_eq!(adopted.exit, Some(1), "one is damaged: {adopted:?}");
    assert!(
        adopted.stdout.starts_with(&format!("2 messages of {} adopted (", path.display())),
        "{adopted:?}"
    );
    assert!(adopted.stdout.contains("1 message damaged and not adopted:\n  d-3\n"), "{adopted:?}");
    assert_eq!(fs::read(&path).unwrap(), before, "it was only read");

    let again = the_box.run(&["volume", "adopt", text(&path), "--json"]);
    let again: serde_json::Value = serde_json::from_str(&again.stdout).unwrap();
    assert_eq!((&again["adopted"], &again["present"]), (&json!(0), &json!(2)));
    the_box.restart();
    let queue = the_box.run(&["queue", "--json"]).json();
    let rows = queue["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0]["id"], json!(own));
    for (row, number, recipients) in [(&rows[1], 1, &["ann", "mia"][..]), (&rows[2], 2, &["mia"])] {
        assert_eq!(row["received_unix_ms"], json!(1_772_330_400_000_u64), "it is as old as it was");
        let id = row["id"].as_str().unwrap();
        let shown = the_box.run(&["show", id, "--json"]).json();
        let found: Vec<_> =
            shown["recipient_list"].as_array().unwrap().iter().map(|it| &it["address"]).collect();
        let wanted: Vec<_> = recipients.iter().map(|name| json!(format!("{name}@example.org"))).collect();
        assert_eq!(found, wanted.iter().collect::<Vec<_>>(), "who had it does not get it again");
        let said = shown["events"][0]["text"].as_str().unwrap();
        assert!(said.ends_with(&format!("where it was d-{number}")), "{said}");
        let to = the_box.dir.path().join(format!("{id}.eml"));
        the_box.run(&["export", id, "--reason", "compare", "--output", text(&to)]).printed();
        assert_eq!(fs::read_to_string(&to).unwrap(), body(number), "byte for byte, nothing on top");
    }
    assert_eq!(the_box.stop(), Some(0));
    let own_volume = the_box.dir.path().join("volume");
    let copy = dir.path().join("copy");
    fs::copy(own_volume, &copy).unwrap();
    the_box.restart_stopped();
    let refused = the_box.run(&["volume", "adopt", text(&copy)]);
    assert!(refused.stderr.contains("PS-D257"), "its own mail would come twice: {refused:?}");
}

#[test]
fn the_mail_of_a_volume_that_cannot_be_mounted_is_found_and_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = with_mail(&dir);
    // A copy that was cut short is no longer the volume that its headers speak of.
    let mut image = fs::read(&path).unwrap();
    image.truncate(image.len() - 2 * SEGMENT_BYTES as usize);
    fs::write(&path, image).unwrap();
    let the_box = Appliance::new();
    let adopted = the_box.run(&["volume", "adopt", text(&path), "--json"]).json();
    assert_eq!((&adopted["adopted"], &adopted["damaged"]), (&json!(3), &json!([])));
    assert!(adopted["not_mounted"].is_string(), "{adopted}");
    let rows = the_box.run(&["queue", "--json"]).json()["rows"].clone();
    let open: Vec<_> = rows.as_array().unwrap().iter().map(|row| row["open_recipients"].clone()).collect();
    assert_eq!(open, [2, 1, 2], "what became of recipients is found, too");
}

#[test]
fn what_a_service_is_told_is_what_was_typed() {
    let daemon = Daemon::with(outage());
    daemon.run(&["volume", "scrub", "--detach"]).printed();
    daemon.run(&["volume", "scrub", "--stop"]).printed();
    daemon.run(&["volume", "check"]).printed();
    daemon.run(&["volume", "scrub", "--nor", "--detach"]).printed();
    let told =
        ["scrub disk, repair true", "stop the scrub", "scrub disk, repair false", "scrub nor, repair true"];
    assert_eq!(daemon.told(), told);
}

#[test]
fn records_are_written_witnessed_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut witness = penstock(dir.path())
        .args(["volume", "qualify", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(witness.stdout.take().unwrap()).lines().map(Result::unwrap);
    let address = lines.next().unwrap().strip_prefix("listening on ").unwrap().to_owned();
    let here = text(dir.path());
    alone(&["volume", "qualify", here, "--write", "--records", "40", "--witness", &address]).printed();
    assert!(lines.next().unwrap().ends_with(" writes"));
    assert!(lines.next().unwrap().ends_with("--verify 40"), "the last number is known to the witness");
    witness.kill().unwrap();
    witness.wait().unwrap();
    let found = alone(&["volume", "qualify", here, "--verify", "40", "--json"]).json();
    assert_eq!((&found["lost"], &found["last"]), (&json!(0), &json!(40)));
    // As if the device had said yes to 60 and kept 40.
    let lost = alone(&["volume", "qualify", here, "--verify", "60"]);
    assert_eq!(lost.exit, Some(1));
    assert!(lost.stdout.starts_with("20 of 60 records acknowledged are gone, the first is 41"), "{lost:?}");
}

#[test]
fn a_qualification_says_what_it_stands_on_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let doubted = alone(&["volume", "qualify", text(dir.path()), "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&doubted.stdout).unwrap();
    assert_eq!((doubted.exit, &answer["verdict"]), (Some(1), &json!("doubtful")));
    assert!(answer["latency"]["flush"]["writes"].as_u64().unwrap() > 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let volume = dir.path().join("volume");
    fs::write(&volume, b"mail").unwrap();
    let refused = alone(&["volume", "qualify", text(&volume)]);
    assert_eq!(refused.exit, Some(2));
    assert_eq!(fs::read(&volume).unwrap(), b"mail");
}
