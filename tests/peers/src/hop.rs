//! A next hop for the daemon, whatever it is, and what came to lie at its far end.

use std::net::{Ipv4Addr, SocketAddr};

use penstock_exchange::real::{Background, Options};

use crate::certificate::Certificate;
use crate::content::Content;
use crate::exim::{Exim, Timers};
use crate::letter::Arrival;
use crate::opensmtpd::{OpenSmtpd, Route};
use crate::postfix::{Postfix, Role};
use crate::process::wait_until;
use crate::recorder::Recorder;
use crate::sink::{Sink, Traits};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Postfix.
    Postfix,
    /// Exim.
    Exim,
    /// OpenSMTPD.
    OpenSmtpd,
    /// The model of Exchange, which has no TLS.
    Exchange,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Postfix, Self::Exim, Self::OpenSmtpd, Self::Exchange];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postfix => "Postfix",
            Self::Exim => "Exim",
            Self::OpenSmtpd => "OpenSMTPD",
            Self::Exchange => "Exchange (model)",
        }
    }

    /// Whether its STARTTLS works. OpenSMTPD as Debian 12 has it offers it and fails in each handshake, whatever its key is
    /// ("SSL routines::EVP lib"): its keys lie in a process of their own, which OpenSSL 3 does not reach. As a client it
    /// has no key.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Postfix | Self::Exim)
    }
}

/// Mailboxes of the model whose mail can be read back.
pub const EXCHANGE_MAILBOXES: [&str; 4] =
    ["first@example.com", "second@example.com", "victim@example.com", "b@example.com"];

/// A server with, behind it, a sink; or the model, behind a recorder.
pub enum Hop {
    /// A relay.
    Relay {
        /// The server.
        server: Server,
        /// Where it listens.
        address: SocketAddr,
        /// What it relays to.
        sink: Sink,
    },
    /// The model.
    Exchange {
        /// The server.
        model: Background,
        /// What it was given.
        recorder: Recorder,
    },
}

/// One of the relays.
pub enum Server {
    /// Postfix.
    Postfix(Postfix),
    /// Exim.
    Exim(Exim),
    /// OpenSMTPD.
    OpenSmtpd(OpenSmtpd),
}

impl Hop {
    /// Starts one. Relays offer STARTTLS with this certificate.
    pub fn start(kind: Kind, certificate: &Certificate) -> Self {
        if kind == Kind::Exchange {
            return Self::exchange();
        }
        let sink = Sink::start_with(0, Traits { keeps: true, ..Traits::default() });
        let (server, address) = match kind {
            Kind::Postfix => {
                let settings = format!(
                    "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = {}\nsmtputf8_enable = yes\n",
                    certificate.both().display()
                );
                let postfix = Postfix::start_with(Role::Relay(sink.address()), &settings);
                let address = postfix.address();
                (Server::Postfix(postfix), address)
            }
            Kind::Exim => {
                let main = format!(
                    "tls_advertise_hosts = *\ntls_certificate = {}\ntls_privatekey = {}\n\
                     smtputf8_advertise_hosts = *\nsmtp_accept_queue_per_connection = 0\n",
                    certificate.chain().display(),
                    certificate.key().display()
                );
                let exim = Exim::start_with(sink.address(), &Timers::with_main(&main));
                let address = exim.address();
                (Server::Exim(exim), address)
            }
            Kind::OpenSmtpd | Kind::Exchange => {
                let route = Route { domain: "*".to_owned(), to: sink.address(), tls: false };
                let server = OpenSmtpd::start(&[route], certificate);
                let address = server.address();
                (Server::OpenSmtpd(server), address)
            }
        };
        Self::Relay { server, address, sink }
    }

    fn exchange() -> Self {
        let probes = EXCHANGE_MAILBOXES.map(|mailbox| format!("probe {mailbox}\n")).concat();
        let model = Background::start(Options {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            http: None,
            send_connector: None,
            // Its message intervals are not what is tried here.
            speed: 100.0,
            seed: 1,
            epoch_s: 1_700_000_000,
            scenario: probes,
        })
        .unwrap();
        let recorder = Recorder::start(model.address());
        Self::Exchange { model, recorder }
    }

    /// Where the daemon gives it mail.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Relay { address, .. } => *address,
            Self::Exchange { recorder, .. } => recorder.address(),
        }
    }

    /// Waits until it has nothing more to pass on, as far as it can say.
    pub fn settle(&self) {
        if let Self::Relay { server, .. } = self {
            wait_until("the next hop has passed on everything", || match server {
                Server::Postfix(postfix) => postfix.queued() == 0,
                Server::Exim(exim) => exim.queued() == 0,
                Server::OpenSmtpd(opensmtpd) => opensmtpd.queued() == 0,
            });
        }
    }

    /// What has arrived so far, once for each recipient.
    pub fn arrivals(&self) -> Vec<Arrival> {
        match self {
            Self::Relay { sink, .. } => {
                let each = sink.deliveries().into_iter().flat_map(|delivery| {
                    let (from, message) = (delivery.from, delivery.raw);
                    delivery.to.into_iter().map(move |to| Arrival {
                        from: from.clone(),
                        to,
                        message: message.clone(),
                    })
                });
                each.collect()
            }
            Self::Exchange { model, recorder } => {
                let transactions = recorder.transactions();
                let delivered = model.with(|server| server.deliveries().to_vec());
                let each = delivered.into_iter().filter_map(|delivery| {
                    // The model keeps the message, and the recorder what was asked for it.
                    let content = Content::of(&delivery.kept);
                    let sent = transactions.iter().filter(|sent| sent.content == content);
                    let (from, to) = sent
                        .flat_map(|sent| sent.to.iter().map(|to| (&sent.from, to)))
                        .find(|(_, to)| to.address.eq_ignore_ascii_case(&delivery.mailbox))?;
                    Some(Arrival { from: from.clone(), to: to.clone(), message: delivery.kept.clone() })
                });
                each.collect()
            }
        }
    }
}
