//! A letter: what is sent from one end of a chain of mail servers to the other, signed before and verified after.

use std::fs;
use std::process::Command;

use crate::envelope::Path;
use crate::process::run;
use crate::scratch::Scratch;

/// The sender of all letters.
pub const SENDER: &str = "sender@example.org";

/// A message with its envelope.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Which one it is: its ENVID, and in its Message-ID.
    pub name: String,
    /// The recipients.
    pub to: Vec<String>,
    /// The message, with a DKIM signature on top once it is [`signed`](Signer::sign).
    pub message: Vec<u8>,
}

/// What does not survive a relay that touches mail: dots, blanks, 8 bits, long lines, mbox's `From `, empty lines at
/// the end.
const BODY: &str = ".\r\n..\r\n...dots\r\n. \r\nFrom here on\r\ntab\tand blanks  \r\n\r\nGr\u{fc}\u{df}e, \u{20ac}\r\n\
                    =3D =\r\n-- \r\n\r\n\r\n";

impl Letter {
    /// A letter to two recipients of a domain.
    pub fn new(name: &str, domain: &str) -> Self {
        let to = ["first", "second"].map(|local| format!("{local}@{domain}")).to_vec();
        let long = "0123456789".repeat(90);
        let message = format!(
            "From: Sender <{SENDER}>\r\nTo: First <{}>\r\nSubject: {name}\r\n\tgoes on  here\r\n\
             Date: Thu, 01 Jan 2026 00:00:00 +0000\r\nMessage-ID: <{name}@client.example>\r\n\
             MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\
             X-Empty:\r\n\r\n{long}\r\n{BODY}",
            to[0]
        );
        Self { name: name.to_owned(), to, message: message.into_bytes() }
    }

    /// The parameters of its MAIL that ask for DSN.
    pub fn mail_wishes(&self) -> String {
        format!("RET=HDRS ENVID={}", self.name)
    }

    /// Those of the RCPT for one of its recipients.
    pub fn rcpt_wishes(&self, recipient: &str) -> String {
        format!("NOTIFY=SUCCESS,DELAY ORCPT=rfc822;first+2B{recipient}")
    }

    /// The name of the letter that this message is.
    pub fn name_of(message: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(message);
        let line = text.lines().find_map(|line| line.strip_prefix("Message-ID: <"))?;
        Some(line.split('@').next()?.to_owned())
    }
}

/// What one recipient got at the far end.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The sender, with what it asked for.
    pub from: Path,
    /// The recipient, with what was asked for it.
    pub to: Path,
    /// The message, with all that servers put above it.
    pub message: Vec<u8>,
}

impl Arrival {
    /// The message below the fields that servers put above it: those of a trace.
    pub fn without_trace(&self) -> &[u8] {
        without_trace(&self.message)
    }
}

/// A message without the Received and Return-Path fields on top of it.
pub fn without_trace(message: &[u8]) -> &[u8] {
    let mut rest = message;
    loop {
        let lower: Vec<u8> = rest.iter().take(16).map(u8::to_ascii_lowercase).collect();
        if !lower.starts_with(b"received:") && !lower.starts_with(b"return-path:") {
            return rest;
        }
        // Up to a line that does not continue the field.
        let mut at = 0;
        while let Some(end) = rest[at..].windows(2).position(|pair| pair == b"\r\n") {
            at += end + 2;
            if !rest[at..].starts_with(b" ") && !rest[at..].starts_with(b"\t") {
                break;
            }
        }
        if at == 0 {
            return rest;
        }
        rest = &rest[at..];
    }
}

/// A key for DKIM (RFC 6376) that only the tests know, and another program that signs and verifies: dkimpy.
pub struct Signer {
    scratch: Scratch,
}

/// `sign` or `verify`, and the folder: `key.pem`, `public.pem`, and the messages, one a file, in `mail`. All signatures
/// cover every byte as it is (simple/simple). `verify` prints the name of each message whose signature is right.
const DKIM: &str = "\
import base64, dkim, os, sys
what, folder = sys.argv[1:]
def read(name): return open(os.path.join(folder, name), 'rb').read()
lines = read('public.pem').splitlines()
record = b'v=DKIM1; k=rsa; p=' + b''.join(lines[1:-1])
for name in os.listdir(os.path.join(folder, 'mail')):
    path = os.path.join('mail', name)
    message = read(path)
    if what == 'sign':
        fields = [b'from', b'to', b'subject', b'date', b'message-id', b'mime-version', b'content-type']
        signature = dkim.sign(message, b'test', b'example.org', read('key.pem'), include_headers=fields,
                              canonicalize=(b'simple', b'simple'))
        open(os.path.join(folder, path), 'wb').write(signature + message)
    elif dkim.verify(message, dnsfunc=lambda name, timeout=5: record):
        print(name)
";

impl Signer {
    /// With a new key.
    pub fn new() -> Self {
        let scratch = Scratch::new("dkim");
        let key = scratch.join("key.pem");
        run(Command::new("openssl").args(["genrsa", "-traditional", "-out"]).arg(&key).arg("2048"));
        run(Command::new("openssl")
            .args(["rsa", "-pubout", "-in"])
            .arg(&key)
            .arg("-out")
            .arg(scratch.join("public.pem")));
        Self { scratch }
    }

    /// Signs the letters.
    pub fn sign(&self, letters: &mut [Letter]) {
        self.write(letters.iter().map(|letter| (letter.name.as_str(), &letter.message[..])));
        self.python("sign");
        for letter in letters {
            letter.message = fs::read(self.scratch.join("mail").join(&letter.name)).unwrap();
        }
    }

    /// Which of these messages have a signature that is right.
    pub fn verified<'a>(&self, messages: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<String> {
        self.write(messages);
        self.python("verify").lines().map(str::to_owned).collect()
    }

    fn write<'a>(&self, messages: impl IntoIterator<Item = (&'a str, &'a [u8])>) {
        let folder = self.scratch.join("mail");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        messages.into_iter().for_each(|(name, message)| fs::write(folder.join(name), message).unwrap());
    }

    fn python(&self, what: &str) -> String {
        // Debian's own, which has Debian's packages; another one may come first in PATH.
        let mut python = Command::new("/usr/bin/python3");
        String::from_utf8(run(python.args(["-c", DKIM, what]).arg(self.scratch.path()))).unwrap()
    }
}

impl Default for Signer {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_right_before_a_byte_changes_and_wrong_after() {
        let signer = Signer::new();
        let mut letters = [Letter::new("one", "example.com"), Letter::new("two", "example.com")];
        signer.sign(&mut letters);
        let [one, two] = letters.map(|letter| letter.message);
        assert!(one.starts_with(b"DKIM-Signature:"));
        let traced = [b"Received: by x;\r\n\tnow\r\nReturn-Path: <a@b>\r\n", &one[..]].concat();
        assert_eq!(without_trace(&traced), one);
        let mut altered = two.clone();
        *altered.last_mut().unwrap() = b' ';
        let verified = signer.verified([("traced", &traced[..]), ("two", &two), ("altered", &altered)]);
        assert_eq!(verified.len(), 2, "{verified:?}");
        assert!(!verified.contains(&"altered".to_owned()));
        assert_eq!(Letter::name_of(&traced).as_deref(), Some("one"));
    }
}
