//! What the settings file promises the operator.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict")]

use core::fmt::Write as _;
use std::time::Duration;

use penstock_settings::{
    Bytes, Code, FILE_BYTES_MAX, PROBLEMS_MAX, Preset, SECTIONS, Settings, defaults_text,
};
use proptest::prelude::*;

/// The least that a site must say.
const LEAST: &str = r#"
[system]
hostname = "mx.example.org"
[domains]
accepted = ["example.org"]
[[next_hop]]
name = "exchange"
address = "192.0.2.25"
"#;

/// The problems of `text` as (line, key, code).
fn problems(text: &str) -> Vec<(Option<u32>, String, Code)> {
    match Settings::parse(text) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(|it| (it.line, it.key.clone(), it.code)).collect(),
    }
}

/// The only problem that `LEAST` with `more` in front has, as printed.
fn only_problem(more: &str) -> String {
    let problems = Settings::parse(&format!("{more}{LEAST}")).unwrap_err();
    assert_eq!(problems.iter().count(), 1, "{problems}");
    problems.to_string()
}

/// The printed defaults with the lines that must be set taken out of their comments.
fn defaults_filled_in() -> String {
    let mut text = defaults_text();
    for key in SECTIONS.iter().flat_map(|section| section.keys) {
        if let Preset::Required(example) = (key.preset)() {
            text = text.replace(&format!("# {} = {example}", key.name), &format!("{} = {example}", key.name));
        }
    }
    text
}

#[test]
fn five_lines_are_enough_and_the_rest_has_the_documented_defaults() {
    let settings = Settings::parse(LEAST).unwrap();
    assert_eq!(settings.listen.addresses[0].to_string(), "[::]:25");
    assert_eq!(settings.listen.size_max, Bytes(36 << 20));
    assert_eq!((settings.listen.connections_max, settings.listen.connections_per_source_max), (200, 20));
    assert_eq!((settings.listen.recipients_max, settings.client.recipients_max), (1_000, 200));
    assert_eq!(settings.listen.received_max, 27);
    assert_eq!(settings.client.session_age_max, Duration::from_secs(8 * 60));
    assert_eq!(settings.client.final_timeout, Duration::from_secs(10 * 60));
    assert_eq!((settings.release.connections_max, settings.release.messages_per_minute_max), (5, 0));
    let minutes = [1, 5, 15, 30, 60].map(|min| Duration::from_secs(min * 60));
    assert_eq!(settings.release.retry_schedule, minutes);
    assert_eq!(settings.release.expire_after, Duration::from_secs(30 * 86_400));
    assert_eq!(settings.next_hops[0].address.to_string(), "192.0.2.25:25");
}

#[test]
fn the_printed_defaults_are_what_holds_without_them() {
    let mut printed = Settings::parse(&defaults_filled_in()).unwrap();
    let mut least = Settings::parse(LEAST).unwrap();
    for settings in [&mut printed, &mut least] {
        settings.next_hops.clear(); // theirs are examples
    }
    assert_eq!(printed, least);
}

#[test]
fn the_printed_defaults_name_every_key_and_do_not_run_with_somebody_elses_domain() {
    let text = defaults_text();
    for key in SECTIONS.iter().flat_map(|section| section.keys) {
        assert!(
            text.contains(&format!("\n{} = ", key.name)) || text.contains(&format!("\n# {} = ", key.name))
        );
    }
    let missing: Vec<_> = problems(&text).into_iter().map(|(_, key, code)| (key, code)).collect();
    let expected = ["system.hostname", "domains.accepted", "next_hop.name", "next_hop.address"];
    assert_eq!(missing, expected.map(|key| (key.to_string(), Code::Missing)));
}

#[test]
fn all_problems_are_told_at_once_each_with_its_line() {
    let text = r#"[system]
hostname = "mx_1"
log_level = 3
[listen]
conections_max = 10
size_max = "36MB"
command_timeout = "1s"
recipients_max = 1
[domains]
accepted = ["example.org", "*", 7]
[nexthop]
"#;
    let expected = [
        (2, "system.hostname", Code::BadValue),
        (3, "system.log_level", Code::WrongType),
        (5, "listen.conections_max", Code::Unknown),
        (6, "listen.size_max", Code::BadValue),
        (7, "listen.command_timeout", Code::OutOfRange),
        (8, "listen.recipients_max", Code::OutOfRange),
        (10, "domains.accepted", Code::BadValue),
        (10, "domains.accepted", Code::WrongType),
        (11, "nexthop", Code::Unknown),
    ];
    let mut expected: Vec<_> = expected.map(|(line, key, code)| (Some(line), key.to_string(), code)).into();
    expected.push((None, "next_hop".into(), Code::Missing));
    assert_eq!(problems(text), expected);
}

