//! Numbers of the kernel's ABI, one file per uapi header, under the kernel's C names: the headers explain them.

/// Numbers that libc has, in the width that they have in a message.
macro_rules! of_libc {
    ($($width:ident: $($name:ident)+;)+) => { $($(pub const $name: $width = libc::$name as $width;)+)+ };
}

pub mod ip_vs;
pub mod nf_tables;
pub mod nfnetlink;
pub mod nfnetlink_conntrack;
pub mod nfnetlink_log;
pub mod nfnetlink_queue;
pub mod rtnetlink;
