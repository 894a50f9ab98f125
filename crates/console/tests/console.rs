//! What a console below Linux promises to whoever sits at it, and to programs.
#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod common;

use std::fmt::Write as _;

use common::{Seat, last_lines};
use penstock_console::{COMMANDS, Event, Failure, IDLE_MS, Level, REPORT_BEGINS, REPORT_ENDS, Report};
use proptest::prelude::*;

const BELOW_LINUX: [Level; 2] = [Level::Firmware, Level::Stage0];

/// A line that every command of a level takes.
fn lines_of_all_commands(level: Level) -> Vec<String> {
    let here = COMMANDS.iter().filter(|row| row.levels.contain(level));
    here.map(|row| {
        let arguments = match row.arguments {
            "SLOT" | "[SLOT]" => "system-b",
            "[SLOT once]" => "system-b once",
            "PARTITION [OFFSET [BYTES]]" => "boot-state 0x40 64",
            "HOST [--count COUNT]" => "10.0.2.2 --count 2",
            "on|off" => "off",
            optional if optional.starts_with('[') || optional.is_empty() => "",
            other => panic!("{other}: what does that take?"),
        };
        format!("{} {arguments}", row.name)
    })
    .collect()
}

#[test]
fn every_answer_ends_in_exactly_one_line_that_programs_wait_for() {
    for level in BELOW_LINUX {
        let lines = lines_of_all_commands(level);
        for line in lines.iter().map(String::as_str).chain([
            "nonsense",
            "verify nothing",
            "flash",
            "ping",
            "help nonsense",
        ]) {
            let mut seat = Seat::at(level);
            seat.machine.answer = "as it should be\n".into();
            let mut shown = seat.type_line(line);
            if shown.contains("To go on type") {
                assert_eq!(last_lines(&shown), [""; 0], "the answer is not over:\n{shown}");
                shown += &seat.type_line("system-a");
            }
            let ends = last_lines(&shown);
            assert_eq!(ends.len(), 1, "{line}:\n{shown}");
            let end = ends[0];
            assert!(end == "OK" || end.starts_with("ERR PS-"), "{line}: {end}");
            let behind = shown.split_once(&format!("{end}\r\n")).unwrap().1;
            assert!(behind.is_empty() || behind == "firmware> ", "{line}: {behind:?}");
        }
    }
}

#[test]
fn what_is_in_an_answer_cannot_look_like_its_end() {
    let mut seat = Seat::at(Level::Firmware);
    seat.machine.answer = "OK\nERR PS-B001 no\nOKAY\nERRATIC\nO\nEcho\nhow\x1b[2J OK\nfür alle\nOK".into();
    let shown = seat.type_line("status");
    assert_eq!(last_lines(&shown), ["OK"], "{shown}");
    let lines: Vec<&str> = shown.split("\r\n").collect();
    assert_eq!(
        lines[1..10],
        [" OK", " ERR PS-B001 no", " OKAY", " ERRATIC", "O", "Echo", "how?[2J OK", "f?r alle", " OK"]
    );
    assert_eq!(lines[10..], ["OK", "firmware> "]);

    seat.machine.fails = Some(Failure::new("PS-B011", "a stranger wrote\r\nOK\r\nand more"));
    let shown = seat.type_line("verify");
    assert_eq!(last_lines(&shown), ["ERR PS-B011 a stranger wrote  OK  and more"]);
}

#[test]
fn a_report_is_the_same_whatever_it_says_and_wherever_it_is_pasted() {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI);
    let mut seat = Seat::at(Level::Firmware);
    let mut written = String::new();
    let mut report = Report::begin(&mut written).unwrap();
    write!(report, "OK\n\nERR  PS-B001 \t \nfür\r\n\tset in").unwrap();
    report.end().unwrap();
    seat.machine.answer = written;
    let shown = seat.type_line("report");
    assert_eq!(last_lines(&shown), ["OK"]);
    let lines: Vec<&str> = shown.split("\r\n").collect();
    assert_eq!(lines[1..7], [REPORT_BEGINS, " OK", "", " ERR  PS-B001", " f?r", "  set in"]);
    let inside = " OK\n\n ERR  PS-B001\n f?r\n  set in\n";
    assert_eq!(lines[7], format!("{REPORT_ENDS}, CRC-32C {:08x}", crc.checksum(inside.as_bytes())));
}

