//! What a box promises to whoever plugs it in.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::thread::sleep;
use std::time::Duration;

use penstock_appliance::console::Console;
use penstock_appliance::machine::{Appliance, settings_before};
use penstock_appliance::storm::storm;
use penstock_appliance::time_server::TimeServer;
use penstock_peers::client::Client;
use penstock_peers::load::send_big_message;
use penstock_peers::process::{run, wait_until};
use penstock_peers::sink::{Manner, Sink, Stage};

/// Sends one message as a person would try it.
fn swaks(appliance: &Appliance, to: &str) -> String {
    let mut swaks = std::process::Command::new("swaks");
    let address = appliance.address();
    swaks.args(["--server", &address.ip().to_string(), "--port", &address.port().to_string()]);
    String::from_utf8(run(swaks.args(["--from", "you@example.org", "--to", to]))).unwrap()
}

#[test]
fn mail_goes_in_waits_through_a_power_cut_and_comes_out() {
    let sink = Sink::start(0, 1);
    sink.behave(Manner::Say(Stage::Banner, "421 4.3.2 being rebuilt".into()));
    let mut appliance = Appliance::prepare(&settings_before(sink.address()));
    println!("first 220 after {:?} on a blank disk", appliance.up());
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));

    let mut client = Client::connect(appliance.address());
    client.ask("EHLO client.example");
    assert_eq!(client.message("you@example.org", &["else@example.net"], b"x\r\n").code, 550, "no relaying");
    drop(client);

    appliance.unplug();
    println!("220 after {:?} with one message", appliance.up());
    assert_eq!(sink.count(), 0);
    sink.behave(Manner::Accept);
    wait_until("the message comes out", || sink.count() == 1);
    assert_eq!(sink.deliveries()[0].to[0].address, "someone@example.com");
    assert!(appliance.serial_log().contains("MiB of memory are free"), "{}", appliance.serial_log());
}

#[test]
fn the_power_key_ends_in_order() {
    let sink = Sink::start(0, 1);
    let mut appliance = Appliance::start(&settings_before(sink.address()));
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    let status = appliance.press_power_key();
    assert!(status.success(), "{status}\n{}", appliance.serial_log());
    let log = appliance.serial_log();
    assert!(
        log.contains("the power key was pressed") && log.contains("all is written; the power goes off"),
        "{log}"
    );
    assert!(!log.contains("does not stop in time"), "{log}");
}

#[test]
fn acknowledged_mail_outlives_the_plug_pulled_twenty_five_times() {
    let outcome = storm(25);
    assert!(outcome.balance.acknowledged > 250, "hardly any load: {}", outcome.balance.acknowledged);
    outcome.balance.assert_sound(outcome.again_max);
}

#[test]
fn a_kernel_that_panics_ends_in_mail_again() {
    let sink = Sink::start(0, 1);
    sink.behave(Manner::Say(Stage::Banner, "421 4.3.2 being rebuilt".into()));
    let mut appliance =
        Appliance::prepare(&settings_before(sink.address())).with_kernel_words("sysrq_always_enabled");
    appliance.up();
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    assert_eq!(appliance.starts(), 1);
    appliance.make_the_kernel_panic();
    wait_until("the box starts again", || appliance.starts() == 2);
    appliance.wait_until_it_greets();
    sink.behave(Manner::Accept);
    wait_until("the message comes out", || sink.count() == 1);
}

#[test]
fn a_message_of_100_mib_passes_a_box_with_256() {
    let sink = Sink::start(0, 1);
    let appliance = Appliance::start(&settings_before(sink.address()).set("listen.size_max", "\"200MiB\""));
    let content = send_big_message(appliance.address(), 100);
    wait_until("the message comes out", || sink.count() == 1);
    assert_eq!(sink.deliveries()[0].content, content);
}

#[test]
fn a_disk_with_something_else_on_it_is_not_touched() {
    let sink = Sink::start(0, 1);
    let mut appliance = Appliance::prepare(&settings_before(sink.address()));
    // The mark of a partition table, and nothing else.
    let disk = File::options().read(true).write(true).open(appliance.disk()).unwrap();
    disk.write_all_at(&[0x55, 0xAA], 510).unwrap();
    appliance.plug_in();
    wait_until("the box says what is wrong", || appliance.serial_log().contains("PS-D003"));
    appliance.unplug();
    let mut begin = vec![0; 1 << 20];
    disk.read_exact_at(&mut begin, 0).unwrap();
    assert_eq!(begin[510..512], [0x55, 0xAA]);
    begin[510..512].fill(0);
    assert!(begin.iter().all(|byte| *byte == 0));
}

