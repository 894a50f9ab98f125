//! What release does in a simulated world: `servers`, `custody`, `operator`, `order`, `through` and `ways` tell stories, `properties`
//! holds
//! whatever happens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod custody;
mod inside;
mod operator;
mod order;
mod plots;
mod properties;
mod servers;
mod through;
mod ways;
mod world;