#[test]
fn a_code_is_said_once_and_what_is_too_long_is_cut() {
    struct Coded;
    impl std::fmt::Display for Coded {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("PS-B011: the bundle is not signed")
        }
    }
    assert_eq!(Failure::new("PS-B011", Coded).to_string(), "PS-B011 the bundle is not signed");
    let long = Failure::new("PS-B001", "ä".repeat(200));
    assert!(long.text().len() <= penstock_console::FAILURE_TEXT_BYTES_MAX && long.text().len() > 90);
}

#[test]
fn help_names_every_command_and_explains_it() {
    for level in BELOW_LINUX {
        let mut seat = Seat::at(level);
        let list = seat.type_line("help");
        for row in COMMANDS {
            let begins = format!("  {:16}{}", row.name, &row.about[..row.about.len().min(20)]);
            let is_listed = list.split("\r\n").any(|line| line.starts_with(&begins));
            assert_eq!(is_listed, row.levels.contain(level), "{level}: {}\n{list}", row.name);
            // Also what is not here is explained, with where it is.
            let explained = seat.type_line(&format!("help {}", row.name));
            assert_eq!(last_lines(&explained), ["OK"], "{explained}");
            assert!(explained.replace("\r\n", " ").contains(row.about), "{explained}");
            let has_example =
                explained.contains("Examples:") && explained.contains(&format!("\r\n  {}", row.name));
            assert!(has_example || !row.levels.contain(level), "{level}: {}:\n{explained}", row.name);
        }
        assert!(seat.machine.ran.is_empty());
    }
    let shown = Seat::at(Level::Firmware).type_line("help flash");
    for name in ["flash info", "flash test", "flash dump"] {
        assert!(shown.contains(name), "{shown}");
    }
}

#[test]
fn help_fits_a_terminal_of_eighty_columns() {
    for level in BELOW_LINUX {
        let mut seat = Seat::at(level);
        let mut shown = seat.type_line("help");
        for row in COMMANDS {
            shown += &seat.type_line(&format!("help {}", row.name));
        }
        for line in shown.split("\r\n") {
            assert!(line.len() < 80, "{line}");
        }
    }
}

#[test]
fn every_command_reaches_the_machine_with_its_arguments() {
    let mut seat = Seat::at(Level::Firmware);
    for (line, command) in [
        ("status", "Status"),
        ("  status  ", "Status"),
        ("penstock status", "Status"),
        ("log 7", "Journal { lines: 7 }"),
        ("journal", "Journal { lines: 20 }"),
        ("verify", "Verify(None)"),
        ("verify firmware-b", "Verify(Some(Place { kept: Firmware, slot: B }))"),
        ("boot", "Boot(None)"),
        ("boot system-a once", "Boot(Some(Place { kept: System, slot: A }))"),
        (
            "flash   dump boot-state 0x1000",
            "FlashDump { partition: \"boot-state\", offset: 4096, bytes: 256 }",
        ),
        ("ping fe80::1 -c 9", "Ping { host: fe80::1, count: 9 }"),
        ("config", "ConfigShow { key: None }"),
        ("config show listen.size_max", "ConfigShow { key: Some(\"listen.size_max\") }"),
        ("rescue stop", "RescueStop"),
        ("reboot", "Restart"),
        ("poweroff", "PowerOff"),
    ] {
        seat.machine.ran.clear();
        let shown = seat.type_line(line);
        assert_eq!(seat.machine.ran, [command], "{line}: {shown}");
    }
}

#[test]
fn what_is_not_understood_has_a_code_and_a_hint_and_does_nothing() {
    let mut seat = Seat::at(Level::Firmware);
    for (line, end) in [
        ("stauts", "ERR PS-K001 no command `stauts`: did you mean `status`?"),
        ("zzzzzz", "ERR PS-K001 no command `zzzzzz`: `help` lists what can be typed"),
        ("flash tset", "ERR PS-K001 no such command: did you mean `flash test`?"),
        ("flash", "ERR PS-K001 no such command: did you mean `flash info`?"),
        ("status now", "ERR PS-K001 `now` is too much"),
        (
            "verify system-c",
            "ERR PS-K001 `system-c` is no slot; they are firmware-a, firmware-b, system-a and system-b",
        ),
        ("boot system-a", "ERR PS-K001 `boot system-a once` starts it once"),
        ("log 0", "ERR PS-K001 LINES is a number from 1 to 1000, not `0`"),
        (
            "ping exchange.example.org",
            "ERR PS-K001 `exchange.example.org` is no address: names are not looked up here",
        ),
        ("ping 10.0.2.2 --count", "ERR PS-K001 --count wants a number"),
        ("config set a.b 1", "ERR PS-K020 `config set` is not for the firmware, but for Linux"),
        ("factory-reset PS-00042", "ERR PS-K020 `factory-reset` is not for the firmware, but for Linux"),
        ("p", "ERR PS-K001 no command `p`: `help` lists what can be typed"),
        ("Status", "ERR PS-K001 no command `Status`: did you mean `status`?"),
    ] {
        let shown = seat.type_line(line);
        assert_eq!(last_lines(&shown), [end], "{line}");
    }
    assert!(seat.machine.ran.is_empty(), "{:?}", seat.machine.ran);
    let shown = Seat::at(Level::Stage0).type_line("net");
    assert_eq!(last_lines(&shown), ["ERR PS-K020 `net` is not for stage 0, but for Linux and the firmware"]);
}

