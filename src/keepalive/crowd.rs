//! How many control connections are kept without a transfer: what `idle` lets one client hold, or a host that forges addresses, ends
//! somewhere.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::lvs::network;

/// How many control connections are kept without a transfer at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Of all clients together.
    pub all: usize,
    /// Of one client: an IPv4 address, an IPv6 /64.
    pub of_client: usize,
}

impl Ceiling {
    /// Half of what `limits` lets into the table of sessions, where those that are kept stay too: half is left to who speaks.
    #[must_use]
    pub const fn within(sessions: usize, client_sessions: u32) -> Self {
        Self { all: sessions.div_ceil(2), of_client: client_sessions.div_ceil(2) as usize }
    }
}

/// Those that are kept, counted.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    all: usize,
    clients: HashMap<IpAddr, usize>,
}

impl Crowd {
    /// Counts one of this client that is kept.
    pub(super) fn add(&mut self, client: IpAddr) {
        self.all = self.all.saturating_add(1);
        let of_client = self.clients.entry(network(client, 64)).or_default();
        *of_client = of_client.saturating_add(1);
    }

    /// Counts one more of this client, unless there are too many.
    pub(super) fn admits(&mut self, client: IpAddr, ceiling: Ceiling) -> bool {
        let of_client = self.clients.get(&network(client, 64)).copied().unwrap_or_default();
        let admits = self.all < ceiling.all && of_client < ceiling.of_client;
        if admits {
            self.add(client);
        }
        admits
    }
}
