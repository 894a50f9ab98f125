use proptest::prelude::*;

use super::*;

fn read_in_pieces(file: &[u8], piece_bytes: usize) -> Result<Read, Mistakes> {
    let mut reading = Reading::new([7; 16], Stamp::default(), "mia".into());
    file.chunks(piece_bytes).for_each(|piece| reading.push(piece));
    reading.finish()
}

fn read(file: &str) -> Result<Read, Mistakes> {
    read_in_pieces(file.as_bytes(), 4096)
}

/// What is told of a file that is wrong.
fn mistakes(file: &str) -> Vec<(Option<u64>, String)> {
    read(file).unwrap_err().told.into_iter().map(|mistake| (mistake.line, mistake.what)).collect()
}

fn first_mistake(file: &str) -> (Option<u64>, String) {
    mistakes(file).swap_remove(0)
}

/// The database of an address: `None` if the address is unknown, `""` if it has none.
fn database<'a>(read: &'a Read, address: &str) -> Option<&'a str> {
    let entry = read.list.find(&Mailbox::parse(address)?, Some('+'))?;
    Some(entry.database.and_then(|number| read.list.database(number)).unwrap_or(""))
}

fn skipped(read: &Read) -> Vec<(Why, u64, u64)> {
    read.skipped.iter().map(|skipped| (skipped.why, skipped.count, skipped.first_line)).collect()
}

/// As Windows PowerShell 5 writes it.
const EXPORT: &str = "#TYPE Selected.Microsoft.Exchange.Data.Directory.Management.ReducedRecipient\r\n\
\"PrimarySmtpAddress\",\"EmailAddresses\",\"RecipientType\",\"Database\"\r\n\
\"mia@example.org\",\"SMTP:mia@example.org smtp:Mia.Meier@example.org X500:/o=A B/cn=mia\",\"UserMailbox\",\"DB01\"\r\n\
\"leo@example.org\",\"SMTP:leo@example.org, smtp:l@example.com\",\"UserMailbox\",\"CN=DB02,CN=Databases,DC=site\"\r\n\
\"all@example.org\",\"SMTP:all@example.org\",\"MailUniversalDistributionGroup\",\"\"\r\n\
\"\",\"X500:/o=Site/cn=old\",\"UserMailbox\",\"DB01\"\r\n";

fn is_the_export(read: &Read) {
    for (address, of) in [
        ("mia@example.org", "DB01"),
        ("mia.meier@example.org", "DB01"),
        ("leo@example.org", "DB02"),
        ("L@example.com", "DB02"),
        ("all@example.org", ""),
    ] {
        assert_eq!(database(read, address), Some(of), "{address}");
    }
    assert_eq!((read.list.len(), read.list.about.recipients, read.has_databases), (5, 3, true));
    assert_eq!(read.list.about.databases, [("DB01".into(), 2), ("DB02".into(), 2)]);
    assert_eq!(read.list.about.domains, [("example.org".into(), 4), ("example.com".into(), 1)]);
    assert_eq!(skipped(read), [(Why::Comment, 1, 1), (Why::NoAddress, 1, 6)]);
}

#[test]
fn what_exchange_exports_is_read_in_every_encoding_that_powershell_has() {
    let utf16 = |to_bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(0xFEFF).chain(EXPORT.encode_utf16()).flat_map(to_bytes).collect()
    };
    let files = [
        EXPORT.as_bytes().to_vec(),
        [b"\xEF\xBB\xBF", EXPORT.as_bytes()].concat(),
        utf16(u16::to_le_bytes),
        utf16(u16::to_be_bytes),
        EXPORT.replace("\r\n", "\n").into_bytes(),
    ];
    for file in files {
        for piece_bytes in [1, 7, 4096] {
            is_the_export(&read_in_pieces(&file, piece_bytes).unwrap());
        }
    }
}

#[test]
fn columns_may_stand_in_any_order_among_others_and_with_another_delimiter() {
    let read = read(
        "Database;\"Notes\";emailaddresses\n\
         DB01;\"a;b\nsecond line\";SMTP:mia@example.org smtp:m@example.org\n\
         \n\
         ;;smtp:all@example.org\n",
    )
    .unwrap();
    assert_eq!(database(&read, "m@example.org"), Some("DB01"));
    assert_eq!(database(&read, "all@example.org"), Some(""));
    assert_eq!((skipped(&read), read.lines), (vec![(Why::Blank, 1, 4)], 5));
}

#[test]
fn a_plain_list_has_an_address_a_line() {
    let read =
        read("# of the old server\nmia@example.org\r\n\nSMTP:leo@example.org\nMIA@example.org\n").unwrap();
    assert_eq!(
        (database(&read, "mia@example.org"), database(&read, "leo@example.org")),
        (Some(""), Some(""))
    );
    assert_eq!((read.list.len(), read.has_databases), (2, false));
    assert_eq!(skipped(&read), [(Why::Blank, 1, 3), (Why::Comment, 1, 1), (Why::Repeated, 1, 5)]);
}

#[test]
fn a_mistake_is_told_with_its_line_and_the_file_makes_no_list() {
    assert_eq!(
        mistakes("mia@example.org\nno address\nleo@\n"),
        [(Some(2), "no address: \"no address\"".into()), (Some(3), "no address: \"leo@\"".into())]
    );
    assert_eq!(
        mistakes("PrimarySmtpAddress,Database\nmia@example.org\nleo,DB01\n"),
        [(Some(2), "1 fields instead of 2".into()), (Some(3), "no address: \"leo\"".into())]
    );
    assert_eq!(first_mistake(""), (None, "there is no address in it".into()));
    assert_eq!(first_mistake("PrimarySmtpAddress\n"), (None, "there is no address in it".into()));
    assert_eq!(first_mistake("Name,Alias\nMia,mia\n").0, Some(1));
    // The file of another program.
    assert_eq!(first_mistake("%PDF-1.7\n").0, Some(1));
    let (line, what) = first_mistake("PrimarySmtpAddress,Database\na@x.org,DB1\nA@X.org,DB2\n");
    assert_eq!((line, what.as_str()), (Some(3), "\"a@x.org\" was listed before, in another database"));
}