#[test]
fn the_console_answers_a_person_and_a_program() {
    let sink = Sink::start(0, 1);
    sink.behave(Manner::Say(Stage::Mail, "451 4.3.2 not now".into()));
    let mut appliance = Appliance::start(&settings_before(sink.address()));
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));

    let mut console = Console::take(appliance.serial());
    for (command, says) in [
        ("status", "penstock.example"),
        ("queue", "someone@example.com"),
        ("spool list", "someone@example.com"),
        ("show d-1", "you@example.org"),
        ("net", "10.0.2.15"),
        ("smtp", "220 sink.example"),
        ("clock", "chip    20"),
        ("mem", "KiB  in all"),
        ("config", "hostname = \"penstock.example\""),
        ("report", "--- report ends"),
        ("journal", ""),
        ("hold --reason test", ""),
        ("status", "hold"),
    ] {
        let answer = console.ask(command);
        assert!(answer.last == "OK" && answer.text.contains(says), "{command}: {answer:?}");
    }
    assert!(console.ask("events").text.contains("console"), "who asked is in the ledger");
    for (command, code) in [
        ("nonsense", "ERR PS-K001"),
        ("export d-1 --reason curious", "ERR PS-K004"),
        ("volume format /dev/vda", "ERR PS-K001"),
    ] {
        assert_eq!(console.ask(command).last, code, "{command}");
    }
    assert_eq!(console.ask("power-off").last, "OK");
    let status = appliance.wait_until_off();
    assert!(status.success(), "{status}");
    assert!(appliance.serial_log().contains("as the console asks"), "{}", appliance.serial_log());
}

#[test]
fn a_service_that_hangs_ends_in_mail_again() {
    let sink = Sink::start(0, 1);
    let mut appliance =
        Appliance::prepare(&settings_before(sink.address())).with_sabotage("stop-the-service");
    appliance.up();
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    appliance.give_the_sign();
    wait_until("it is noticed that the service hangs", || appliance.serial_log().contains("PS-I050"));
    appliance.wait_until_it_greets();
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    wait_until("both messages come out", || sink.count() == 2);
    assert_eq!(appliance.starts(), 1, "the box itself went on:\n{}", appliance.serial_log());
}

#[test]
fn a_first_process_that_hangs_ends_in_mail_again() {
    let sink = Sink::start(0, 1);
    sink.behave(Manner::Say(Stage::Banner, "421 4.3.2 being rebuilt".into()));
    let mut appliance =
        Appliance::prepare(&settings_before(sink.address())).with_sabotage("hang-the-first-process");
    appliance.up();
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    appliance.give_the_sign();
    wait_until("the watchdog resets the box", || appliance.starts() == 2);
    assert!(!appliance.serial_log().contains("Kernel panic"), "{}", appliance.serial_log());
    appliance.wait_until_it_greets();
    sink.behave(Manner::Accept);
    wait_until("the message comes out", || sink.count() == 1);
}

/// Asks the console no more often than a person would.
fn now_and_then(ask: impl FnOnce() -> bool) -> bool {
    let said = ask();
    if !said {
        sleep(Duration::from_millis(300));
    }
    said
}

/// Whether the box trusts its clock, as its console says it.
fn trusts_its_clock(console: &mut Console) -> bool {
    let answer = console.ask("clock");
    assert_eq!(answer.last, "OK");
    assert!(answer.text.contains("trusted yes") != answer.text.contains("trusted no"), "{answer:?}");
    answer.text.contains("trusted yes")
}

