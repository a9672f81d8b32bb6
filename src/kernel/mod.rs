//! The only room that talks to Linux: netlink, IPVS, nftables, NFQUEUE, NFLOG, addresses, `/proc`.
//!
//! Every error says what we tried (in ipvsadm or nft words), what the kernel said and what to do.

pub mod abi;
pub mod actual;
pub mod addresses;
pub mod apply;
pub mod connections;
pub mod conntrack;
pub mod elements;
pub mod errno;
pub mod ipvs;
pub mod listening;
pub mod log;
pub mod netlink;
pub mod probe;
pub mod queue;
pub mod raw;
pub mod rules;
pub mod ruleset;
pub mod sets;
pub mod wait;

mod error;

pub use errno::Errno;
pub use error::KernelError;