#[test]
fn a_reason_says_what_would_be_right() {
    assert_eq!(
        only_problem("[listen]\nsize_max = \"36MB\"\n"),
        "PS-C06 line 2: listen.size_max: \"36MB\": must be a size from 64KiB to 2GiB, such as \"512KiB\", \"36MiB\" or \
         \"4GiB\""
    );
    assert_eq!(
        only_problem("[listen]\nconnections_max = 0\n"),
        "PS-C07 line 2: listen.connections_max: 0: must be a whole number from 1 to 10000"
    );
    assert_eq!(
        only_problem("[listen]\nconections_max = 10\n"),
        "PS-C04 line 2: listen.conections_max: there is no such key; did you mean connections_max?"
    );
    assert_eq!(
        only_problem("[listen]\nhostname = \"a.example\"\n"),
        "PS-C04 line 2: listen.hostname: there is no such key; it belongs in [system]"
    );
    assert_eq!(
        only_problem("[volume]\npath = \"var/mail\"\n"),
        "PS-C06 line 2: volume.path: \"var/mail\": must be a path that begins with / and has at most 4095 characters, \
         such as \"/var/lib/penstock/volume\""
    );
    assert_eq!(
        only_problem("[listen]\nsize_max = \"1MiB\"\nsize_max = \"2MiB\"\n"),
        "PS-C03 line 3: this stands twice: each key and each [section] once only"
    );
}

#[test]
fn a_box_without_domains_or_next_hop_is_refused_not_run() {
    assert!(problems("").contains(&(None, "domains.accepted".into(), Code::Missing)));
    assert!(problems("").contains(&(None, "next_hop".into(), Code::Missing)));
    let empty = LEAST.replace("[\"example.org\"]", "[]");
    assert_eq!(problems(&empty), [(Some(5), "domains.accepted".to_string(), Code::OutOfRange)]);
    let relay = LEAST.replace("[\"example.org\"]", "[\"*\"]");
    assert!(Settings::parse(&relay).unwrap_err().to_string().contains("open relay"));
}

#[test]
fn settings_that_cannot_hold_together_are_refused() {
    for (more, key) in [
        ("[listen]\nconnections_max = 10\n", "listen.connections_per_source_max"),
        ("[listen]\nsize_max = \"2GiB\"\n", "listen.size_max"),
        ("[listen]\nreserved_max = \"36MiB\"\n", "listen.reserved_per_source_max"),
        ("[listen]\nbusy_data_per_minute_min = \"1KiB\"\n", "listen.busy_data_per_minute_min"),
        ("[listen]\nmessages_per_minute_max = 10\n", "listen.messages_per_minute_per_source_max"),
        ("[listen]\nrecipients_per_minute_max = 10\n", "listen.recipients_per_minute_per_source_max"),
        ("[listen]\nreserved_per_source_max = \"35MiB\"\n", "listen.reserved_per_source_max"),
        ("[listen]\ncommand_timeout = \"10s\"\n", "listen.busy_timeout"),
        ("[volume]\nsize = \"128MiB\"\n", "volume.segment_size"),
        ("[volume]\nreserve = \"/var/lib/penstock/volume\"\n", "volume.reserve"),
        ("[release]\nprobe_interval = \"20s\"\n", "release.probe_interval"),
    ] {
        let problems = problems(&format!("{more}{LEAST}"));
        assert!(problems.contains(&(Some(2), key.into(), Code::Contradiction)), "{more}: {problems:?}");
    }
    assert!(only_problem("[volume]\nsegment_size = \"3MiB\"\n").contains("power of two"));
}

#[test]
fn a_device_has_its_own_size() {
    let device = format!("[volume]\npath = \"/dev/mmcblk0p4\"\nsize = \"64MiB\"\n{LEAST}");
    assert!(Settings::parse(&device).unwrap().volume.is_device());
}

#[test]
fn a_next_hop_that_is_this_box_is_a_circle() {
    for (listen, hop) in [
        ("[::]:25", "127.0.0.1"),
        ("0.0.0.0:2525", "127.0.0.1:2525"),
        ("192.0.2.25:25", "192.0.2.25"),
        ("[::]:25", "[::1]"),
    ] {
        let text = format!("[listen]\naddresses = [\"{listen}\"]\n{LEAST}")
            .replace("192.0.2.25\"\n", &format!("{hop}\"\n"));
        let reason = Settings::parse(&text).unwrap_err().to_string();
        assert!(reason.contains("in circles"), "{listen} {hop}: {reason}");
    }
}

