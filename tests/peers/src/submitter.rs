//! The programs that give mail to the daemon: those that deliver one message and end, and mail servers that relay.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use crate::certificate::Certificate;
use crate::client::Client;
use crate::exim::{Exim, Timers, Tls};
use crate::letter::{Letter, SENDER};
use crate::opensmtpd::{OpenSmtpd, Route};
use crate::postfix::{Postfix, Role};
use crate::process::run;
use crate::scratch::Scratch;
use crate::unpacked::unpacked;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// Postfix, as a relay.
    Postfix,
    /// Exim, as a relay: sends by BDAT where that is offered.
    Exim,
    /// OpenSMTPD, as a relay.
    OpenSmtpd,
    /// sendmail, at the command line.
    Sendmail,
    /// msmtp.
    Msmtp,
    /// swaks.
    Swaks,
    /// Python's smtplib.
    Smtplib,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Postfix, Self::Exim, Self::OpenSmtpd, Self::Sendmail, Self::Msmtp, Self::Swaks, Self::Smtplib];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postfix => "Postfix",
            Self::Exim => "Exim",
            Self::OpenSmtpd => "OpenSMTPD",
            Self::Sendmail => "sendmail",
            Self::Msmtp => "msmtp",
            Self::Swaks => "swaks",
            Self::Smtplib => "smtplib",
        }
    }

    /// The parameters of DSN that it can be asked for.
    pub fn wishes(self) -> &'static [&'static str] {
        match self {
            Self::Postfix | Self::Exim | Self::OpenSmtpd | Self::Smtplib => {
                &["RET", "ENVID", "NOTIFY", "ORCPT"]
            }
            Self::Sendmail => &["RET", "ENVID", "NOTIFY"],
            Self::Msmtp => &["RET", "NOTIFY"],
            Self::Swaks => &[],
        }
    }
}

/// One of the programs, ready to send to any of some domains.
pub struct Submitter {
    program: Program,
    tls: bool,
    routes: Vec<(String, SocketAddr)>,
    relay: Option<Relay>,
    scratch: Scratch,
}

enum Relay {
    Postfix(Postfix),
    Exim(Exim),
    OpenSmtpd(OpenSmtpd),
}

impl Submitter {
    /// Gets a program ready. Mail for each domain goes to the address beside it, with TLS always or never.
    pub fn start(
        program: Program,
        tls: bool,
        routes: &[(String, SocketAddr)],
        certificate: &Certificate,
    ) -> Self {
        let relay = match program {
            Program::Postfix => Some(Relay::Postfix(postfix(tls, routes))),
            Program::Exim => {
                let tls = if tls { Tls::Always } else { Tls::Never };
                // Every domain has a route; the next hop is for what has none.
                Some(Relay::Exim(Exim::start_with(routes[0].1, &Timers::routing(routes, tls))))
            }
            Program::OpenSmtpd => {
                let route =
                    |(domain, to): &(String, SocketAddr)| Route { domain: domain.clone(), to: *to, tls };
                let routes: Vec<_> = routes.iter().map(route).collect();
                Some(Relay::OpenSmtpd(OpenSmtpd::start(&routes, certificate)))
            }
            Program::Sendmail | Program::Msmtp | Program::Swaks | Program::Smtplib => None,
        };
        Self { program, tls, routes: routes.to_vec(), relay, scratch: Scratch::new(program.name()) }
    }

    /// Sends a letter, with the wishes that the program knows. It must take it; a relay sends it on when it likes.
    pub fn send(&self, letter: &Letter) {
        let domain = letter.to[0].split('@').nth(1).unwrap();
        let to = self.routes.iter().find(|(name, _)| name == domain).expect("a route").1;
        match &self.relay {
            Some(Relay::Postfix(postfix)) => submit(postfix.address(), letter),
            Some(Relay::Exim(exim)) => submit(exim.address(), letter),
            Some(Relay::OpenSmtpd(opensmtpd)) => submit(opensmtpd.address(), letter),
            None => match self.program {
                Program::Sendmail => self.sendmail(to, letter),
                Program::Msmtp => self.msmtp(to, letter),
                Program::Swaks => self.swaks(to, letter),
                _ => self.smtplib(to, letter),
            },
        }
    }

    fn message_file(&self, message: &[u8]) -> PathBuf {
        let file = self.scratch.join("message");
        fs::write(&file, message).unwrap();
        file
    }

    fn swaks(&self, to: SocketAddr, letter: &Letter) {
        let mut swaks = Command::new("swaks");
        swaks.args(["--server", &to.ip().to_string(), "--port", &to.port().to_string()]);
        swaks.args(["--helo", "client.example", "--suppress-data", "--from", SENDER]);
        swaks.args(["--to", &letter.to.join(",")]);
        if self.tls {
            swaks.arg("--tls");
        }
        // It ends the last line itself.
        let file = self.message_file(letter.message.strip_suffix(b"\r\n").unwrap());
        run(swaks.arg("--data").arg(format!("@{}", file.display())));
    }

    fn smtplib(&self, to: SocketAddr, letter: &Letter) {
        let starttls = if self.tls { "s.starttls(); s.ehlo()" } else { "" };
        let mut script = format!(
            "import smtplib\n\
             def ok(reply): assert reply[0] in (250, 354), reply\n\
             s = smtplib.SMTP('{}', {}, local_hostname='client.example')\n\
             s.ehlo()\n{starttls}\n\
             ok(s.mail('{SENDER}', ['BODY=8BITMIME'] + '{}'.split()))\n",
            to.ip(),
            to.port(),
            letter.mail_wishes()
        );
        for recipient in &letter.to {
            let wishes = letter.rcpt_wishes(recipient);
            script.push_str(&format!("ok(s.rcpt('{recipient}', '{wishes}'.split()))\n"));
        }
        let file = self.message_file(&letter.message);
        script.push_str(&format!("ok(s.data(open('{}', 'rb').read()))\ns.quit()\n", file.display()));
        run(Command::new("python3").args(["-c", &script]));
    }

