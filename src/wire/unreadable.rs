//! Packets that cannot be read, and why.

/// Why a packet cannot be read. Such a packet passes unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Unreadable {
    /// Shorter than its headers or its IP total length say.
    #[error("truncated")]
    Truncated,
    /// A fragment (RFC 791 §2.3, RFC 8200 §4.5): the TCP header or the rest of the payload is elsewhere.
    #[error("fragment")]
    Fragment,
    /// Neither IPv4 nor IPv6.
    #[error("not IP")]
    NotIp,
    /// IP, but not TCP.
    #[error("not TCP")]
    NotTcp,
    /// A header whose lengths contradict each other.
    #[error("malformed")]
    Malformed,
}