#[test]
fn two_hops_are_told_apart_by_name_and_address() {
    let twin = format!("{LEAST}[[next_hop]]\nname = \"exchange\"\naddress = \"192.0.2.25:25\"\n");
    assert_eq!(
        problems(&twin),
        [
            (Some(9), "next_hop.name".to_string(), Code::Duplicate),
            (Some(9), "next_hop.address".to_string(), Code::Duplicate)
        ]
    );
    let pair = format!("{LEAST}[[next_hop]]\nname = \"second\"\naddress = \"192.0.2.26\"\npriority = 10\n");
    assert_eq!(Settings::parse(&pair).unwrap().next_hops.len(), 2);
}

#[test]
fn a_syntax_error_is_told_with_its_line_and_hides_no_others() {
    let text = format!("[listen]\nsize_max = = 3\nrecipients_max = 1\n{LEAST}");
    let problems = problems(&text);
    assert!(problems.iter().any(|(line, _, code)| (*line, *code) == (Some(2), Code::Syntax)), "{problems:?}");
    assert!(problems.contains(&(Some(3), "listen.recipients_max".into(), Code::OutOfRange)), "{problems:?}");
    assert!(!problems.iter().any(|(_, _, code)| *code == Code::Missing), "{problems:?}");
}

#[test]
fn a_file_is_bounded_and_so_is_what_is_said_about_it() {
    let long = "#".repeat(FILE_BYTES_MAX + 1);
    assert_eq!(problems(&long), [(None, String::new(), Code::FileTooLong)]);
    let mut wrong = String::from("[listen]\n");
    for n in 0..3_000 {
        writeln!(wrong, "key_{n} = 1").unwrap();
    }
    let told = Settings::parse(&wrong).unwrap_err();
    assert_eq!(told.iter().count(), PROBLEMS_MAX);
    assert!(told.more() >= 2_900);
    let nested = format!("[listen]\naddresses = {}1", "[".repeat(FILE_BYTES_MAX / 2));
    assert!(Settings::parse(&nested).is_err());
    let domains = vec!["\"example.org\""; 1_001].join(",");
    let many = LEAST.replace("\"example.org\"", &domains);
    assert_eq!(problems(&many), [(Some(5), "domains.accepted".to_string(), Code::OutOfRange)]);
}

#[test]
fn what_a_file_holds_cannot_speak_to_the_terminal() {
    let told =
        Settings::parse("[\"\\u001b[31m\"]\n[system]\nhostname = \"\\u001b]0;\\u0007\"\n").unwrap_err();
    assert!(!told.to_string().contains('\u{1b}'), "{told}");
}

proptest! {
    #[test]
    fn any_text_is_either_settings_or_at_least_one_problem(text in "\\PC*") {
        if let Err(problems) = Settings::parse(&text) {
            prop_assert!(problems.iter().count() > 0);
        }
    }

    /// One byte of a good file changed: still no panic, no silence.
    #[test]
    fn a_damaged_file_is_read_or_refused(at in 0usize..8_000, byte in 0u8..128) {
        let mut text = defaults_filled_in().into_bytes();
        let at = at % text.len();
        text[at] = byte;
        if let Ok(text) = core::str::from_utf8(&text)
            && let Err(problems) = Settings::parse(text)
        {
            prop_assert!(problems.iter().count() > 0);
        }
    }
}

#[test]
fn a_gateway_out_of_reach_is_told() {
    let network = |addresses: &str, gateways: &str| {
        format!("[network]\naddresses = [{addresses}]\ngateways = [{gateways}]\n{LEAST}")
    };
    let reached = network("\"192.0.2.25/24\", \"2001:db8::25/64\"", "\"192.0.2.1\", \"2001:db8::1\"");
    assert_eq!(Settings::parse(&reached).unwrap().network.gateways.len(), 2);
    let line = Some(3);
    for (addresses, gateways, code) in [
        ("\"192.0.2.25/24\"", "\"192.0.3.1\"", Code::Contradiction),
        ("\"192.0.2.25/24\"", "\"2001:db8::1\"", Code::Contradiction),
        ("\"192.0.2.25/24\"", "\"192.0.2.1\", \"192.0.2.2\"", Code::Duplicate),
    ] {
        let found = problems(&network(addresses, gateways));
        assert_eq!(found, [(line, "network.gateways".into(), code)], "{addresses} {gateways}");
    }
}