    fn msmtp(&self, to: SocketAddr, letter: &Letter) {
        let tls = if self.tls { "on" } else { "off" };
        let mut msmtp = Command::new("msmtp");
        msmtp.args(["--file=/dev/null", "--domain=client.example", "--auth=off", "--tls-certcheck=off"]);
        msmtp.args([format!("--host={}", to.ip()), format!("--port={}", to.port()), format!("--tls={tls}")]);
        msmtp.args([format!("--tls-starttls={tls}"), format!("--from={SENDER}")]);
        msmtp.args(["--dsn-notify=success,delay", "--dsn-return=hdrs", "--"]).args(&letter.to);
        let status = pipe(&mut msmtp, letter);
        assert!(status.success(), "msmtp: {status}");
    }

    fn sendmail(&self, to: SocketAddr, letter: &Letter) {
        let file = self.scratch.join(&format!("{}.cf", to.port()));
        if !file.exists() {
            fs::write(&file, self.sendmail_cf(to)).unwrap();
        }
        // Where its host has a name without a dot it sleeps a minute before each message: it gets a name of its own.
        let mut sendmail = Command::new("unshare");
        sendmail.args(["--uts", "sh", "-c", "hostname sendmail.example && exec \"$0\" \"$@\""]);
        sendmail.arg(unpacked("sendmail/usr/libexec/sendmail/sendmail"));
        // -odi: it delivers before it returns. -i: a dot alone is no end.
        sendmail.arg("-C").arg(file).args(["-i", "-odi", "-B8BITMIME", "-f", SENDER, "-N", "success,delay"]);
        sendmail.args(["-R", "hdrs", "-V", &letter.name]).args(&letter.to);
        let status = pipe(&mut sendmail, letter);
        // EX_DATAERR is what comes of the rule against TLS.
        assert!(status.success() || (!self.tls && status.code() == Some(65)), "sendmail: {status}");
    }

    fn sendmail_cf(&self, to: SocketAddr) -> Vec<u8> {
        let here = self.scratch.path().display();
        let queue = self.scratch.join("queue");
        let _ = fs::create_dir(&queue);
        let folder = unpacked("sendmail/usr/share/sendmail/cf/m4/cf.m4")
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .to_owned();
        // It goes over to TLS wherever that is offered, unless a rule refuses.
        let never_tls = "LOCAL_RULESETS\nStry_tls\nR$*\t\t$#error $@ 5.7.1 $: never\n";
        let configuration = format!(
            "divert(-1)\ndivert(0)dnl\nOSTYPE(`linux')dnl\n\
             define(`confDOMAIN_NAME', `sendmail.example')dnl\n\
             define(`QUEUE_DIR', `{here}/queue')dnl\n\
             define(`STATUS_FILE', `{here}/statistics')dnl\n\
             define(`confPID_FILE', `{here}/pid')dnl\n\
             define(`ALIAS_FILE', `')dnl\n\
             define(`confDONT_PROBE_INTERFACES', `True')dnl\n\
             define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe')dnl\n\
             define(`RELAY_MAILER_ARGS', `TCP $h {port}')dnl\n\
             define(`SMART_HOST', `relay:[{ip}]')dnl\n\
             FEATURE(`nocanonify')dnl\n\
             FEATURE(`accept_unresolvable_domains')dnl\n\
             MAILER(`smtp')dnl\n{rules}",
            port = to.port(),
            ip = to.ip(),
            rules = if self.tls { "" } else { never_tls },
        );
        let mc = self.scratch.join("sendmail.mc");
        fs::write(&mc, configuration).unwrap();
        let mut m4 = Command::new("m4");
        run(m4.arg(format!("-D_CF_DIR_={}/", folder.display())).arg(folder.join("m4/cf.m4")).arg(mc))
    }
}

fn postfix(tls: bool, routes: &[(String, SocketAddr)]) -> Postfix {
    let level = if tls { "encrypt" } else { "none" };
    let map: Vec<_> = routes
        .iter()
        .map(|(domain, to)| format!("{{{domain} = smtp:[{}]:{}}}", to.ip(), to.port()))
        .collect();
    let settings =
        format!("smtp_tls_security_level = {level}\ntransport_maps = inline:{{ {} }}\n", map.join(", "));
    Postfix::start_with(Role::Relay(routes[0].1), &settings)
}

/// Runs a program that reads the letter from its input, with the line ends of Unix.
fn pipe(command: &mut Command, letter: &Letter) -> ExitStatus {
    let text = String::from_utf8(letter.message.clone()).unwrap().replace("\r\n", "\n");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait().unwrap()
}

/// Gives the letter with all its wishes to a server that relays.
fn submit(to: SocketAddr, letter: &Letter) {
    let mut client = Client::connect(to);
    client.ask("EHLO client.example");
    let reply = client.ask(&format!("MAIL FROM:<{SENDER}> BODY=8BITMIME {}", letter.mail_wishes()));
    assert_eq!(reply.code, 250, "{reply:?}");
    for recipient in &letter.to {
        let reply = client.ask(&format!("RCPT TO:<{recipient}> {}", letter.rcpt_wishes(recipient)));
        assert_eq!(reply.code, 250, "{reply:?}");
    }
    assert_eq!(client.ask("DATA").code, 354);
    client.send(&crate::client::stuffed(&letter.message));
    let reply = client.reply();
    assert_eq!(reply.code, 250, "{reply:?}");
    client.ask("QUIT");
}
