//! What a client's address is called: looked up beside its session, which never waits for it.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::AbortHandle;

use super::Dns;

/// How long the look-ups for one client may take in all.
const LIMIT: Duration = Duration::from_secs(2);
/// So many clients are looked up at once; further ones have no name.
pub(super) const LOOK_UPS_MAX: usize = 64;

/// The name of a client, once it is known. The look-up ends with this.
#[derive(Debug)]
pub(crate) struct ClientName {
    name: Arc<OnceLock<String>>,
    task: Option<AbortHandle>,
}

impl ClientName {
    /// The name, if it is known by now.
    pub(crate) fn get(&self) -> Option<&str> {
        self.name.get().map(String::as_str)
    }
}

impl Drop for ClientName {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Dns {
    /// Begins to look for the name of a client.
    pub(crate) fn client_name(self: &Arc<Self>, address: IpAddr) -> ClientName {
        let name = Arc::new(OnceLock::new());
        // This machine is called localhost everywhere, which says nothing.
        let asks = !address.to_canonical().is_loopback();
        let permit = asks.then(|| Arc::clone(&self.clients).try_acquire_owned().ok()).flatten();
        let task = permit.map(|permit| {
            let (dns, found) = (Arc::clone(self), Arc::clone(&name));
            let look_up = async move {
                let _permit = permit;
                if let Ok(name) = dns.name_of(address, LIMIT).await {
                    let _ = found.set(name);
                }
            };
            tokio::spawn(look_up).abort_handle()
        });
        ClientName { name, task }
    }
}
