//! What release does in a simulated world: `promises` tells stories, `properties` holds whatever happens.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test a panic is the verdict")]

mod promises;
mod properties;
mod world;
