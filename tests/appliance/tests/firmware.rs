//! What a box promises that starts from its flash: whatever becomes of its software, it ends in service.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::net::SocketAddr;
use std::process::Command;
use std::thread;
use std::time::Duration;

use penstock_appliance::bundles::{Change, damaged, failing_firmware, system};
use penstock_appliance::console::Console;
use penstock_appliance::later::mark;
use penstock_appliance::machine::{Appliance, settings_before, settings_without_disk, with_lent_address};
use penstock_image::bundle::{FIRMWARE_BUNDLE, SYSTEM_BUNDLE};
use penstock_peers::client::Client;
use penstock_peers::daemon::Settings;
use penstock_peers::ledger::Balance;
use penstock_peers::load::{Source, random_message, send_random};
use penstock_peers::process::{run, wait_until};
use penstock_peers::random::Random;
use penstock_peers::recorder::{Recorder, Transaction};
use penstock_peers::scratch::Scratch;
use penstock_peers::sink::Sink;

/// What the firmware says when it takes mail itself.
const RESCUE: &str = "rescue: takes mail as";

/// A box that has been up once, so that it knows itself and its volumes, and is off.
fn settled(settings: &Settings) -> Appliance {
    let mut appliance = Appliance::prepare(settings).from_flash();
    appliance.up();
    assert!(appliance.press_power_key().success(), "{}", appliance.serial_log());
    appliance
}

/// Rot at the beginning of both systems.
fn lose_both_systems(appliance: &Appliance) {
    for slot in ["system-a", "system-b"] {
        appliance.write_partition(slot, &[0; 4096]);
    }
}

fn give_a_system_back(appliance: &Appliance) {
    appliance.write_partition("system-a", &appliance.image_file(SYSTEM_BUNDLE));
}

/// Types a command that starts the box again, and listens until it has: a line that nobody reads holds up who writes on it.
fn restart_by(appliance: &mut Appliance, command: &str) {
    let mut console = Console::take(appliance.serial());
    console.begin(command);
    console.wait_for_words(concat!("Penstock ", env!("CARGO_PKG_VERSION"), " starts"));
    drop(console);
    appliance.wait_until_it_greets();
}

/// All that the rescue has acknowledged is delivered by a system that is given back, each message once and as it was. Returns
/// how many those are.
fn comes_out_of_a_system_given_back(appliance: &mut Appliance, sent: &[Transaction], sink: &Sink) -> usize {
    give_a_system_back(appliance);
    appliance.up();
    wait_until("all acknowledged mail has arrived", || Balance::of(sent, &sink.deliveries()).lost.is_empty());
    let balance = Balance::of(sent, &sink.deliveries());
    balance.assert_sound(0);
    balance.acknowledged
}

/// Hands a message to the rescue, which gives way to a system that is given back.
fn one_taken_by_the_rescue_comes_out(mut appliance: Appliance, sink: &Sink) {
    let mut client = Client::connect(appliance.address());
    client.ask("EHLO client.example");
    assert_eq!(client.message("you@example.org", &["someone@example.com"], b"x\r\n").code, 250);
    drop(client);
    // A power cut is no reason to try the system less.
    appliance.unplug();
    give_a_system_back(&appliance);
    appliance.up();
    wait_until("the message comes out", || sink.count() == 1);
}

/// How both slots of a kind stand, as the console tells.
fn stand(console: &mut Console, kind: &str, slots: [&str; 2]) {
    let status = console.ask("update status").text;
    let lines: Vec<&str> = status.lines().map(str::trim).collect();
    let of_kind = lines.iter().position(|line| line.starts_with(kind)).map_or(0, |at| at + 1);
    for (line, slot) in lines[of_kind..].iter().zip(slots) {
        assert!(line.starts_with(slot), "{kind}, {slot}: {status}");
    }
}

fn rescues(appliance: &Appliance) -> usize {
    appliance.serial_log().matches(RESCUE).count()
}

