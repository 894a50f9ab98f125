//! The sessions with each hop: those that wait for another message, new ones, and those that are ended.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use penstock_release::{Found, HopId, HopStatus};
use tracing::debug;

use super::connection::Connection;
use super::{Delivery, Shared};

/// How long a session is kept for the next message.
const IDLE_MAX: Duration = Duration::from_secs(10);

impl Delivery {
    /// Connections to a hop, in use or waiting for another message.
    pub(crate) fn connections(&self, hop: HopId) -> usize {
        self.connections.get(usize::from(hop.0)).map_or(0, |counted| Arc::strong_count(counted) - 1)
    }

    /// A session with a hop: one that waits, or a new one. `Err(None)` if we are stopping.
    pub(super) async fn connection(&self, hop: HopId) -> Result<Connection, Option<Found>> {
        let idle = self.idle().get_mut(usize::from(hop.0)).and_then(Vec::pop);
        match idle {
            Some(connection) if connection.is_fresh() => Ok(connection),
            Some(old) => {
                tokio::spawn(old.quit());
                self.connect(hop).await
            }
            None => self.connect(hop).await,
        }
    }

    pub(super) async fn connect(&self, hop: HopId) -> Result<Connection, Option<Found>> {
        let Some(next_hop) = self.settings.next_hops.get(usize::from(hop.0)) else { return Err(None) };
        let Some(counted) = self.connections.get(usize::from(hop.0)) else { return Err(None) };
        let Some(known) = self.known.get(usize::from(hop.0)) else { return Err(None) };
        let Some(tls) = self.tls.hop(hop) else { return Err(None) };
        debug!(hop = self.hop_name(hop), "connecting");
        let shared = Shared { counted: Arc::clone(counted), known: Arc::clone(known) };
        let (connection, met) = self.open(&next_hop.address, shared, tls).await?;
        self.release().greeted(hop, &connection.greeting(), self.now());
        if let Some(met) = met {
            self.met(hop, met).await;
        }
        self.heard(hop, connection.capabilities()).await;
        Ok(connection)
    }

    pub(super) fn keep(&self, hop: HopId, mut connection: Connection) {
        connection.set_idle();
        if connection.is_fresh()
            && let Some(idle) = self.idle().get_mut(usize::from(hop.0))
        {
            idle.push(connection);
        } else {
            tokio::spawn(connection.quit());
        }
    }

    /// Ends sessions that nobody needed for a while, and those beyond what the hop is to have.
    pub(super) fn close_idle(&self) {
        if !self.has_idle() {
            return;
        }
        let hops: Vec<HopStatus> = self.release().hops(self.now()).collect();
        for (sessions, hop) in self.idle().iter_mut().zip(hops) {
            let mut surplus = self.connections(hop.id).saturating_sub(hop.connections as usize);
            while let Some(oldest) = sessions.first()
                && (surplus > 0 || oldest.idle_for() > IDLE_MAX)
            {
                surplus = surplus.saturating_sub(1);
                tokio::spawn(sessions.remove(0).quit());
            }
        }
    }

    pub(super) fn has_idle(&self) -> bool {
        self.idle().iter().any(|sessions| !sessions.is_empty())
    }

    pub(super) fn idle(&self) -> MutexGuard<'_, Vec<Vec<Connection>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
