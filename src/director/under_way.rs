//! The transfers of a session that are under way, and how a transfer ends.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::key::one_client;
use crate::ftp::{Mode, Verb};
use crate::time::Time;

/// How a transfer ended, by the server's own final reply (RFC 959 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransferOutcome {
    /// 2xx: all of it was sent.
    Complete,
    /// 425: no data connection could be opened.
    NoDataConnection,
    /// 426: the data connection was closed before the end; also 225 and 451 after ABOR.
    Aborted,
    /// 450, 550 and any other 4xx and 5xx: no such file, no permission, no login, a command that is not known.
    Refused,
    /// 421, 451, 452, 552: the server's own trouble.
    ServerError,
    /// Nobody saw a final reply, or nobody could tell which one it was.
    Unknown,
}

impl TransferOutcome {
    /// All outcomes, for metrics that list each.
    pub const ALL: [Self; 6] =
        [Self::Complete, Self::NoDataConnection, Self::Aborted, Self::Refused, Self::ServerError, Self::Unknown];

    /// As metrics and the transfer log have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::NoDataConnection => "no_data_connection",
            Self::Aborted => "aborted",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
            Self::Unknown => "unknown",
        }
    }

    /// The outcome by the code of the final reply; 0: none was seen. `aborting`: the client has sent ABOR meanwhile.
    #[must_use]
    pub const fn of(code: u16, aborting: bool) -> Self {
        match code {
            // the end of a control connection is one of the transfer too
            0 | 225 | 451 if aborting => Self::Aborted,
            200..=299 => Self::Complete,
            425 => Self::NoDataConnection,
            426 => Self::Aborted,
            421 | 451 | 452 | 552 => Self::ServerError,
            400..=599 => Self::Refused,
            _ => Self::Unknown,
        }
    }
}

/// A transfer that a verb has begun.
#[derive(Debug, PartialEq, Eq)]
pub struct Transfer {
    /// RETR, STOR, LIST, …
    pub verb: Verb,
    /// Who opens its data connection.
    pub mode: Mode,
    /// When the data connection landed, if that was reported.
    pub landed: Option<Time>,
    /// Whether ABOR came after it.
    pub aborting: bool,
    /// What it transfers, where names are wanted.
    pub path: Option<Box<[u8]>>,
}

/// What a session owns while a transfer is under way, or its user's name is wanted.
#[derive(Debug, Default)]
pub struct UnderWay {
    /// Oldest first; the inspector ends the oldest when there are too many.
    transfers: VecDeque<Transfer>,
    /// When a data connection landed that no verb has claimed yet: clients connect before they say RETR.
    landed: Option<Time>,
    /// What followed the last USER, where names are wanted.
    pub user: Option<Box<[u8]>>,
}

impl UnderWay {
    /// Another transfer; a data connection that came before its verb is its own.
    pub fn begin(&mut self, transfer: Transfer) {
        let landed = self.landed.take();
        self.transfers.push_back(Transfer { landed, ..transfer });
    }

    /// The data connection that the session expects has landed.
    pub fn land(&mut self, now: Time) {
        match self.transfers.iter_mut().find(|transfer| transfer.landed.is_none()) {
            Some(transfer) => transfer.landed = Some(now),
            None => self.landed = Some(now),
        }
    }

    /// Another data connection is named: what landed before is nobody's.
    pub const fn renounce(&mut self) {
        self.landed = None;
    }

    /// The client has sent ABOR.
    pub fn abort(&mut self) {
        self.transfers.iter_mut().for_each(|transfer| transfer.aborting = true);
    }

    /// The oldest transfer is over.
    pub fn end(&mut self) -> Option<Transfer> {
        self.transfers.pop_front()
    }

    /// How many transfers are under way.
    #[must_use]
    pub fn open(&self) -> usize {
        self.transfers.len()
    }

    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.transfers.is_empty() && self.landed.is_none() && self.user.is_none()
    }
}

