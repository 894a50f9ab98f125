//! What the console may ask of the first process: that the box ends.

use tokio::net::UnixDatagram;

use super::power::How;
use super::{CONSOLE_ID, Error, socket};

/// The socket. Nobody but the console's user and root may write to it.
pub(crate) const SOCKET: &str = "/run/init/requests";

/// The socket, bound.
#[derive(Debug)]
pub(super) struct Requests(UnixDatagram);

impl Requests {
    pub(super) fn bind() -> Result<Self, Error> {
        socket::bind(SOCKET, CONSOLE_ID).map(Self)
    }

    /// The next request that means something.
    pub(super) async fn next(&self) -> How {
        let mut word = [0; 32];
        loop {
            if let Some(how) = How::from_word(socket::receive(&self.0, &mut word).await) {
                return how;
            }
        }
    }
}
