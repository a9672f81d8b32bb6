//! Replies that are told of and not held: what the rules do by the marks that clients' packets leave with.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use ftpdirector::facade::director::{Action, Decision};
use ftpdirector::facade::state::Marks;
use ftpdirector::facade::state::sets::Name;
use ftpdirector::facade::steer::RowChange;
use ftpdirector::facade::time::Time;

use super::super::memory;
use super::super::oracle::{Complaint, complain};
use super::{Cause, WORK, World};

/// The bit in which a control mark differs from a tag and from none.
const CONTROL: u32 = 0x2_0000;

/// How long an element stands.
const STANDS: Duration = Duration::from_secs(60);

/// The set `calm4`: the ends of connections, the client's first, and until when.
#[derive(Default)]
pub(super) struct Calm(HashMap<(SocketAddr, SocketAddr), Time>);

impl Calm {
    pub(super) fn has(&self, now: Time, client: SocketAddr, server: SocketAddr) -> bool {
        self.0.get(&(client, server)).is_some_and(|until| *until > now)
    }

    /// A client's packet leaves.
    pub(super) fn leaves(&mut self, now: Time, client: SocketAddr, server: SocketAddr, mark: Option<u32>) {
        match mark {
            Some(0) => {}
            Some(mark) if mark & Marks::CALM != 0 => _ = self.0.insert((client, server), now + STANDS),
            _ => _ = self.0.remove(&(client, server)),
        }
    }
}

/// Whether a packet leaves with a mark that opens. The rest of it says what the rules knew before, and whoever forges an address
/// may have told them.
pub(super) fn opens(mark: Option<u32>) -> bool {
    mark.is_none_or(|mark| mark & CONTROL != 0)
}

/// Whether a reply is changed or opens something. Whether it goes on at once, is held a while or comes again may be somebody else's
/// doing.
pub(super) const fn does_something(decision: Decision) -> bool {
    matches!(decision, Decision::Accept { mark: Some(_), .. } | Decision::Accept { edited: true, .. })
}

impl World {
    /// A reply goes on at once, and the director is told of it.
    pub(super) fn tell(&mut self, cause: Cause, payload: &[u8], bytes: &mut [u8]) -> Decision {
        // where there was another, nobody's SYN has been seen: what its client says may pass unread
        let alone = |id: usize| {
            let of_client = self.talks.iter().filter(|other| other.client_end == self.talks[id].client_end);
            of_client.count() == 1
        };
        if let Cause::Own(id, _) = cause
            && self.forged == 0
            && alone(id)
            && self.talks[id].had_to_be_held(payload)
        {
            complain(Complaint::Unheld, || format!("told and not held: {}", payload.escape_ascii()));
        }
        let ((), cost) = memory::allocated(|| self.director.overheard(self.now, bytes, &mut self.actions));
        if cost > WORK {
            complain(Complaint::Work, || format!("{cost} bytes allocated for one reply"));
        }
        // Its acknowledgement may have a command read that waits for its row, or has one opened again. A port that it names itself
        // opens nothing.
        let names = payload.starts_with(b"22") && payload.iter().any(|byte| matches!(byte, b'(' | b'|'));
        let passive = |change: &RowChange| {
            let RowChange::Put(row, _) = change else { return false };
            matches!(row.set.name, Name::Exact | Name::Translated)
        };
        let opens = |action: &Action| matches!(action, Action::Rows { changes, .. } if changes.iter().any(passive));
        if names && self.actions.iter().any(opens) {
            complain(Complaint::Early, || "a reply that nobody held opens something".to_owned());
        }
        self.act(cause);
        self.read_on(cause);
        self.tick();
        Decision::Accept { mark: None, edited: false }
    }
}
