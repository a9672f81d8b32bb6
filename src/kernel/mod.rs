//! The only room that talks to Linux: netlink, IPVS, nftables, NFQUEUE, NFLOG, addresses, `/proc`.
//!
//! Every error says what we tried (in ipvsadm or nft words), what the kernel said and what to do.

pub mod abi;
pub mod addresses;
pub mod apply;
pub mod connections;
pub mod conntrack;
pub mod directors;
pub mod errno;
pub mod fingerprint;
pub mod ipvs;
pub mod listening;
pub mod log;
pub mod netlink;
pub mod nft_command;
pub mod nftables;
pub mod queue;
pub mod raw;
pub mod read_state;
pub mod requirements;
pub mod sets;
pub mod wait;

mod error;

pub use errno::Errno;
pub use error::KernelError;