fn swaks(to: SocketAddr, body: &std::path::Path, recipient: &str) {
    let mut swaks = Command::new("swaks");
    swaks.args(["--server", &to.ip().to_string(), "--port", &to.port().to_string()]);
    swaks.args(["--from", "you@example.org", "--to", recipient, "--suppress-data", "--timeout", "120"]);
    run(swaks.arg("--data").arg(format!("@{}", body.display())));
}

#[test]
fn a_box_starts_from_its_flash_and_says_how_long_each_step_took() {
    let sink = Sink::start(0, 1);
    let mut appliance = Appliance::prepare(&settings_before(sink.address())).from_flash();
    println!("220 after {:?}", appliance.up());
    let log = appliance.serial_log();
    println!("{}", log.lines().take_while(|line| !line.contains("[init]")).collect::<Vec<_>>().join("\n"));
    let mut console = Console::take(appliance.serial());
    let slots = console.ask("slots");
    assert!(slots.last == "OK" && slots.text.contains("runs; started first"), "{slots:?}");
    let verified = console.ask("verify");
    assert_eq!(verified.last, "OK", "{verified:?}");
}

#[test]
fn with_both_systems_gone_the_firmware_takes_mail_that_the_next_system_delivers() {
    let sink = Sink::start(0, 1);
    let mut appliance = settled(&settings_before(sink.address()));
    lose_both_systems(&appliance);
    println!("220 of the rescue after {:?}", appliance.up());
    assert_eq!(rescues(&appliance), 1, "{}", appliance.serial_log());

    let recorder = Recorder::start(appliance.address());
    let to = recorder.address();
    // One source may have four sessions of the rescue's sixteen, and here all come from one.
    for (sessions, messages, len_bytes, recipients) in
        [(4, 100, 3_000, 1), (2, 60, 20_000, 3), (1, 20, 200_000, 1)]
    {
        let source = Source { sessions, messages, len_bytes, recipients, keep_open: sessions > 1 };
        assert!(source.spawn(to).wait().success(), "{source:?}");
    }
    let (scratch, mut random) = (Scratch::new("letters"), Random::seeded(7));
    for (n, len_bytes) in (0..20).map(|n| (n, if n == 7 { 5 << 20 } else { 500 << (n % 6) })) {
        let body = scratch.join("letter");
        std::fs::write(&body, random_message(&mut random, len_bytes)).unwrap();
        swaks(to, &body, &format!("someone{n}@example.com"));
    }
    let mut client = Client::connect(appliance.address());
    client.ask("EHLO client.example");
    assert_eq!(client.message("you@example.org", &["else@example.net"], b"x\r\n").code, 550, "no relaying");
    drop(client);
    let sent = recorder.finish();
    assert_eq!(sink.count(), 0, "nobody gives it on");

    appliance.unplug();
    let acknowledged = comes_out_of_a_system_given_back(&mut appliance, &sent, &sink);
    assert!(acknowledged >= 200, "{acknowledged}");

    // The other slot is repaired by the system that runs.
    assert!(appliance.press_power_key().success());
    appliance.set_stick(Some(&appliance.image_file(SYSTEM_BUNDLE)));
    appliance.up();
    let mut console = Console::take(appliance.serial());
    let updated = console.ask("update /dev/vdb");
    assert!(updated.last == "OK" && updated.text.contains("stands in slot b"), "{updated:?}");
    assert_eq!(console.ask("verify").last, "OK");
}

