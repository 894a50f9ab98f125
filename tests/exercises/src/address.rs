//! What somebody writes where an address belongs: taken or not, it can never become another command, another parameter or
//! another address on its way to the next hop.

use penstock_smtp::Address;
use penstock_smtp::bounds::ADDRESS_BYTES_MAX;
use penstock_smtp::client;
use penstock_smtp::server::{Config, Event, Session};
use penstock_smtp::{MailFrom, Recipient};

/// Tries an input: as an address, and as the whole argument of a command.
pub fn address(input: &[u8]) {
    if let Ok(text) = core::str::from_utf8(input)
        && let Ok(address) = Address::parse(text)
    {
        assert_eq!(address.as_str(), text);
        sound(&address);
        // In a command it is what it was. Nobody sends as postmaster of nowhere, nor in UTF-8 without saying so.
        let sends = text.is_empty() || text.contains('@');
        let heard = hear(&[b"MAIL FROM:<", input, b">"].concat());
        assert_eq!(heard.as_deref(), Some(text).filter(|_| sends && text.is_ascii()));
        let heard = hear(&[b"MAIL FROM:<", input, b"> SMTPUTF8"].concat());
        assert_eq!(heard.as_deref(), Some(text).filter(|_| sends));
    }
    // Whatever the argument is, what is taken for the address is one, and stands in it.
    for head in [&b"MAIL FROM:"[..], b"MAIL FROM: ", b"MAIL FROM:<"] {
        if let Some(taken) = hear(&[head, input].concat()) {
            let address = Address::parse(&taken).expect("what was taken is an address");
            sound(&address);
            let stands = input.windows(taken.len().max(1)).any(|part| part == taken.as_bytes());
            assert!(stands || taken.is_empty(), "{taken} is not in {}", input.escape_ascii());
        }
    }
}

/// What must hold for an address that was parsed.
fn sound(address: &Address<'_>) {
    let text = address.as_str();
    assert!(text.len() <= ADDRESS_BYTES_MAX);
    assert!(!text.chars().any(char::is_control), "{}", text.escape_debug());
    match address.domain() {
        Some(domain) => {
            assert_eq!(format!("{}@{domain}", address.local_part()), text);
            assert!(!domain.contains(['<', '>', ' ', '"', '@']), "{text}");
            let local = address.local_part();
            assert!(local.starts_with('"') || !local.contains(['<', '>', ' ', '"', '@', '\\']), "{text}");
        }
        None => assert!(text.is_empty() || text.eq_ignore_ascii_case("postmaster")),
    }
    let utf8 = !address.is_ascii();
    assert_eq!(send(address, false).is_none(), utf8, "UTF-8 goes only to whom offers SMTPUTF8");
    let sent = send(address, utf8).expect("it may be sent");
    let parameter = if utf8 { " SMTPUTF8" } else { "" };
    let to = if text.is_empty() { "x@y" } else { text };
    assert_eq!(sent, format!("MAIL FROM:<{text}>{parameter}\r\nRCPT TO:<{to}>\r\n"));
}

/// What a server session takes for the sender in this line, if it takes one.
fn hear(line: &[u8]) -> Option<String> {
    let mut session = Session::new(Config::new("mx.example.com").unwrap());
    let dialogue = [b"EHLO x\r\n", line, b"\r\n"].concat();
    let mut input = &dialogue[..];
    loop {
        match session.poll(&mut input) {
            Event::NeedInput | Event::Close { .. } => return None,
            Event::Mail(mail) => return Some(mail.sender.to_string()),
            Event::Hello { .. } | Event::Answered => {}
            Event::OutputFull => session.sent(session.output().len()),
            other => panic!("{other:?} from {}", line.escape_ascii()),
        }
    }
}

/// What the client session makes of it towards a next hop that offers SMTPUTF8 or does not; `None` if it refuses.
fn send(address: &Address<'_>, utf8: bool) -> Option<String> {
    let mut session = client::Session::new(client::Config::new("client.example").unwrap());
    let mut input: &[u8] = if utf8 {
        b"220 x\r\n250-x\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
    } else {
        b"220 x\r\n250-x\r\n250 PIPELINING\r\n"
    };
    while !matches!(session.poll(&mut input), client::Event::Ready(_)) {}
    let hello = session.output().len();
    session.sent(hello);
    session.mail(&MailFrom { smtp_utf8: utf8, ..MailFrom::new(*address) }).ok()?;
    let recipient = if address.is_null() { Address::parse("x@y").unwrap() } else { *address };
    session.rcpt(&Recipient::new(recipient)).ok()?;
    Some(String::from_utf8(session.output().to_vec()).unwrap())
}
