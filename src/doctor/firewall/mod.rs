//! Other people's nftables rules, read from `nft -j`, and what becomes of a packet in them.

mod extension;
mod packet;
mod ruleset;
mod walk;

pub use packet::{Answer, Packet};
pub use ruleset::{Base, Chain, Place, Rule, Ruleset};
pub use walk::{Effect, Fate, walk};

#[cfg(test)]
mod tests;
