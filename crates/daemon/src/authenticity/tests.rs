use mail_auth::common::crypto::Ed25519Key;
use mail_auth::common::headers::HeaderWriter as _;
use mail_auth::dkim::DkimSigner;
use mail_parser::decoders::base64::base64_decode;

use super::*;
use crate::dns::server::NameServer;

const SEED: &[u8] = b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const BODY: &str = "From: Author <author@example.net>\r\nTo: one@example.org\r\nSubject: hello\r\n\r\nfirst line\r\nlast line\r\n";

/// A message with the signature of example.net.
fn signed() -> String {
    let key = |text: &[u8]| base64_decode(text).unwrap();
    let key = Ed25519Key::from_seed_and_public_key(&key(SEED), &key(PUBLIC.as_bytes())).unwrap();
    let signer =
        DkimSigner::from_key(key).domain("example.net").selector("s1").headers(["From", "To", "Subject"]);
    format!("{}{BODY}", signer.sign(BODY.as_bytes()).unwrap().to_header())
}

/// The DNS of example.net, which mail of its own comes from 192.0.2.1.
fn example_net() -> NameServer {
    let server = NameServer::start();
    server
        .text("example.net", "v=spf1 ip4:192.0.2.1 -all")
        .text("s1._domainkey.example.net", &format!("v=DKIM1; k=ed25519; p={PUBLIC}"))
        .text("_dmarc.example.net", "v=DMARC1; p=reject");
    server
}

fn authenticity(server: &NameServer, more: &str) -> Arc<Authenticity> {
    let text = format!(
        "[system]\nhostname = \"mx.example.org\"\n[domains]\naccepted = [\"example.org\"]\n[[next_hop]]\nname = \"x\"\n\
         address = \"192.0.2.25\"\n[dns]\nservers = [\"{}\"]\n[listen]\ntrusted_fronts = [\"192.0.2.100\"]\n[authenticity]\n{more}",
        server.address
    );
    let settings = Arc::new(Settings::parse(&text).unwrap());
    let dns = Dns::new(&settings);
    Authenticity::new(settings, dns, Arc::new(Clock::new(None)), Arc::default())
}

fn judged(server: &NameServer, client: &str, path: &str, message: &str) -> String {
    let sender =
        Sender { client: client.parse().unwrap(), helo: "mail.example.com".into(), path: path.into() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(authenticity(server, "").judge_now(&sender, message.as_bytes(), true)).to_string()
}

#[test]
fn a_message_that_is_what_it_says_passes() {
    assert_eq!(
        judged(&example_net(), "::ffff:192.0.2.1", "bounces@example.net", &signed()),
        "spf=pass smtp.mailfrom=bounces@example.net; dkim=pass header.d=example.net header.s=s1; \
         dmarc=pass header.from=example.net policy.dmarc=reject"
    );
}

#[test]
fn a_message_that_is_not_fails() {
    let changed = signed().replace("last line", "lost line");
    assert_eq!(
        judged(&example_net(), "192.0.2.2", "bounces@example.net", &changed),
        "spf=fail smtp.mailfrom=bounces@example.net; dkim=fail (the body was changed) header.d=example.net header.s=s1; \
         dmarc=fail (neither SPF nor a signature is the author's) header.from=example.net policy.dmarc=reject"
    );
    let other_subject = signed().replace("Subject: hello", "Subject: hallo");
    assert_eq!(
        judged(&example_net(), "192.0.2.1", "a@example.net", &other_subject),
        "spf=pass smtp.mailfrom=a@example.net; dkim=fail (the signature does not match) header.d=example.net header.s=s1; \
         dmarc=pass header.from=example.net policy.dmarc=reject"
    );
}

#[test]
fn what_no_domain_says_anything_about_is_none() {
    let server = NameServer::start();
    assert_eq!(
        judged(&server, "192.0.2.1", "a@example.net", BODY),
        "spf=none smtp.mailfrom=a@example.net; dkim=none; dmarc=none header.from=example.net"
    );
    let no_author = "Subject: hello\r\n\r\n";
    assert_eq!(
        judged(&server, "192.0.2.1", "", no_author),
        "spf=none smtp.helo=mail.example.com; dkim=none; dmarc=none (it has no author)"
    );
    assert_eq!(
        judged(&server, "192.0.2.1", "", "\r\nno header\r\n"),
        "spf=none smtp.helo=mail.example.com; dkim=none (it has no header)"
    );
}

#[test]
fn a_key_that_is_gone_is_told_from_a_name_server_that_is() {
    let server = NameServer::start();
    server.text("example.net", "v=spf1 -all");
    let said = judged(&server, "192.0.2.1", "a@example.net", &signed());
    assert!(said.contains("dkim=permerror (no such key or record) header.d=example.net"), "{said}");
    server.be_silent(true);
    let said = judged(&server, "192.0.2.1", "a@example.net", &signed());
    assert!(
        said.contains("all skipped (the name servers did not answer in time)") || said.contains("temperror"),
        "{said}"
    );
}

#[test]
fn of_a_trusted_front_only_signatures_are_judged() {
    let front = "spf skipped (the client is a trusted front and brings everybody's mail)";
    assert_eq!(
        judged(&example_net(), "192.0.2.100", "a@example.net", &signed()),
        format!(
            "{front}; dkim=pass header.d=example.net header.s=s1; dmarc=pass header.from=example.net policy.dmarc=reject"
        )
    );
    assert_eq!(
        judged(&example_net(), "192.0.2.100", "a@example.net", BODY),
        format!(
            "{front}; dkim=none; dmarc skipped (no signature is the author's, and SPF was not looked at) \
             header.from=example.net policy.dmarc=reject"
        )
    );
}

#[test]
fn without_its_end_a_message_is_judged_by_who_sent_it() {
    let sender = Sender {
        client: "192.0.2.1".parse().unwrap(),
        helo: "x.example".into(),
        path: "a@example.net".into(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = example_net();
    let found = runtime.block_on(authenticity(&server, "").judge_now(&sender, b"From: x@y", false));
    assert_eq!(
        found.header("mx"),
        "Authentication-Results: mx;\r\n\tspf=pass smtp.mailfrom=a@example.net\r\n"
    );
}
