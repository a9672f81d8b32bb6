//! `linux/rtnetlink.h`.

pub use libc::{RTM_DELADDR, RTM_GETADDR, RTM_NEWADDR};

of_libc! { u32: RTMGRP_IPV4_IFADDR RTMGRP_IPV6_IFADDR; }
