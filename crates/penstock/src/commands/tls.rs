//! `penstock tls`

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use penstock_daemon::control::tls::{
    AcceptRequest, CertificateView, CheckView, FILE_BYTES_MAX, HopTlsView, InstallRequest, TlsView, Verdict,
};

use super::{acted, write_json};
use crate::args::Tls;
use crate::client::Client;
use crate::failure::{Exit, Failure};
use crate::text::human::{moment, plain};
use crate::text::{Screen, Style};

pub(super) async fn run(client: &Client, what: Tls, json: bool, screen: &mut Screen) -> Result<(), Failure> {
    match what {
        Tls::Show { .. } => {
            let view = client.tls().await?;
            if json { write_json(&view, screen) } else { show(&view, screen) }
        }
        Tls::Accept { hop, .. } => {
            acted(&client.accept_certificate(&AcceptRequest { hop }).await?, json, screen)
        }
        Tls::Reload { .. } => acted(&client.reload_certificate().await?, json, screen),
        Tls::Check { .. } => {
            let check = client.check_tls().await?;
            if json {
                write_json(&check, screen)?
            } else {
                findings(&check, screen)?
            }
            if check.findings.iter().any(|finding| finding.verdict == Verdict::Wrong) {
                screen.flush()?;
                return Err(Failure::Silent(Exit::Failed));
            }
            Ok(())
        }
        Tls::Install { file: None, .. } => acted(&client.uninstall_certificate().await?, json, screen),
        Tls::Install { file: Some(file), key, password_file, .. } => {
            let request = InstallRequest {
                certificate: read(&file)?,
                key: key.as_deref().map(read).transpose()?,
                password: password_file.as_deref().map(first_line).transpose()?,
            };
            acted(&client.install_certificate(&request).await?, json, screen)
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let unreadable = |error: io::Error| Failure::file(path, "read", &error);
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > FILE_BYTES_MAX {
        let what =
            format!("{} is larger than {} KiB: it is no certificate", path.display(), FILE_BYTES_MAX / 1024);
        return Err(Failure::new(Exit::Failed, "PS-D319", what, ""));
    }
    Ok(bytes)
}

fn first_line(path: &Path) -> Result<String, Failure> {
    let text = String::from_utf8_lossy(&read(path)?).into_owned();
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn show(view: &TlsView, screen: &mut Screen) -> Result<(), Failure> {
    let offered = if view.offered { "offered STARTTLS" } else { "not offered STARTTLS" };
    writeln!(screen, "{}", screen.paint(Style::Heading, &format!("Clients are {offered}")))?;
    if let Some(shown) = &view.certificate {
        let origin = match view.origin.as_deref() {
            Some("file") => "from tls.certificate_file",
            Some("installed") => "given to the box with `penstock tls install`",
            _ => "made by the box for itself; no authority vouches for it",
        };
        line("Origin", origin, screen)?;
        certificate(shown, screen)?;
    }
    if let Some(trouble) = &view.trouble {
        warning(&format!("the file cannot be used: {trouble}"), screen)?;
    }
    view.hops.iter().try_for_each(|it| hop(it, screen))
}

fn hop(hop: &HopTlsView, screen: &mut Screen) -> Result<(), Failure> {
    let wants = match hop.wants.as_str() {
        "opportunistic" => "where it works",
        "required" => "always, whatever certificate it shows",
        "pinned" => "always, to the certificate that is pinned",
        _ => "never",
    };
    let heading = format!("Mail to {} is encrypted {wants}", plain(&hop.hop));
    writeln!(screen, "\n{}", screen.paint(Style::Heading, &heading))?;
    match &hop.certificate {
        Some(shown) => {
            if let Some(session) = &hop.session {
                line("Last seen", &plain(session), screen)?;
            }
            if let Some(since) = hop.since_unix_ms {
                line("Shown since", &moment(since), screen)?;
            }
            certificate(shown, screen)?;
            if hop.vouched {
                line(
                    "Vouched for",
                    "by a public authority: a renewal for the same names is no change",
                    screen,
                )?;
            }
        }
        None => line("Certificate", "none was seen yet", screen)?,
    }
    for pin in &hop.pins {
        line("Pinned", &plain(pin), screen)?;
    }
    if let Some(other) = &hop.unpinned {
        warning("it shows a certificate that is not pinned, and mail waits:", screen)?;
        certificate(other, screen)?;
        writeln!(screen, "  `penstock tls accept {}` pins it.", plain(&hop.hop))?;
    } else if let Some(trouble) = &hop.trouble {
        warning(trouble, screen)?;
    }
    Ok(())
}

fn certificate(shown: &CertificateView, screen: &mut Screen) -> Result<(), Failure> {
    let names: Vec<String> = shown.names.iter().map(|name| plain(name)).collect();
    line("For", &names.join(", "), screen)?;
    let issuer = if shown.self_signed { "itself".to_owned() } else { plain(&shown.issuer) };
    line("Issued by", &issuer, screen)?;
    let date = |unix_ms: i64| u64::try_from(unix_ms).map_or_else(|_| "before 1970".to_owned(), moment);
    line(
        "Holds",
        &format!("{} to {}", date(shown.not_before_unix_ms), date(shown.not_after_unix_ms)),
        screen,
    )?;
    line("SHA-256", &plain(&shown.certificate_sha256), screen)?;
    line("of its key", &plain(&shown.key_sha256), screen)
}

fn line(what: &str, text: &str, screen: &mut Screen) -> Result<(), Failure> {
    Ok(writeln!(screen, "  {what:12}{text}")?)
}

fn warning(text: &str, screen: &mut Screen) -> Result<(), Failure> {
    let text = screen.paint(Style::Warning, &plain(text));
    Ok(writeln!(screen, "  {text}")?)
}

fn findings(check: &CheckView, screen: &mut Screen) -> Result<(), Failure> {
    for finding in &check.findings {
        let style = match finding.verdict {
            Verdict::Good => Style::Good,
            Verdict::Hint | Verdict::Unknown => Style::Warning,
            Verdict::Wrong => Style::Bad,
        };
        let verdict = screen.paint(style, &format!("{:8}", finding.verdict.as_str()));
        writeln!(screen, "{verdict}{}: {}", plain(&finding.subject), plain(&finding.what))?;
        if !finding.help.is_empty() {
            writeln!(screen, "        {}", screen.paint(Style::Faint, &plain(&finding.help)))?;
        }
    }
    Ok(())
}
