//! The real binary against a fake daemon behind the real control socket: what people see, what programs get, and what
//! the shell is told.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the verdict, in its helpers too")]

mod ask;
mod control;
mod fake;
mod local;
mod real;
mod recipients;
mod settings;
mod tell;
mod undo;
mod volume;