#[test]
fn a_clock_that_is_wrong_by_years_lets_nothing_expire() {
    let (sink, time) = (Sink::start(0, 1), TimeServer::start());
    let settings = settings_before(sink.address())
        .set("release.expire_after", "\"1h\"")
        .set("release.retry_schedule", "[\"10s\"]")
        .set("network.time_servers", &format!("[{}]", time.in_box()));
    let mut appliance = Appliance::prepare(&settings);
    // Takes a message at a time that is trusted, and goes off with it.
    let take_one = |appliance: &mut Appliance| {
        sink.behave(Manner::Say(Stage::Banner, "421 4.3.2 being rebuilt".into()));
        time.be_silent(false);
        time.be_ahead(0);
        appliance.set_chip_time(None);
        appliance.up();
        let mut console = Console::take(appliance.serial());
        wait_until("the clock is trusted", || now_and_then(|| trusts_its_clock(&mut console)));
        assert!(swaks(appliance, "someone@example.com").contains("250 2.0.0"));
        appliance.unplug();
    };
    // Age is looked at when a try was in vain: then a message is put off, or set aside.
    let refuse_once = |console: &mut Console| {
        let deferred =
            |console: &mut Console| console.ask("events --kind deferred").text.matches("not now").count();
        let before = deferred(console);
        sink.behave(Manner::Say(Stage::Rcpt, "450 4.2.0 not now".into()));
        wait_until("the message is put off", || now_and_then(|| deferred(console) > before));
        sink.behave(Manner::Accept);
    };
    for wrong in ["2099-06-01T00:00:00", "1999-12-31T23:59:00"] {
        take_one(&mut appliance);
        time.be_silent(true);
        appliance.set_chip_time(Some(wrong));
        appliance.up();
        let mut console = Console::take(appliance.serial());
        assert!(!trusts_its_clock(&mut console), "{wrong}");
        assert!(console.ask("status").text.contains("nothing expires"), "{wrong}");
        let before = sink.count();
        refuse_once(&mut console);
        assert!(swaks(&appliance, "else@example.com").contains("250 2.0.0"));
        wait_until("both messages come out", || sink.count() == before + 2);
        drop(console);
        // In order, lest the end of a delivery is not recorded and it is made again.
        assert!(appliance.press_power_key().success());
    }

    // A chip that is wrong is put right by who knows the time, and then mail expires as it should: two hours later.
    take_one(&mut appliance);
    time.be_ahead(2 * 3600);
    appliance.set_chip_time(Some("2099-06-01T00:00:00"));
    let before = sink.count();
    appliance.up();
    let mut console = Console::take(appliance.serial());
    wait_until("the clock is trusted", || now_and_then(|| trusts_its_clock(&mut console)));
    sink.behave(Manner::Say(Stage::Rcpt, "450 4.2.0 not now".into()));
    wait_until("the message has expired", || now_and_then(|| console.ask("queue").text.contains("held")));
    assert_eq!(sink.count(), before, "and is not sent");
    assert!(!console.ask("clock").text.contains("2099"), "clock and chip are set");
}

#[test]
fn a_box_knows_who_it_is_from_its_first_start_on() {
    let sink = Sink::start(0, 1);
    let settings = settings_before(sink.address()).set("system.log_level", "\"info\"");
    let mut appliance = Appliance::start(&settings);
    let identity = |console: &mut Console| -> Vec<String> {
        let answer = console.ask("version");
        let known = ["serial", "mac", "board", "hostname"];
        answer
            .text
            .lines()
            .filter(|line| known.iter().any(|name| line.starts_with(name)))
            .map(Into::into)
            .collect()
    };
    let mut console = Console::take(appliance.serial());
    let first = identity(&mut console);
    assert!(
        first[0].starts_with("serial   PS-") && first[0].len() == "serial   PS-00000-00000".len(),
        "{first:?}"
    );
    // The one that QEMU's interface comes with.
    assert_eq!(
        first[1..],
        ["mac      52:54:00:12:34:56", "board    qemu-virt revision 1", "hostname penstock.example"]
    );
    assert!(appliance.serial_log().contains("from now on there is a seed in flash"));

    // What the service has given up is gone, and it serves all the same.
    let journal = console.ask("journal 1000").text;
    for says in ["paths are restricted", "calls to the kernel are restricted"] {
        assert!(journal.contains(says), "{says}:\n{journal}");
    }
    drop(console);
    appliance.unplug();
    appliance.up();
    assert_eq!(identity(&mut Console::take(appliance.serial())), first);
    for once in ["this is the first start", "from now on there is a seed in flash"] {
        assert_eq!(appliance.serial_log().matches(once).count(), 1, "{once}");
    }
    assert!(!appliance.serial_log().contains("PS-I06"), "{}", appliance.serial_log());
}

#[test]
fn a_box_can_have_its_address_from_a_server() {
    let sink = Sink::start(0, 1);
    let settings = settings_before(sink.address())
        .set("network.dhcp", "true")
        .set("network.addresses", "[]")
        .set("network.gateways", "[]");
    let appliance = Appliance::start(&settings);
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    wait_until("the message comes out", || sink.count() == 1);
    let mut console = Console::take(appliance.serial());
    let net = console.ask("net").text;
    // What QEMU's own server lends, with its router.
    assert!(net.contains("10.0.2.15") && net.contains("10.0.2.2"), "{net}");
}
