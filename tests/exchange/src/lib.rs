//! A model of Exchange Server 2016 to SE, as far as a sender of mail can tell: how it answers, when it delays, what it
//! refuses and for how long, and what becomes of mail after `250`.
//!
//! One behaviour, two drivers. [`Server`] has neither sockets nor a clock: it takes the time and what happened, and gives
//! what is to be done. [`real`] runs it on sockets, by hand or for other mail servers, at any multiple of real time;
//! [`simulated`] runs it in a world where a week takes seconds.
//!
//! The model follows what is known of Exchange, never our sender: the README says which part rests on what.

mod acceptance;
mod body;
mod commands;
mod config;
mod counters;
mod curve;
mod dialogue;
mod directory;
mod face;
mod fluid;
mod line;
mod message;
mod pressure;
pub mod random;
pub mod real;
mod relay;
mod replies;
mod report;
mod sender;
mod server;
mod session;
pub mod simulated;
mod store;
mod tls;
mod totals;
mod transport;
pub mod units;
mod web;

pub use commands::CommandError;
pub use message::Delivery;
pub use pressure::{Level, POLL_MS, Resource};
pub use report::{Report, ReportKind};
pub use sender::{Fate, Item, Sender};
pub use server::{Action, ConnectionId, Server};