#[test]
fn addresses_that_contradict_each_other_are_told() {
    for (extra, key) in [
        ("[network]\ndhcp = true\naddresses = [\"192.0.2.25/24\"]\n", "network.dhcp"),
        ("[network]\ntime_servers = [\"192.0.2.1\", \"192.0.2.1:123\"]\n", "network.time_servers"),
        ("[client]\nsource_addresses = [\"192.0.2.1\", \"192.0.2.2\"]\n", "client.source_addresses"),
        (
            "[client]\nsource_addresses = [\"192.0.2.26\"]\n[network]\naddresses = [\"192.0.2.25/24\"]\n",
            "client.source_addresses",
        ),
    ] {
        let found = problems(&format!("{extra}{LEAST}"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].1, key);
    }
    // An IPv6 address says nothing about what IPv4 is.
    let apart = "[network]\ndhcp = true\naddresses = [\"2001:db8::25/64\"]\n[client]\nsource_addresses = [\"192.0.2.26\"]\n";
    assert!(Settings::parse(&format!("{apart}{LEAST}")).is_ok());
    let word = problems(&format!("[network]\ndhcp = \"yes\"\n{LEAST}"));
    assert_eq!(word, [(Some(2), "network.dhcp".into(), Code::WrongType)]);
}

#[test]
fn a_probe_mailbox_is_one_of_the_site_and_stands_there_once() {
    let with = |mailboxes: &str| format!("{LEAST}probe_mailboxes = [{mailboxes}]\n");
    let right = Settings::parse(&with("\"probe-1@example.org\", \"probe-2@Example.org\"")).unwrap();
    let probes: Vec<_> = right.next_hops[0].probe_mailboxes.iter().map(ToString::to_string).collect();
    assert_eq!(probes, ["probe-1@example.org", "probe-2@example.org"]);
    for (mailboxes, code, why) in [
        ("\"probe@example.net\"", Code::Contradiction, "the site's own mailboxes"),
        ("\"a@example.org\", \"a@EXAMPLE.org\"", Code::Duplicate, "twice"),
    ] {
        let problems = Settings::parse(&with(mailboxes)).unwrap_err();
        let found: Vec<_> = problems.iter().map(|it| (it.line, it.key.as_str(), it.code)).collect();
        assert_eq!(found, [(Some(6), "next_hop.probe_mailboxes", code)]);
        assert!(problems.to_string().contains(why), "{problems}");
    }
    let seventeen: Vec<_> = (0..17).map(|n| format!("\"probe-{n}@example.org\"")).collect();
    let code = problems(&with(&seventeen.join(",")))[0].2;
    assert_eq!(code, Code::OutOfRange);
}

#[test]
fn a_hop_is_kept_for_domains_and_databases_and_one_takes_the_rest() {
    let second = "[[next_hop]]\nname = \"sales\"\naddress = \"192.0.2.26\"\n";
    let kept = |more: &str| format!("{LEAST}{second}{more}\n");
    let two = Settings::parse(&kept("for_domains = [\"Example.org\"]\nfor_databases = [\"DB 2\"]")).unwrap();
    assert!(!two.next_hops[0].is_kept() && two.next_hops[1].is_kept());
    assert!(two.next_hops[1].for_databases[0].is("db 2"));
    let elsewhere = problems(&kept("for_domains = [\"example.net\"]"));
    assert_eq!(elsewhere, [(Some(9), "next_hop.for_domains".into(), Code::Contradiction)]);
    let alone = problems(&format!("{LEAST}for_databases = [\"DB1\"]\n"));
    assert_eq!(alone, [(Some(6), "next_hop.for_domains".into(), Code::Contradiction)], "who takes the rest?");
}

#[test]
fn mailboxes_cannot_be_both_first_and_last() {
    let release = |last: &str| {
        format!("{LEAST}[release]\nmailboxes_first = [\"ceo@example.org\"]\nmailboxes_last = [{last}]\n")
    };
    let settings = Settings::parse(&release("\"@lists.example.org\"")).unwrap();
    assert!(settings.release.mailboxes_first[0].include("CEO@example.org"));
    assert!(settings.release.mailboxes_last[0].include("all@lists.example.org"));
    let found = problems(&release("\"CEO@Example.org\""));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].1.as_str(), found[0].2), ("release.mailboxes_first", Code::Contradiction));
}
