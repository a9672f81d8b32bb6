//! Who has a queue, and what waits in it: `/proc/net/netfilter/nfnetlink_queue`.

use std::{fs, io};

/// A line of `/proc/net/netfilter/nfnetlink_queue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStats {
    /// Netlink port of the owner; mostly its process id.
    pub portid: u32,
    /// Packets that wait now.
    pub queued: u32,
    /// Packets dropped because the queue was full.
    pub queue_dropped: u32,
    /// Packets dropped because our socket's buffer was full.
    pub user_dropped: u32,
    /// The number of the packet that came last; 0 if none has come.
    pub last: u32,
}

/// The kernel's counters of a queue; `None` when no process listens on it, or this user may not see them: the file is root's and of
/// its group (0440), or of whichever group the unit gives it to.
#[must_use]
pub fn stats(number: u16) -> Option<QueueStats> {
    parse_stats(&fs::read_to_string("/proc/net/netfilter/nfnetlink_queue").ok()?, number)
}

/// Who listens on a queue, as its netlink port id: mostly the id of its process. `None`: nobody.
///
/// # Errors
/// When this user may not see it.
pub fn reader(number: u16) -> io::Result<Option<u32>> {
    match fs::read_to_string("/proc/net/netfilter/nfnetlink_queue") {
        Ok(text) => Ok(parse_stats(&text, number).map(|stats| stats.portid)),
        // It comes with its module.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Columns: number, portid, queued, copy mode, copy range, queue dropped, user dropped, last id, 1.
pub(super) fn parse_stats(text: &str, number: u16) -> Option<QueueStats> {
    text.lines().find_map(|line| {
        let columns: Vec<u32> = line.split_whitespace().map(|word| word.parse().unwrap_or_default()).collect();
        match columns[..] {
            [n, portid, queued, _, _, queue_dropped, user_dropped, last, ..] if n == u32::from(number) => {
                Some(QueueStats { portid, queued, queue_dropped, user_dropped, last })
            }
            _ => None,
        }
    })
}
