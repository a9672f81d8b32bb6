//! `linux/rtnetlink.h`.

pub const RTM_NEWADDR: u16 = 20;
pub const RTM_DELADDR: u16 = 21;
pub const RTM_GETADDR: u16 = 22;

pub const RTMGRP_IPV4_IFADDR: u32 = 0x10;