#[test]
fn in_the_rescue_acknowledged_mail_outlives_the_plug_pulled_twenty_times() {
    for (settings, rounds) in
        [(settings_before as fn(SocketAddr) -> Settings, 12), (settings_without_disk, 8)]
    {
        let mut random = Random::announced();
        let sink = Sink::start(0, 1);
        let mut appliance = settled(&settings(sink.address()));
        lose_both_systems(&appliance);
        let mut seen = rescues(&appliance);
        appliance.up();
        let recorder = Recorder::start(appliance.address());
        for round in 0..rounds {
            let (to, seed) = (recorder.address(), random.bits());
            let mut source =
                Source { sessions: 6, messages: 400, len_bytes: 4096, recipients: 1, keep_open: true }
                    .spawn(to);
            let own = thread::spawn(move || send_random(to, seed, 100, 20_000));
            thread::sleep(Duration::from_millis(random.within(200..2000)));
            appliance.unplug();
            own.join().unwrap();
            source.kill();
            let took = appliance.up();
            println!(
                "round {round}: {} acknowledged so far, greeting after {took:?}",
                recorder.acknowledged()
            );
            assert!(rescues(&appliance) > seen, "it is the rescue that greets: {}", appliance.serial_log());
            seen = rescues(&appliance);
        }
        let sent = recorder.finish();
        appliance.unplug();
        let acknowledged = comes_out_of_a_system_given_back(&mut appliance, &sent, &sink);
        assert!(acknowledged > 50, "hardly any load: {acknowledged}");
    }
}

#[test]
fn a_system_that_goes_down_again_and_again_gives_way_to_the_rescue_for_a_while() {
    let sink = Sink::start(0, 1);
    let mut appliance = settled(&settings_before(sink.address()));
    // It was good once, and now it ends before it has begun.
    let crashing = system(&appliance, &Change { words: Some("rdinit=/nowhere"), ..Change::default() });
    appliance.write_partition("system-a", &crashing);
    println!(
        "220 after {:?}, {} panics",
        appliance.up(),
        appliance.serial_log().matches("Kernel panic").count()
    );
    let log = appliance.serial_log();
    assert!(rescues(&appliance) == 1 && log.contains("the system does not stay up"), "{log}");
    assert_eq!(log.matches("Kernel panic").count(), 3, "{log}");
    one_taken_by_the_rescue_comes_out(appliance, &sink);
}

#[test]
fn an_update_is_tried_and_marked_good_and_one_that_fails_goes_back_by_itself() {
    let sink = Sink::start(0, 1);
    let settings = settings_before(sink.address()).set("update.good_after", "\"1m\"");
    let mut appliance = settled(&settings);
    let newer = Change { version: "0.9.0", security: 2, words: None };
    appliance.set_stick(Some(&system(&appliance, &newer)));
    appliance.up();
    restart_by(&mut appliance, "update /dev/vdb --reboot");
    let mut console = Console::take(appliance.serial());
    let status = console.ask("update status").text;
    assert!(status.contains("b  trial") && status.contains("waited for"), "{status}");
    wait_until("it is marked good", || {
        thread::sleep(Duration::from_secs(1));
        console.ask("update status").text.contains("b  confirmed  0.9.0")
    });
    drop(console);
    assert!(appliance.press_power_key().success());

    // One that does not stay up: the box is back with the one before, by itself.
    let failing = Change { version: "0.9.1", security: 2, words: Some("rdinit=/nowhere") };
    appliance.set_stick(Some(&system(&appliance, &failing)));
    appliance.up();
    restart_by(&mut appliance, "update /dev/vdb --reboot");
    assert_eq!(appliance.serial_log().matches("Kernel panic").count(), 3, "{}", appliance.serial_log());
    let mut console = Console::take(appliance.serial());
    let status = console.ask("update status").text;
    assert!(status.contains("a  failed") && status.contains("b  confirmed"), "{status}");

    // What may not be started is not even written.
    drop(console);
    assert!(appliance.press_power_key().success());
    let good = system(&appliance, &Change { version: "0.9.2", security: 2, words: None });
    let refused = [
        (damaged(&good, 100), "PS-B011"),
        (damaged(&good, good.len() / 2), "PS-B016"),
        (system(&appliance, &Change { version: "0.8.0", security: 1, words: None }), "PS-B015"),
    ];
    for (bundle, code) in refused {
        appliance.set_stick(Some(&bundle));
        appliance.up();
        let mut console = Console::take(appliance.serial());
        let answer = console.ask("update /dev/vdb");
        assert!(answer.last.contains(code), "{code}: {answer:?}");
        assert!(console.ask("update status").text.contains("a  failed"), "it was not touched");
        drop(console);
        assert!(appliance.press_power_key().success());
    }
}