#[test]
fn partitions_with_mail_keys_or_passwords_are_not_dumped() {
    let mut seat = Seat::at(Level::Firmware);
    for partition in ["mail", "settings", "identity", "seed"] {
        let shown = seat.type_line(&format!("flash dump {partition}"));
        assert!(last_lines(&shown)[0].starts_with("ERR PS-K024"), "{shown}");
    }
    assert!(seat.machine.ran.is_empty());
}

#[test]
fn what_destroys_something_wants_its_name_typed_back() {
    let mut seat = Seat::at(Level::Firmware);
    for (typed, back) in [("reflash system-b", "system-b"), ("reflash firmware-a", "firmware-a")] {
        for wrong in
            ["y", "yes", "", "system-a", "PS-00043", "\x03", "sys\x03", "\x00system-b", "reflash system-b"]
        {
            let asked = seat.type_line(typed);
            assert!(asked.contains("cannot be undone"), "{asked}");
            let shown = seat.type_line(wrong);
            assert!(last_lines(&shown)[0].starts_with("ERR PS-K023"), "{typed}, {wrong:?}: {shown}");
            assert!(seat.machine.ran.is_empty());
        }
        seat.type_line(typed);
        seat.type_line(back);
        assert_eq!(seat.machine.ran.len(), 1, "{typed}");
        seat.machine.ran.clear();
        // A bundle is coming: nobody sends it.
        seat.wait(120_000);
    }
}

#[test]
fn a_console_at_which_nobody_types_goes_back_to_service() {
    let mut seat = Seat::at(Level::Firmware);
    seat.wait(IDLE_MS - 1_000);
    assert!(seat.console.is_open());
    seat.type_bytes(b"s");
    seat.wait(IDLE_MS - 1_000);
    assert!(seat.console.is_open(), "somebody has typed");
    let shown = seat.wait(2_000);
    assert!(shown.contains("goes on with its service"), "{shown}");
    assert_eq!(seat.events, [Event::Idle]);
    assert!(!seat.console.is_open());
    assert_eq!(seat.wait(10 * IDLE_MS), "", "it is said once");

    // A command that took longer than that was no idleness.
    let mut seat = Seat::at(Level::Firmware);
    seat.type_line("flash test");
    seat.wait_until(seat.now_ms + 3 * IDLE_MS);
    seat.wait(IDLE_MS - 1_000);
    assert!(seat.console.is_open());
    seat.wait(2_000);
    assert_eq!(seat.events, [Event::Idle]);

    // Also where something was to be typed back.
    let mut seat = Seat::at(Level::Stage0);
    seat.type_line("reflash firmware-a");
    let shown = seat.wait(IDLE_MS + 1_000);
    assert_eq!(last_lines(&shown), ["ERR PS-K025 nobody typed it: nothing was done"]);
    assert_eq!(seat.events, [Event::Idle]);
    assert!(seat.machine.ran.is_empty());
}

#[test]
fn a_closed_console_hears_the_word_and_nothing_else() {
    let mut seat = Seat::closed(Level::Firmware);
    for line in ["", "status", "restart", "rescue me", "xrescue", "~rescue", "help", "Rescue"] {
        assert_eq!(seat.type_line(line), "", "{line:?}");
    }
    assert!(seat.events.is_empty() && seat.machine.ran.is_empty());
    let shown = seat.type_line("rescue");
    assert_eq!(seat.events, [Event::Opened]);
    assert!(shown.ends_with("\r\nfirmware> "), "{shown:?}");
    assert!(last_lines(&seat.type_line("status")) == ["OK"]);
    // It closes by a word as well.
    seat.type_line("exit");
    assert_eq!(seat.events, [Event::Opened, Event::Left]);
    assert_eq!(seat.type_line("status"), "");
}

