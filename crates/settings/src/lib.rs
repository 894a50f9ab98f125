//! What the operator set.
//!
//! [`Settings::parse`] turns the text of a TOML file into typed, bounded values or into [`Problems`]: all of them at
//! once, each with its line, its key, a stable code and a reason that says what would be right. Nothing is guessed
//! and nothing is passed over: an unknown key is a problem, since a misspelt limit is a limit that does not hold.
//!
//! Every key with its type, default, range and reason stands once, in `table.rs`. The parser, [`defaults_text`] and
//! the document beside this crate (`SETTINGS.md`) are all made from it through [`SECTIONS`].
//!
//! This crate reads no file and opens no socket: whether a path exists or a port is free is for its caller to find.

#![no_std]

extern crate alloc;

mod changes;
mod check;
mod directory;
mod lease;
mod mailboxes;
mod names;
mod network;
mod pin;
mod print;
mod problem;
mod proof;
mod read;
mod record;
mod schema;
mod secret;
mod table;
mod taking;
mod units;
mod value;

pub use changes::{Change, Entry, changes, entries};
pub use directory::{LdapUrl, Line, Sha256};
pub use lease::{LEASE_BYTES, LEASES_AT, LentAddress, survey_leases};
pub use mailboxes::Mailboxes;
pub use names::{AbsolutePath, DatabaseName, Domain, HopName, HostName, Reserve};
pub use network::{HopAddress, HopHost, InterfaceAddress, NameServer, Network, Smarthost, TimeServer};
pub use pin::Pin;
pub use print::defaults_text;
pub use problem::{Code, PROBLEMS_MAX, Problem, Problems};
pub use proof::{HttpUrl, MailAddress};
pub use record::{RECORD_HEADER_BYTES, Record, RecordError, newest_record};
pub use schema::{Key, Preset, Section};
pub use secret::{KEPT, Secret, with_kept, without_secrets};
pub use table::{
    Authenticity, Bounce, BoxNetwork, Client, ClockChip, Dns, Domains, HOP_NAMES_MAX, HopTls, InitialMode,
    Ldap, Listen, LogFormat, LogLevel, Microsoft365, NEXT_HOPS_MAX, NextHop, NotAllowed, PROBE_MAILBOXES_MAX,
    Recipients, RelayedReports, Release, SECTIONS, Settings, Site, Subaddress, System, Through, Tls, Update,
    Volume,
};
pub use taking::TakingSettings;
pub use units::{Bytes, DurationText};

/// The longest settings file that is read, in bytes: the table with all its comments is a fifth of it.
pub const FILE_BYTES_MAX: usize = 64 * 1024;
