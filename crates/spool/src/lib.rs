//! The log of messages and their fate.
#![no_std]
