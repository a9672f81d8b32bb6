//! `linux/rtnetlink.h`.

pub use libc::{RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR};

/// `linux/if_addr.h`: who added an address, one byte.
pub const IFA_PROTO: u16 = 11;

of_libc! { u32: RTMGRP_IPV4_IFADDR RTMGRP_IPV6_IFADDR; }
