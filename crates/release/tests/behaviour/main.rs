//! What release does in a simulated world: `servers`, `custody` and `operator` tell stories, `properties` holds
//! whatever happens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod custody;
mod operator;
mod properties;
mod servers;
mod world;
