//! Data connections on which nothing is sent for longer than IPVS remembers: they live as long as their control connection, so
//! that a tape robot or a slow consumer loses no transfer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::time::Time;

/// IPVS tells when it forgets a connection in whole seconds.
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// `now` minus `by`; the origin at the earliest.
pub(super) fn before(now: Time, by: Duration) -> Time {
    Time::from_millis(now.as_millis().saturating_sub(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
}

/// The client's address, or a VIP, and the real server's.
pub(super) type Pair = (IpAddr, IpAddr);

/// How long a silent data connection is kept: until then an end with SO_KEEPALIVE has spoken (tcp(7): `tcp_keepalive_time` is two
/// hours, then nine probes of 75 s), and nobody else can tell whether both ends are gone.
pub const SILENT: Duration = Duration::from_secs(7200 + 9 * 75);

/// A data connection of which IPVS has seen nothing for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SilentData {
    /// The client's end.
    pub client: SocketAddr,
    /// The VIP and the port there.
    pub vip: SocketAddr,
    /// The client's address and the real server's.
    pub(super) pair: Pair,
    /// Time until IPVS forgets it, whole seconds.
    pub(super) expires: Duration,
}

/// One that was kept.
#[derive(Debug)]
struct DataWatch {
    /// When something was last sent on it.
    since: Time,
    /// When IPVS forgets it if it stays silent.
    expires: Time,
}

/// The silent data connections that are kept, from one look to the next.
#[derive(Debug, Default)]
pub(super) struct DataWatches(HashMap<(SocketAddr, SocketAddr), DataWatch>);

impl DataWatches {
    /// Those that get a keepalive now; `listed`: when IPVS was asked. `paired`: which clients and servers have a control connection; `tcp`: IPVS's timeout.
    pub(super) fn look(
        &mut self,
        (listed, now): (Time, Time),
        silent: &[SilentData],
        paired: &HashMap<Pair, bool>,
        tcp: Duration,
    ) -> Vec<SilentData> {
        self.0.retain(|_, watch| watch.expires + SECOND > listed);
        let mut kept = Vec::new();
        for data in silent.iter().filter(|data| paired.get(&data.pair) == Some(&true)) {
            let expires = listed + data.expires;
            // Later than our own keepalive made it: one of the two ends has spoken meanwhile.
            let old = self.0.get(&(data.client, data.vip)).filter(|watch| expires <= watch.expires + SECOND);
            let silent_for = old.map_or(tcp.saturating_sub(data.expires), |watch| listed.since(watch.since));
            if silent_for >= SILENT {
                continue;
            }
            let since = old.map_or_else(|| before(listed, silent_for), |watch| watch.since);
            self.0.insert((data.client, data.vip), DataWatch { since, expires: now + tcp });
            kept.push(*data);
        }
        kept
    }
}