#[test]
fn another_firmware_is_tried_and_one_that_is_lost_is_replaced_by_the_other() {
    let sink = Sink::start(0, 1);
    let mut appliance = settled(&settings_before(sink.address()));
    appliance.set_stick(Some(&appliance.image_file(FIRMWARE_BUNDLE)));
    appliance.up();
    restart_by(&mut appliance, "update /dev/vdb --reboot");
    let mut console = Console::take(appliance.serial());
    let status = console.ask("update status").text;
    assert!(status.contains("b  trial"), "{status}");
    assert_eq!(console.ask("update mark-good").last, "OK");
    let status = console.ask("update status").text;
    assert!(!status.contains("trial"), "{status}");
    drop(console);
    assert!(appliance.press_power_key().success());

    appliance.write_partition("firmware-b", &[0; 4096]);
    appliance.up();
    let log = appliance.serial_log();
    assert!(log.contains("firmware-b") && log.contains("PS-B010"), "{log}");
    assert!(appliance.press_power_key().success());

    // One that does nothing but start the machine again has three tries, and then the box is as before.
    appliance.set_stick(Some(&failing_firmware(&appliance, "0.9.0")));
    appliance.up();
    let before = appliance.serial_log().matches("stage0: starts firmware-b").count();
    restart_by(&mut appliance, "update /dev/vdb --reboot");
    let log = appliance.serial_log();
    assert_eq!(log.matches("stage0: starts firmware-b").count() - before, 3, "{log}");
    let mut console = Console::take(appliance.serial());
    stand(&mut console, "firmware", ["a  confirmed", "b  failed"]);
}

#[test]
fn a_system_whose_service_fails_goes_back_while_it_is_tried_and_gives_way_to_the_rescue_when_it_is_good() {
    let sink = Sink::start(0, 1);
    let mut appliance = Appliance::prepare(&settings_before(sink.address())).with_faults_image().from_flash();
    appliance.up();
    assert!(appliance.press_power_key().success());
    // Its service cannot read these words, and ends.
    let words = Some("PENSTOCK_FAULT=nonsense PENSTOCK_FAULT_RESERVE=nonsense");
    let failing = system(&appliance, &Change { version: "0.9.0", words, ..Change::default() });
    appliance.set_stick(Some(&failing));
    appliance.up();
    restart_by(&mut appliance, "update /dev/vdb --reboot");
    let log = appliance.serial_log();
    assert!(log.contains("PS-U020") && log.contains("the service has failed 3 times"), "{log}");
    let mut console = Console::take(appliance.serial());
    stand(&mut console, "system", ["a  confirmed", "b  failed"]);
    let told = console.ask("events --kind box").text;
    assert!(told.contains("the system in slot b has failed"), "the ledger has it: {told}");
    drop(console);
    assert!(appliance.press_power_key().success());

    // The same one in the slot that was good once.
    appliance.write_partition("system-a", &failing);
    println!("220 of the rescue after {:?}", appliance.up());
    let log = appliance.serial_log();
    assert!(rescues(&appliance) == 1 && log.contains("the system does not stay up"), "{log}");
    assert_eq!(log.matches("the service fails as often as it is started").count(), 3, "{log}");
    assert!(log.contains("reset by service"), "{log}");
    one_taken_by_the_rescue_comes_out(appliance, &sink);
}

