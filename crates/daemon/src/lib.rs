//! The service: it takes mail, keeps it on flash, and gives it on.
//!
//! One thread does all network I/O (tokio, current-thread); one for each volume owns the log on it and is the only one that
//! writes; reads of mail run on a few threads of their own. What decides lives in crates that do no I/O (`smtp`, `release`,
//! `settings`, `spool`); here are the sockets, files, clocks and threads that they are driven with.

mod authenticity;
mod boxstate;
mod clock;
pub mod control;
mod deliver;
mod directory;
mod dns;
mod dsn;
mod error;
mod header;
pub mod keeper;
mod ledger;
mod listen;
mod log;
mod metrics;
mod news;
mod notify;
mod operator;
mod policy;
mod run;
mod sandbox;
mod source;
#[cfg(feature = "faults")]
mod speed;
mod stop;
mod storage;
mod tls;
mod volume;

pub use error::Error;
pub use log::start as start_log;
pub use run::{Options, run};
#[cfg(feature = "faults")]
pub use volume::FAULTS_VARIABLES;
