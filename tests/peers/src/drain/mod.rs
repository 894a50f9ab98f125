//! A backlog on its way into an Exchange server that has just come back: what `bench-drain` and `bench-rebuild-night`
//! have in common.
//!
//! [`backlog`] is the mail, [`spool`] are the mail servers that keep it and give it on, [`trickle`] is the mail that
//! comes meanwhile, and [`site`] is the model of Exchange with what it has seen. [`row`] drains one backlog and
//! measures it, [`report`] tells the figures; [`scenario`] says what the server is capable of. [`night`] is a night in
//! which the server is rebuilt.

pub mod backlog;
pub mod night;
pub mod report;
pub mod row;
pub mod scenario;
pub mod site;
pub mod spool;
pub mod trickle;