#[test]
fn a_disk_that_a_later_system_has_gone_on_with_is_left_alone_and_mail_is_taken_all_the_same() {
    /// As the settings of the tests have it.
    const SEGMENT_BYTES: u64 = 4 << 20;
    let sink = Sink::start(0, 1);
    let mut appliance = settled(&settings_before(sink.address()));
    let send = |appliance: &Appliance, first: u32| {
        let mut client = Client::connect(appliance.address());
        client.ask("EHLO client.example");
        for number in first..first + 5 {
            let body = format!("Subject: number {number}\r\n\r\nx\r\n");
            assert_eq!(
                client.message("you@example.org", &["someone@example.com"], body.as_bytes()).code,
                250
            );
        }
    };
    appliance.up();
    let mut console = Console::take(appliance.serial());
    assert_eq!(console.ask("hold").last, "OK");
    drop(console);
    send(&appliance, 0);
    assert!(appliance.press_power_key().success());

    // The box has gone back to a system that does not know what the later one wrote.
    assert!(mark(&appliance.disk(), SEGMENT_BYTES, true) > 2);
    appliance.up();
    let mut console = Console::take(appliance.serial());
    let status = console.ask("status").text;
    assert!(status.contains("PS-D208") && status.contains("PS-S011"), "it says what is wrong: {status}");
    assert_eq!(console.ask("hold").last, "OK");
    drop(console);
    send(&appliance, 5);
    assert!(appliance.press_power_key().success());

    // Nor does the rescue know it.
    lose_both_systems(&appliance);
    appliance.up();
    let log = appliance.serial_log();
    assert!(rescues(&appliance) == 1 && log.contains("rescue: disk not mounted: PS-S011"), "{log}");
    send(&appliance, 10);
    appliance.unplug();

    // The later system again: it finds all that it left there.
    give_a_system_back(&appliance);
    assert!(mark(&appliance.disk(), SEGMENT_BYTES, false) > 2);
    appliance.up();
    let mut console = Console::take(appliance.serial());
    assert_eq!(console.ask("release").last, "OK");
    wait_until("all of it comes out", || sink.count() >= 15);
    let mut contents: Vec<_> = sink.deliveries().into_iter().map(|delivery| delivery.content).collect();
    contents.sort();
    contents.dedup();
    assert_eq!((contents.len(), sink.count()), (15, 15), "each once");
}

#[test]
fn in_the_rescue_a_disk_that_is_gone_gives_way_to_the_flash() {
    let mut random = Random::announced();
    let sink = Sink::start(0, 1);
    let (mut appliance, mut disk) =
        Appliance::prepare(&settings_before(sink.address())).from_flash().with_removable_disk();
    appliance.up();
    assert!(appliance.press_power_key().success());
    lose_both_systems(&appliance);
    appliance.up();
    assert_eq!(rescues(&appliance), 1, "{}", appliance.serial_log());
    let recorder = Recorder::start(appliance.address());
    let mut send = |messages| send_random(recorder.address(), random.bits(), messages, 20_000);
    send(20);
    disk.take_out();
    // Whose message is on its way then is told to come again.
    wait_until("mail is taken without the disk", || {
        let before = recorder.acknowledged();
        send(10);
        recorder.acknowledged() > before
    });
    send(20);
    let sent = recorder.finish();
    appliance.unplug();
    disk.put_in();
    let acknowledged = comes_out_of_a_system_given_back(&mut appliance, &sent, &sink);
    assert!(acknowledged >= 30, "{acknowledged}");
}

#[test]
fn the_rescue_greets_at_the_address_that_a_server_lent_to_the_box() {
    let sink = Sink::start(0, 1);
    let mut appliance = settled(&with_lent_address(settings_before(sink.address())));
    lose_both_systems(&appliance);
    println!("220 of the rescue after {:?}", appliance.up());
    let log = appliance.serial_log();
    assert!(rescues(&appliance) == 1 && log.contains("rescue: address 10.0.2.15/24"), "{log}");
}
