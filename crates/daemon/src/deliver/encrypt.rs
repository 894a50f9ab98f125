//! A connection to a server goes over to TLS, or does not, as is wanted of it.

use std::time::Duration;

use penstock_release::{Found, HopId, Phase};
use penstock_settings::HopAddress;
use penstock_smtp::client::Event;
use tracing::{debug, info, warn};

use super::connection::Connection;
use super::evidence::Cut;
use super::{Delivery, Shared};
use crate::clock::host_time;
use crate::ledger::Kind;
use crate::stop;
use crate::tls::{Hop, Met, NoTls, Plan, Seen, Stream, Tls};

/// How long a handshake may take. A server under pressure delays what it says, and it has said 220.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a connection is not encrypted.
enum Failed {
    /// The server refused; the connection can go on in plain text.
    Refused(String),
    /// There is no connection any more.
    Broken(String),
    /// As ever, whether it was to be encrypted or not.
    Found(Option<Found>),
}

impl Delivery {
    /// Connects to a server, encrypted as far as that is wanted and works.
    pub(super) async fn open(
        &self,
        address: &HopAddress,
        shared: Shared,
        hop: &Hop,
    ) -> Result<(Connection, Option<Met>), Option<Found>> {
        let dial = || {
            let (client, stopping) = (self.client.clone(), self.stopping.clone());
            self.metrics.hop_connections.add(1);
            Connection::open(address, self.from, client, &self.settings.client, stopping, shared.clone())
        };
        let mut connection = dial().await?;
        match hop.plan(connection.session().capabilities().starttls) {
            Plan::Plain => return Ok((connection, None)),
            Plan::Wait => {
                tokio::spawn(connection.quit());
                return Err(Some(no_tls(hop)));
            }
            Plan::Encrypt => {}
        }
        let why = match connection.encrypt(&self.tls, hop, self.clock.stamp().unix_ms).await {
            Ok(met) => {
                self.metrics.hop_connections_encrypted.add(1);
                return Ok((connection, Some(met)));
            }
            Err(Failed::Found(found)) => return Err(found),
            Err(Failed::Refused(why)) => Err(why),
            Err(Failed::Broken(why)) => Ok(why),
        };
        self.metrics.hop_handshakes_failed.add(1);
        let (Ok(said) | Err(said)) = &why;
        let (will_do, is_news) = hop.failed(said);
        if !will_do {
            return Err(Some(no_tls(hop)));
        }
        if is_news {
            warn!(code = "PS-D403", %address, said, "no TLS with a server that offers it: mail goes in plain text");
        }
        let connection = if why.is_ok() { dial().await? } else { connection };
        Ok((connection, None))
    }

    /// Writes down what a next hop showed, where that is new.
    pub(super) async fn met(&self, hop: HopId, met: Met) {
        if met == Met::Known {
            return;
        }
        let name = self.hop_name(hop);
        let Some(Seen { facts, .. }) = self.tls.hop(hop).and_then(|hop| hop.facts().seen) else { return };
        let (of, key) = (facts.names.join(", "), facts.key);
        let what = match met {
            Met::Known | Met::First => "shows its certificate",
            Met::Renewed => "has renewed its certificate",
            Met::Changed => "shows another certificate than before",
        };
        if met == Met::Changed {
            warn!(code = "PS-D405", hop = name, of, %key, "{what}: `penstock tls accept {name}` if that is right");
        } else {
            info!(hop = name, of, %key, "the next hop {what}");
        }
        let text = format!("{name} {what}, of {of}: SHA-256 of its key {key}");
        // Told in the log already.
        let _ = self.volumes.record(Kind::Certificate.event(self.clock.stamp(), None, text)).await;
        if let Err(error) = self.save_tls(false).await {
            debug!(%error, "what next hops showed is not kept yet");
        }
    }
}

/// What `release` is told: nobody is there to whom mail may be given.
fn no_tls(hop: &Hop) -> Found {
    let why = hop.facts().trouble.unwrap_or_default();
    Found::lost(Phase::Ehlo, format!("no TLS: {why}"), 0)
}

impl Connection {
    async fn encrypt(&mut self, tls: &Tls, hop: &Hop, unix_ms: u64) -> Result<Met, Failed> {
        if let Err(error) = self.session().start_tls() {
            return Err(Failed::Found(Cut::Nonsense(error).found(Phase::Ehlo, 0)));
        }
        loop {
            match self.poll() {
                Event::NeedInput => {
                    let moved = self.progress().await;
                    moved.map_err(|cut| Failed::Found(cut.found(Phase::Ehlo, 0)))?;
                }
                Event::StartTlsReply(reply) if reply.code == 220 => break,
                Event::StartTlsReply(reply) => {
                    return Err(Failed::Refused(format!("it says {reply} to STARTTLS")));
                }
                Event::Broken { error, .. } => return Err(Failed::Broken(error.to_string())),
                Event::Closed => {
                    return Err(Failed::Broken("it closed the connection at STARTTLS".to_owned()));
                }
                // Nothing else comes between EHLO and the answer.
                _ => {}
            }
        }
        let Some(Stream::Plain(stream)) = self.take_stream() else {
            return Err(Failed::Found(Cut::Eof.found(Phase::Ehlo, 0)));
        };
        let handshake = tokio::time::timeout(host_time(HANDSHAKE_TIMEOUT), tls.encrypt(hop, stream, unix_ms));
        let (stream, seen, met) = tokio::select! {
            () = stop::signalled(self.stopping()) => return Err(Failed::Found(None)),
            encrypted = handshake => match encrypted {
                Ok(Ok(encrypted)) => encrypted,
                Ok(Err(NoTls::Handshake(why) | NoTls::Pin(why))) => return Err(Failed::Broken(why)),
                Err(_) => return Err(Failed::Broken("the TLS handshake took too long".to_owned())),
            },
        };
        self.encrypted(stream, Hop::identity(&seen)).await.map_err(Failed::Found)?;
        Ok(met)
    }
}
