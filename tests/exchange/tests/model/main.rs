//! What is known of Exchange, sentence by sentence, held against the model in simulated time.

mod common;
mod delivery;
mod faces;
mod faults;
mod hostile;
mod limits;
mod load;
mod pressure;
mod proof;
mod rebuild;
mod smtp;
