//! Rows we own in the kernel: what should stand there ([`State`]), and how to get there from what does ([`Change`]).

mod address;
mod change;
mod diff;
mod exchange;
pub mod features;
pub mod fingerprint;
mod pinhole_rules;
mod rows;
mod ruleset;
pub mod sets;

pub use address::{LocalAddress, PROTOCOL};
pub use change::Change;
pub use diff::diff;
pub use exchange::{Exchange, Kept, is_name};
pub use rows::{DestinationState, Service, State};
pub use ruleset::{FULL, Marks, Network, Rules, TABLE, UNEXPECTED, reply_group};