/// A transfer that is over, as the transfer log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRecord {
    /// The client's end of the control connection.
    pub client: SocketAddr,
    /// Name of the session's cluster.
    pub cluster: String,
    /// Name of the session's real server, unique in its cluster.
    pub server: String,
    /// RETR, STOR, LIST, …
    pub verb: Verb,
    /// Who opened the data connection, or was to.
    pub mode: Mode,
    /// How it ended.
    pub outcome: TransferOutcome,
    /// The code of the server's final reply, where it was seen.
    pub code: Option<u16>,
    /// From the first packet of the data connection to the final reply, where both were seen.
    pub duration: Option<Duration>,
    /// What followed the last USER, where names are wanted; at most 255 bytes, as they came.
    pub user: Option<Box<[u8]>>,
    /// What followed the verb, where names are wanted; at most 255 bytes, as they came.
    pub path: Option<Box<[u8]>>,
}

/// How many records may wait until they are fetched; more are counted as lost.
const MOST: usize = 16_384;

/// How many of one client are kept in a second, so that it does not push out those of others: more than the transfers that it can
/// finish, with `limits.client_packets` as they are unless configured.
const SHARE: u32 = 1000;

/// Transfers that are over and wait for the transfer log.
#[derive(Debug, Default)]
pub struct Records {
    waiting: Vec<TransferRecord>,
    lost: u64,
    /// The second, on the packet thread's clock, in which so many of each client were kept.
    second: u64,
    kept: HashMap<IpAddr, u32>,
}

impl Records {
    /// Keeps one, if there is room, and its client has not had its share of this second.
    pub fn keep(&mut self, record: TransferRecord) {
        let kept = self.kept.entry(one_client(record.client.ip())).or_default();
        if self.waiting.len() < MOST && *kept < SHARE {
            *kept = kept.saturating_add(1);
            self.waiting.push(record);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// The time of what is kept from now on.
    pub fn set_time(&mut self, now: Time) {
        let second = now.as_millis() / 1000;
        if second != self.second {
            self.second = second;
            self.kept.clear();
        }
    }

    /// Those that were kept since the last call, and how many were not.
    pub fn take(&mut self) -> (Vec<TransferRecord>, u64) {
        (std::mem::take(&mut self.waiting), std::mem::take(&mut self.lost))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_does_not_push_out_the_others() {
        let record = |n: u8| TransferRecord {
            client: SocketAddr::from(([192, 0, 2, n], 40000)),
            cluster: String::new(),
            server: String::new(),
            verb: Verb::Retr,
            mode: Mode::Passive,
            outcome: TransferOutcome::Unknown,
            code: None,
            duration: None,
            user: None,
            path: None,
        };
        let mut records = Records::default();
        let waiting = |records: &Records| records.waiting.len();
        (0..20_000).for_each(|_| records.keep(record(1)));
        records.keep(record(2));
        assert_eq!((waiting(&records), records.lost), (1001, 19_000));
        records.set_time(Time::from_millis(1000));
        records.keep(record(1));
        assert_eq!((waiting(&records), records.lost), (1002, 19_000));
    }

    #[test]
    fn every_code_has_its_outcome() {
        use TransferOutcome::{Aborted, Complete, NoDataConnection, Refused, ServerError, Unknown};
        for (codes, outcome, after_abort) in [
            (&[226, 250, 200][..], Complete, Complete),
            (&[225], Complete, Aborted),
            (&[425], NoDataConnection, NoDataConnection),
            (&[426], Aborted, Aborted),
            (&[451], ServerError, Aborted),
            (&[421, 452, 552], ServerError, ServerError),
            (&[450, 500, 501, 502, 503, 522, 530, 532, 550, 551, 553], Refused, Refused),
            (&[0], Unknown, Aborted),
            (&[331, 350, 631, 999], Unknown, Unknown),
        ] {
            for &code in codes {
                assert_eq!(TransferOutcome::of(code, false), outcome, "{code}");
                assert_eq!(TransferOutcome::of(code, true), after_abort, "{code} after ABOR");
            }
        }
    }
}
