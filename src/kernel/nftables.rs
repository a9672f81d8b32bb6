//! Elements of the sets and maps of table `inet ftpdirector`: the rows that change while we run.
//!
//! The kernel takes a transaction whole or not at all, and says of each message in it what was wrong. So changes go
//! in one transaction; where it is refused, what was wrong is put right or left out and the rest goes in the next. A
//! refusal is dear (measured on Linux 6.18: 10 to 15 ms, against 0.02 ms for what is taken), so since Linux 6.3 rows
//! are destroyed, not deleted, before they are added: that is never refused for what was there before.

use super::abi::nf_tables::{NFT_MSG_GETTABLE, NFTA_TABLE_NAME};
use super::abi::nfnetlink::{NFNL_SUBSYS_NFTABLES, NFPROTO_INET, NLM_F_REQUEST};
use super::netlink::{Acknowledgement, Dumped, Netfilter, Writer, messages};
use super::{Errno, KernelError};

mod row;
mod transaction;
mod wire;

pub use row::{Counter, Data, Element, ElementChange, NftElement, Part, TABLE, key};
pub use wire::{parse_counters, parse_elements};

/// How often a dump is tried. A program that commits a hundred times a second interrupts most dumps; small ones get through.
const DUMPS: usize = 32;

/// A connection to nf_tables in this network namespace.
#[derive(Debug)]
pub struct Elements {
    netlink: Netfilter,
    out: Writer,
    seq: u32,
    removal: wire::Removal,
}

impl Elements {
    /// Opens the netlink socket, and finds out whether the kernel knows `destroy element`.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn connect() -> Result<Self, KernelError> {
        let (netlink, out) = (Netfilter::open(4 << 20)?, Writer::default());
        let mut this = Self { netlink, out, seq: 0, removal: wire::Removal::Destroy };
        this.removal = this.probe_removal();
        Ok(this)
    }

    pub(super) const fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }

    /// Every element of a set or map, `nft list set`.
    ///
    /// # Errors
    /// ENOENT when it does not exist; EINTR when the ruleset kept changing under our eyes: try later.
    pub fn dump(&mut self, set: &str) -> Result<Vec<Element>, KernelError> {
        let seq = self.next_seq();
        let request = wire::list_elements(seq, set);
        self.list(&format!("nft list set inet {TABLE} {set}"), seq, request.as_bytes(), parse_elements)
    }

    /// Every named counter of the table, `nft list counters table inet ftpdirector`.
    ///
    /// # Errors
    /// As `dump`.
    pub fn counters(&mut self) -> Result<Vec<Counter>, KernelError> {
        let seq = self.next_seq();
        let request = wire::list_counters(seq);
        self.list(&format!("nft list counters table inet {TABLE}"), seq, request.as_bytes(), parse_counters)
    }

    pub(super) fn list<T>(
        &mut self,
        tried: &str,
        seq: u32,
        request: &[u8],
        parse: fn(&[u8]) -> Vec<T>,
    ) -> Result<Vec<T>, KernelError> {
        for _ in 0..DUMPS {
            match self.list_once(seq, request, parse) {
                Ok(Some(rows)) => return Ok(rows),
                Ok(None) => {}
                Err(answer) => {
                    self.netlink.drain();
                    return Err(KernelError::refused(tried, answer.errno, answer.said));
                }
            }
        }
        let said = format!("the ruleset changed during each of {DUMPS} attempts");
        Err(KernelError::refused(tried, Errno(libc::EINTR), Some(said)))
    }

    /// `None` when the ruleset changed during the dump, or answers were lost.
    fn list_once<T>(
        &mut self,
        seq: u32,
        request: &[u8],
        parse: fn(&[u8]) -> Vec<T>,
    ) -> Result<Option<Vec<T>>, Acknowledgement> {
        let mut rows = Vec::new();
        let dumped = self.netlink.dump(seq, request, &mut |datagram| rows.extend(parse(datagram)))?;
        Ok((dumped == Dumped::Whole).then_some(rows))
    }

    /// Whether table `inet ftpdirector` is there.
    ///
    /// # Errors
    /// What the kernel said, other than ENOENT.
    pub fn table_exists(&mut self) -> Result<bool, KernelError> {
        let seq = self.next_seq();
        let mut request = Writer::default();
        let open = request.begin(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETTABLE, NLM_F_REQUEST, seq);
        request.nfgenmsg(NFPROTO_INET, 0);
        request.string(NFTA_TABLE_NAME, TABLE);
        request.end(open);
        match self.ask(&format!("nft list table inet {TABLE}"), seq, request.as_bytes(), |_| ()) {
            Ok(()) => Ok(true),
            Err(KernelError::Refused { errno: Errno::ENOENT, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Sends a request that has one answer, and reads that.
    pub(super) fn ask<T>(
        &mut self,
        tried: &str,
        seq: u32,
        request: &[u8],
        parse: impl Fn(&[u8]) -> T,
    ) -> Result<T, KernelError> {
        self.netlink.send(request).map_err(|e| KernelError::io(tried, &e))?;
        loop {
            let datagram = self.netlink.receive(0).map_err(|e| KernelError::io(tried, &e))?;
            let Some(message) = messages(datagram).find(|m| m.seq == seq) else { continue };
            return match message.answer(datagram) {
                Some(answer) => Err(KernelError::refused(tried, answer.errno, answer.said)),
                None => Ok(parse(datagram)),
            };
        }
    }
}

#[cfg(test)]
mod tests;
