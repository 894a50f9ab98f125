//! What a box promises to whoever plugs it in.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use penstock_appliance::console::Console;
use penstock_appliance::machine::{Appliance, settings_before, settings_without_disk, with_lent_address};
use penstock_appliance::storm::storm;
use penstock_appliance::time_server::TimeServer;
use penstock_peers::client::Client;
use penstock_peers::ledger::Balance;
use penstock_peers::load::{send_big_message, send_random};
use penstock_peers::process::{run, wait_until};
use penstock_peers::recorder::Recorder;
use penstock_peers::sink::{Delivery, Manner, Sink, Stage};

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
    let outcome = storm(settings_before, 25);
    assert!(outcome.balance.acknowledged > 250, "hardly any load: {}", outcome.balance.acknowledged);
    outcome.balance.assert_sound(outcome.again_max);
}

#[test]
fn without_a_disk_acknowledged_mail_outlives_the_plug_pulled_ten_times() {
    let outcome = storm(settings_without_disk, 10);
    assert!(outcome.balance.acknowledged > 50, "hardly any load: {}", outcome.balance.acknowledged);
    outcome.balance.assert_sound(outcome.again_max);
}

#[test]
fn a_disk_that_is_taken_out_under_load_costs_no_mail_and_is_used_again_when_it_is_back() {
    let sink = Sink::start(0, 1);
    sink.behave(Manner::Say(Stage::Mail, "451 4.3.2 not now".into()));
    let (mut appliance, mut disk) =
        Appliance::prepare(&settings_before(sink.address())).with_removable_disk();
    appliance.up();
    let recorder = Recorder::start(appliance.address());
    let (load, to) = (Arc::new(AtomicBool::new(true)), recorder.address());
    let senders = [1, 2, 3, 4].map(|seed| {
        let load = Arc::clone(&load);
        // A sender that is refused begins anew.
        thread::spawn(move || {
            (0..).map(|n| seed + 4 * n).take_while(|_| load.load(Relaxed)).for_each(|seed| {
                send_random(to, seed, 20, 2_000);
                thread::sleep(Duration::from_millis(20));
            });
        })
    });
    let more = |what: &str| {
        let before = recorder.acknowledged();
        wait_until(what, || recorder.acknowledged() > before + 20);
    };
    let mut console = Console::take(appliance.serial());
    more("mail is taken on the disk");
    disk.take_out();
    // What is wrong with the disk has several names, and which one holds when it is asked is a matter of the machine's speed:
    // it fails, it hangs, and once it was tried again it cannot be mounted.
    let reserve_is_used = |status: &str| {
        let used = status.contains("new mail goes here");
        assert!(!used || status.contains("PS-D20"), "the reason is told: {status}");
        used
    };
    wait_until("the box notices", || reserve_is_used(&console.ask("status").text));
    let status = console.ask("status").text;
    assert!(status.contains("up to 4 MiB a message"), "{status}");
    more("mail is taken on the NOR flash");
    let queue = console.ask("queue --limit 1000").text;
    assert!(queue.contains("n-"), "{queue}");
    disk.put_in();
    wait_until("the disk is used again", || !reserve_is_used(&console.ask("status").text));
    more("mail is taken on the disk again");
    assert!(swaks(&appliance, "last@example.com").contains("queued as d-"));

    // A disk that hangs is not waited for either.
    disk.hang();
    wait_until("the box notices", || reserve_is_used(&console.ask("status").text));
    more("mail is taken on the NOR flash");
    disk.go_on();
    wait_until("the disk is used again", || !reserve_is_used(&console.ask("status").text));
    more("mail is taken on the disk again");

    load.store(false, Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
    let sent = recorder.finish();
    sink.behave(Manner::Accept);
    wait_until("all acknowledged mail has arrived", || {
        Balance::of(&sent, &sink.deliveries()).lost.is_empty()
    });
    let status = appliance.press_power_key();
    assert!(status.success(), "{status}");
    // The one by hand went past the recorder.
    let by_hand = |delivery: &Delivery| delivery.to.iter().any(|to| to.address == "last@example.com");
    let arrived: Vec<Delivery> = sink.deliveries().into_iter().filter(|it| !by_hand(it)).collect();
    Balance::of(&sent, &arrived).assert_sound(0);
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
    appliance.up();
    let status = Console::take(appliance.serial()).ask("status").text;
    assert!(status.contains("PS-D204") && status.contains("PS-D003"), "the box says what is wrong: {status}");
    assert!(swaks(&appliance, "someone@example.com").contains("queued as n-"), "and serves without it");
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
        ("config show listen.size_max", "default   \"36MiB\""),
        ("config export", "--- settings end, CRC-32C "),
        ("ping 10.0.2.2 --count 2", "2 sent, 2 answered, 0 % lost"),
        ("why", "for the first time on this volume"),
        ("counters", "penstock_"),
        ("dt", "linux,dummy-virt"),
        ("report", "--- report ends, CRC-32C "),
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
        ("ping 10.0.2.99 --count 1", "ERR PS-K031"),
    ] {
        let answer = console.ask(command);
        assert!(answer.last.starts_with(code), "{command}: {answer:?}");
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
        thread::sleep(Duration::from_millis(300));
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
        // The service learns it a moment later, and stamps what it takes with what it knows.
        wait_until("the clock is trusted", || {
            now_and_then(|| {
                trusts_its_clock(&mut console) && !console.ask("status").text.contains("nothing expires")
            })
        });
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
    let appliance = Appliance::start(&with_lent_address(settings_before(sink.address())));
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    wait_until("the message comes out", || sink.count() == 1);
    let mut console = Console::take(appliance.serial());
    let net = console.ask("net").text;
    // What QEMU's own server lends, with its router.
    assert!(net.contains("10.0.2.15") && net.contains("10.0.2.2"), "{net}");
}

/// The largest message that the box announces.
fn size_announced(appliance: &Appliance) -> String {
    let mut client = Client::connect(appliance.address());
    let reply = client.ask("EHLO client.example");
    let line = reply.lines.iter().find(|line| line.contains("SIZE")).cloned();
    line.unwrap_or_default().split_whitespace().next_back().unwrap_or_default().to_owned()
}

#[test]
fn settings_are_kept_if_the_box_is_well_with_them_and_else_go_back() {
    let sink = Sink::start(0, 1);
    let mut appliance = Appliance::start(&settings_before(sink.address()));
    let mut console = Console::take(appliance.serial());

    let refused = console.ask("config set listen.size_max much");
    assert!(
        refused.last == "ERR PS-C06" && refused.text.contains("listen.size_max: \"much\": must be"),
        "{refused:?}"
    );
    assert_eq!(console.ask("config set listen.size_max 20MiB").last, "OK");
    let diff = console.ask("config diff");
    assert!(diff.text.contains("listen.size_max") && diff.text.contains("-> \"20MiB\""), "{diff:?}");
    let applied = console.ask("config apply");
    assert_eq!(applied.last, "OK", "{applied:?}");
    appliance.wait_until_it_greets();
    assert_eq!(size_announced(&appliance), "20971520");
    let events = console.ask("events --kind settings");
    assert!(events.text.contains("tried for console: listen.size_max from"), "{events:?}");

    // Nobody has this address, so the service cannot listen there.
    assert_eq!(console.ask("config set listen.addresses 192.0.2.1:25").last, "OK");
    let applied = console.ask("config apply");
    assert!(applied.last == "ERR PS-D282" && applied.text.contains("PS-D010"), "{applied:?}");
    appliance.wait_until_it_greets();
    assert_eq!(console.ask("config discard").last, "OK");
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    wait_until("the ledger says that they went back", || {
        console.ask("events --kind settings").text.contains("went back: the service does not run with them")
    });

    // The plug is pulled while settings are on trial: those from before hold.
    assert_eq!(console.ask("config set listen.size_max 30MiB").last, "OK");
    console.begin("config apply");
    console.wait_for_words("other settings are tried");
    appliance.unplug();
    drop(console);
    appliance.up();
    assert_eq!(size_announced(&appliance), "20971520");

    // A whole file over the line, and a power cut after it was kept.
    let mut console = Console::take(appliance.serial());
    let file = settings_before(sink.address()).set("listen.size_max", "\"25MiB\"").to_toml();
    console.begin("settings import");
    console.wait_for_words("Send the settings");
    let imported = console.ask(&format!("{file}\n--- settings end"));
    assert_eq!(imported.last, "OK", "{imported:?}");
    appliance.unplug();
    appliance.up();
    assert_eq!(size_announced(&appliance), "26214400");
}

#[test]
fn a_box_from_the_factory_asks_looks_takes_mail_and_still_does_after_a_power_cut() {
    let sink = Sink::start(0, 1);
    let hop = format!("10.0.2.2:{}", sink.address().port());
    let mut appliance = Appliance::prepare_blank();
    appliance.plug_in();
    appliance.wait_for_serial();
    let mut line = Console::as_it_is(appliance.serial());
    // Whoever plugs the cable in later presses return to see what there is.
    line.type_line("");
    line.answer("Name of the box", "-bad-");
    line.wait_for_words("must be a host name");
    line.answer("Name of the box", "penstock.example");
    line.answer("Its address", "10.0.2.3/24");
    line.wait_for_words("is in use already, by the machine");
    line.answer("Keep it all the same?", "no");
    line.answer("Its address", "10.0.2.15/24");
    line.answer("Router", "10.0.2.2");
    line.wait_for_words("10.0.2.2 answers, after");
    line.answer("Name servers", "10.0.2.77");
    line.wait_for_words("does not answer");
    line.answer("Keep it all the same?", "yes");
    line.answer("Time servers", "");
    line.answer("Domains", "example.com");
    line.answer("Keep it all the same?", "yes");
    line.answer("Mail server", &hop);
    line.wait_for_words("220 sink.example");
    line.wait_for_words("speaks SMTP");
    line.wait_for_words("the only disk there is");
    line.answer("Connections", "3");
    line.answer("Messages to it", "back");
    line.answer("Connections", "");
    line.answer("Messages to it", "");
    line.answer("hybrid with Microsoft 365", "yes");
    line.wait_for_words("must not come");
    line.answer("Run with these settings?", "yes");
    line.wait_for_words("the settings are kept.");
    line.wait_for_words("\r\nOK\r\n");
    drop(line);
    appliance.wait_until_it_greets();
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    wait_until("the message comes out", || sink.count() == 1);

    appliance.unplug();
    appliance.up();
    let mut console = Console::take(appliance.serial());
    let config = console.ask("config");
    for line in ["connections_max = 3", "microsoft_365 = \"hybrid\"", "gateways = [\"10.0.2.2\"]"] {
        assert!(config.text.contains(line), "{line}: {config:?}");
    }
    let events = console.ask("events --kind settings").text;
    assert!(events.contains("tried for console: domains.accepted"), "{events}");
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
}

#[test]
fn a_box_that_is_reset_asks_again_and_has_its_mail() {
    let sink = Sink::start(0, 1);
    let mut appliance = Appliance::start(&settings_before(sink.address()));
    let mut console = Console::take(appliance.serial());
    assert_eq!(console.ask("hold --reason 'until it is reset'").last, "OK");
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    let version = console.ask("version").text;
    let serial = version.lines().find(|line| line.starts_with("serial"));
    let serial = serial.and_then(|line| line.split_whitespace().next_back());
    // Nobody can name a box that has no number, and so nobody can reset it.
    let refused = if serial.is_some() { "ERR PS-I084" } else { "ERR PS-I087" };
    assert_eq!(console.ask("factory-reset 0000").last, refused);
    assert_eq!(console.ask("erase-mail 0000 destroy-all-mail").last, refused);
    let Some(serial) = serial else {
        return println!("this box has no identity: the rest cannot be tried");
    };
    assert_eq!(console.ask(&format!("erase-mail {serial} yes")).last, "ERR PS-K001");
    let reset = console.ask(&format!("factory-reset {serial}"));
    assert_eq!(reset.last, "OK", "{reset:?}");
    console.wait_for_words("This box has not been set up");
    console.answer("Name of the box", "quit");
    console.wait_for_words("ERR PS-K045");
    console.wait_for_words("penstock> ");
    drop(console);

    // With the settings the mail is there again; the hold was forgotten, so it goes.
    let mut console = Console::take(appliance.serial());
    console.begin("settings import");
    console.wait_for_words("Send the settings");
    let settings = settings_before(sink.address()).to_toml();
    assert_eq!(console.ask(&format!("{settings}\n--- settings end")).last, "OK");
    wait_until("the message comes out", || sink.count() == 1);
    assert!(console.ask("why").text.contains("restart, factory reset"));

    assert_eq!(console.ask("hold").last, "OK");
    assert!(swaks(&appliance, "someone@example.com").contains("250 2.0.0"));
    assert_eq!(console.ask(&format!("erase-mail {serial} destroy-all-mail")).last, "OK");
    console.wait_for_words("all mail is erased\r");
    appliance.wait_until_it_greets();
    wait_until("the service answers", || console.ask("status").last == "OK");
    assert!(console.ask("queue").text.contains("0 messages unfinished"));
    let events = console.ask("events --kind removed").text;
    assert!(events.contains("all mail, and the ledger before this, was erased"), "{events}");
}
