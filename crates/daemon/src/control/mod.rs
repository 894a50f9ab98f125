//! The control interface: what an operator can ask the daemon and tell it, as HTTP and JSON.
//!
//! [`types`] is the language, shared with the command line; [`Operate`] is what the daemon must be able to do for it.
//! Nothing here knows of volumes, sessions or release: whoever implements [`Operate`] does.

pub mod adopt;
mod body;
pub mod clients;
pub mod envelope;
mod error;
mod id;
mod operate;
pub mod quarantine;
pub mod recipients;
pub mod replay;
mod router;
mod socket;
pub mod tls;
pub mod types;
pub mod volume;

pub use error::{Kind, Refusal};
pub use id::{BadMailId, MailId, Store};
pub use operate::{Export, Operate, Who};
pub use router::{SHA256_HEADER, router};
pub use socket::{BindError, ControlSocket};
