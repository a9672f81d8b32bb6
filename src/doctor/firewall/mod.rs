//! Other people's nftables rules, read from `nft -j`, and what becomes of a packet in them.

mod extension;
mod packet;
mod ruleset;
mod walk;

pub use packet::{Holds, PacketClass};
pub use ruleset::{Base, Chain, Rule, RulePlace, Ruleset};
pub use walk::{Effect, PacketFate, walk};

#[cfg(test)]
mod tests;
