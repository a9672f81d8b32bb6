//! Which replies need not wait for the daemon (NAT).
//!
//! A reply is held because it may have to be changed, or opens something: that of PASV and EPSV, of what asks for encryption, and
//! of EPSV ALL. All others only have to be *seen*, late and many at once. So each packet of the client's leaves the director with a
//! mark that says which of the two is to come, and a rule writes that into the set `calm4` before the packet goes on.

use std::time::Duration;

use crate::time::Time;

/// How long the rules go on believing it: half of the timeout in `src/state/table.nft`.
const BELIEVED: Duration = Duration::from_secs(30);

/// What the rules were told last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Calm {
    /// Nothing by this session; maybe by another on the same ports, or by a daemon before this one.
    #[default]
    Untold,
    /// That replies have to be held.
    No,
    /// At this time, that they have not.
    Since(Time),
}

impl Calm {
    /// Whether the rules know it already.
    pub fn says(self, now: Time, calm: bool) -> bool {
        match self {
            // Each time: the packet that said so may have been dropped on its way.
            Self::Untold | Self::No => false,
            Self::Since(told) => calm && now.since(told) < BELIEVED,
        }
    }
}