#[test]
fn of_many_mistakes_the_first_are_told_and_the_others_counted() {
    let wrong = read(&format!("a@x.org\n{}", "wrong\n".repeat(25))).unwrap_err();
    assert_eq!((wrong.told.len(), wrong.more), (MISTAKES_TOLD_MAX, 15));
}

#[test]
fn a_list_that_powershell_left_out_is_not_taken_for_an_empty_one() {
    let (line, what) = first_mistake(
        "PrimarySmtpAddress,EmailAddresses\nmia@x.org,Microsoft.Exchange.Data.ProxyAddressCollection\n",
    );
    assert_eq!(line, Some(2));
    assert!(what.contains("select @{n='EmailAddresses';e={$_.EmailAddresses -join ' '}}"), "{what}");
}

#[test]
fn a_quotation_mark_without_partner_does_not_swallow_recipients() {
    let head = "PrimarySmtpAddress,Notes\n";
    assert_eq!(
        first_mistake(&format!("{head}a@x.org,\"open\nb@x.org,c\n")),
        (Some(2), "the row has no end: a quotation mark has no partner".into())
    );
    let (line, what) = first_mistake(&format!("{head}\"a@x.org,open\nb@x.org\",c\n"));
    assert_eq!(line, Some(2));
    assert!(what.starts_with("a field goes on in the next line"), "{what}");
}

#[test]
fn what_mail_cannot_come_to_is_passed_over_and_counted() {
    let read = read(
        "PrimarySmtpAddress,EmailAddresses\n\
         mia@example.org,smtp:mía@example.org smtp:broken smtp:m@example.org\n\
         m ía@example.org,\n",
    )
    .unwrap();
    assert_eq!(read.list.len(), 3);
    assert_eq!(database(&read, "MÍA@example.org"), Some(""));
    assert_eq!(skipped(&read), [(Why::NoAddress, 1, 3), (Why::NotAscii, 1, 3), (Why::BadProxy, 1, 2)]);
}

#[test]
fn the_bounds_hold() {
    let many: String = (0..=ADDRESSES_MAX).map(|n| format!("user{n}@x.org\n")).collect();
    assert_eq!(first_mistake(&many), (Some(200_001), "more than 200000 addresses".into()));
    let databases: String = (0..=DATABASES_MAX).map(|n| format!("u{n}@x.org,DB{n}\n")).collect();
    assert_eq!(
        first_mistake(&format!("PrimarySmtpAddress,Database\n{databases}")),
        (Some(258), "more than 256 databases".into())
    );
    let long = format!("a@x.org\n{}\n", "x".repeat(LINE_BYTES_MAX + 1));
    assert_eq!(first_mistake(&long), (Some(2), "longer than 256 KiB".into()));
    let mut reading = Reading::new([7; 16], Stamp::default(), String::new());
    let piece = b"# nothing\n".repeat(104_858);
    (0..=64).for_each(|_| reading.push(&piece));
    let wrong = reading.finish().unwrap_err();
    assert_eq!(wrong.told[0].what, "the file is larger than 64 MiB");
}

/// Bytes that look like a file, with mistakes.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(b"PrimarySmtpAddress".to_vec()),
        Just(b"EmailAddresses".to_vec()),
        Just(b"Database".to_vec()),
        Just(b"mia@example.org".to_vec()),
        Just(b"smtp:".to_vec()),
        Just(b"CN=\\2".to_vec()),
        Just(b"#TYPE x".to_vec()),
        Just(b"\xEF\xBB\xBF".to_vec()),
        Just(b"\xFF\xFE".to_vec()),
        prop::sample::select(b"\",;\t\r\n\n\n\0@\\{} \xD8".as_slice()).prop_map(|byte| vec![byte]),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn whatever_a_file_holds_it_makes_a_list_or_tells_why_not_and_pieces_do_not_matter(
        file in hostile(),
        piece_bytes in 1usize..20,
    ) {
        match (read_in_pieces(&file, usize::MAX), read_in_pieces(&file, piece_bytes)) {
            (Ok(whole), Ok(pieces)) => {
                prop_assert!(whole.list.len() > 0);
                prop_assert_eq!(List::decode(&whole.list.encode()), Some(whole.list.clone()));
                prop_assert_eq!((whole.list, whole.skipped), (pieces.list, pieces.skipped));
            }
            (Err(whole), Err(pieces)) => {
                prop_assert!((1..=MISTAKES_TOLD_MAX).contains(&whole.told.len()));
                prop_assert_eq!(whole, pieces);
            }
            (whole, pieces) => prop_assert!(false, "{whole:?} and {pieces:?}"),
        }
    }

    #[test]
    fn every_address_of_an_export_is_found_and_no_other(
        users in prop::collection::hash_set("[a-z]{1,8}", 1..40),
        other in "[a-z]{9}",
    ) {
        let rows: String = users.iter().map(|user| format!("\"{user}@x.org\",\"DB{}\"\n", user.len())).collect();
        let read = read(&format!("PrimarySmtpAddress,Database\n{rows}")).unwrap();
        for user in &users {
            let name = format!("DB{}", user.len());
            let address = format!("{}@X.ORG", user.to_uppercase());
            prop_assert_eq!(database(&read, &address), Some(name.as_str()));
        }
        prop_assert_eq!(database(&read, &format!("{other}@x.org")), None);
    }
}
