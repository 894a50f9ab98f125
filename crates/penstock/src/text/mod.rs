//! Words, figures and tables for people.

pub(crate) mod block;
pub(crate) mod human;
pub(crate) mod keys;
pub(crate) mod picture;
pub(crate) mod progress;
mod screen;
mod table;
mod wrap;

pub(crate) use screen::{Screen, Style};
pub(crate) use table::{Cell, Column, Table};
pub(crate) use wrap::wrap;