#[test]
fn a_command_that_ends_the_console_is_answered_before_it_ends() {
    let mut seat = Seat::at(Level::Firmware);
    seat.machine.leaves = true;
    let shown = seat.type_line("restart");
    assert_eq!((last_lines(&shown).as_slice(), seat.events.as_slice()), (&["OK"][..], &[Event::Left][..]));
    assert!(shown.ends_with("OK\r\n"), "{shown:?}");
}

#[test]
fn programs_get_answers_and_nothing_else() {
    let mut seat = Seat::at(Level::Firmware);
    seat.machine.answer = "fine\n".into();
    assert!(seat.type_line("script on").ends_with("\r\nOK\r\n"), "no prompt from now on");
    assert_eq!(
        seat.type_bytes(b"status\nversion\r\nstat\tus\r"),
        "fine\r\nOK\r\nfine\r\nOK\r\nERR PS-K001 no command `stat`: did you mean `status`?\r\n"
    );
    assert!(seat.type_line("script off").ends_with("OK\r\nfirmware> "));
    assert!(seat.type_line("status").starts_with("status\r\nfine"));
}

#[test]
fn what_nobody_asked_for_does_not_tear_what_is_typed() {
    let mut seat = Seat::at(Level::Firmware);
    seat.type_bytes(b"stat");
    let before = seat.screen.len();
    seat.console.say("the link is down", &seat.machine, &mut seat.screen);
    assert_eq!(&seat.screen[before..], "\r\nthe link is down\r\nfirmware> stat");
    seat.type_line("us");
    assert_eq!(seat.machine.ran, ["Status"]);
}

#[test]
fn noise_never_destroys_anything() {
    // The same bytes each time, of all values.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut noise = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    for level in BELOW_LINUX {
        let mut seat = Seat::at(level);
        for _ in 0..10_000 {
            seat.type_bytes(&[noise()]);
        }
        assert!(seat.machine.ran.is_empty(), "{:?}", seat.machine.ran);
        let mut closed = Seat::closed(level);
        for _ in 0..10_000 {
            closed.type_bytes(&[noise()]);
        }
        assert!(!closed.console.is_open());
    }
}

#[test]
fn a_byte_of_noise_on_a_line_is_told_and_the_line_not_done() {
    for noisy in
        [&b"rest\xffart\r"[..], b"\x00restart\r", b"restart\x80\n", b"re\x1bXstart\r", b"restart\x07\r"]
    {
        let mut seat = Seat::at(Level::Firmware);
        let shown = seat.type_bytes(noisy);
        assert_eq!(last_lines(&shown), ["ERR PS-K022 noise on the line: type it again"], "{noisy:?}");
        assert!(seat.machine.ran.is_empty());
        seat.type_line("restart");
        assert_eq!(seat.machine.ran, ["Restart"]);
    }
}

/// Bytes that are more like a person than noise is: words of the language, ends of lines, and noise between them.
fn almost_commands() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<Vec<u8>> = COMMANDS
        .iter()
        .flat_map(|row| row.name.split(' '))
        .chain([
            "firmware-a",
            "system-b",
            "once",
            "0x10",
            "PS-0004",
            "\x1b[A",
            "\x1b[D",
            "\t",
            "\x08",
            "\x15",
            "\x17",
            "\x03",
        ])
        .map(|word| word.as_bytes().to_vec())
        .collect();
    let piece = prop_oneof![
        6 => proptest::sample::select(words),
        3 => Just(b" ".to_vec()),
        3 => Just(b"\r".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ];
    proptest::collection::vec(piece, 0..200).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Slots and settings are not touched by whatever comes without what has to be typed back, every line has at most one
    /// end, and the console can be used afterwards.
    #[test]
    fn whatever_is_typed_the_console_stays_a_console(bytes in almost_commands()) {
        let mut seat = Seat::at(Level::Firmware);
        let before = bytes.len();
        let shown = seat.type_bytes(&bytes);
        let lines = bytes.iter().filter(|byte| matches!(byte, b'\r' | b'\n' | 3)).count();
        prop_assert!(last_lines(&shown).len() <= lines, "{before} bytes: {shown}");
        for ran in &seat.machine.ran {
            if ran.starts_with("Reflash") {
                prop_assert!(shown.contains("To go on type the name of the slot"), "{ran}");
            }
        }
        seat.console.close(&mut seat.machine, &mut seat.screen);
        seat.type_line("");
        seat.type_line("rescue");
        seat.machine.ran.clear();
        seat.type_line("status");
        prop_assert_eq!(&seat.machine.ran, &["Status"]);
    }
}
