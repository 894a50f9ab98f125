//! A private OpenSMTPD. Its paths are compiled in, so that it gets a mount namespace of its own with empty folders there;
//! its queue is in memory and gone with it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::certificate::Certificate;
use crate::process::{Process, answers, children, files_below, free_port, wait_until};
use crate::scratch::Scratch;
use crate::unpacked::unpacked;

/// Mail for this domain goes there.
#[derive(Clone, Debug)]
pub struct Route {
    /// The domain of the recipient; `*` for any.
    pub domain: String,
    /// The next hop.
    pub to: SocketAddr,
    /// Goes over to TLS, and does not send without it.
    pub tls: bool,
}

/// An OpenSMTPD.
pub struct OpenSmtpd {
    // Before the folder that it works in, so that it ends first.
    process: Process,
    port: u16,
    _scratch: Scratch,
}

/// What the namespace needs before the server starts in it: $1 is the server, $2 its configuration.
const SCRIPT: &str = "\
set -e
for folder in /var/spool /var/lib /run; do mount -t tmpfs none \"$folder\"; done
mkdir -p /var/spool/smtpd /var/lib/opensmtpd/empty
chmod 711 /var/spool/smtpd
exec \"$1\" -d -f \"$2\"
";

impl OpenSmtpd {
    /// Starts one that offers STARTTLS and relays by these routes; the first that fits counts.
    pub fn start(routes: &[Route], certificate: &Certificate) -> Self {
        let scratch = Scratch::new("opensmtpd");
        let port = free_port();
        let log = File::create(scratch.join("log")).unwrap();
        // It insists on a key that nobody else can read.
        let (chain, key) = certificate.copy_private(&scratch);
        let mut configuration = format!(
            "pki hop cert \"{}\"\npki hop key \"{}\"\n\
             listen on 127.0.0.1 port {port} tls pki hop hostname opensmtpd.example\n",
            chain.display(),
            key.display()
        );
        for (number, route) in routes.iter().enumerate() {
            let scheme = if route.tls { "smtp+tls" } else { "smtp+notls" };
            let verify = if route.tls { "tls no-verify " } else { "" };
            configuration.push_str(&format!(
                "action \"route{number}\" relay host {scheme}://{} {verify}helo opensmtpd.example\n",
                route.to
            ));
        }
        for (number, route) in routes.iter().enumerate() {
            let domain = match route.domain.as_str() {
                "*" => "any".to_owned(),
                domain => format!("domain \"{domain}\""),
            };
            configuration.push_str(&format!("match from any for {domain} action \"route{number}\"\n"));
        }
        fs::write(scratch.join("smtpd.conf"), configuration).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT, "sh"]);
        command.arg(unpacked("opensmtpd/usr/sbin/smtpd")).arg(scratch.join("smtpd.conf"));
        let mut process = Process::spawn(command.stdout(log.try_clone().unwrap()).stderr(log));
        wait_until("OpenSMTPD answers", || {
            assert!(process.ended().is_none(), "OpenSMTPD does not start:\n{}", log_of(scratch.path()));
            answers(([127, 0, 0, 1], port).into())
        });
        Self { process, port, _scratch: scratch }
    }

    /// Messages in its queue, which is in its namespace.
    pub fn queued(&self) -> u64 {
        let queue = format!("/proc/{}/root/var/spool/smtpd/queue", self.process.id());
        files_below(Path::new(&queue))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }
}

impl Drop for OpenSmtpd {
    fn drop(&mut self) {
        // Its parts end when their parent does; the port is free when they have.
        let parts = children(self.process.id());
        self.process.kill();
        wait_until("OpenSMTPD has ended", || {
            parts.iter().all(|id| !Path::new(&format!("/proc/{id}")).exists())
        });
    }
}

fn log_of(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
}
