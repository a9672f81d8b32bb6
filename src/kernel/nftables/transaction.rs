//! Transactions: what is tried, what is put right after a refusal, what is given up.

use std::io;
use std::thread;
use std::time::Duration;

use super::Elements;
use super::row::{ElementChange, TABLE};
use super::wire::{self, Removal};
use crate::kernel::abi::nfnetlink::{NLM_F_ACK, NLM_F_EXCL};
use crate::kernel::netlink::{Acknowledgement, messages};
use crate::kernel::{Errno, KernelError};

/// Changes in one transaction: their acknowledgements must fit into the receive buffer.
const BATCH: usize = 256;
/// A change needs two rounds (refused, put right); a third and fourth when rows expire at that moment.
const ROUNDS: usize = 4;
/// A hash table that has to grow twice at once takes no element until the first growth is over: EBUSY for no fault of the
/// row's (lib/rhashtable.c, rhashtable_insert_rehash). A worker of the kernel does the growing.
const GROWTH: Duration = Duration::from_millis(1);

/// How a change is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Add,
    Replace,
    /// A packet (`update @set`) put the row back between the two halves of a replacement: it does not find an element that
    /// a transaction is about to remove, and makes a new one (nft_set_hash.c, NFT_GENMASK_ANY). That one is renewed.
    Renew,
    Delete,
}

/// The message of a change that an answer speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HalfChange {
    Delete,
    Add,
}

/// A change that is not yet done: where it stands in the caller's list, how it is tried next, why it was refused last.
struct Remaining {
    index: usize,
    step: Attempt,
    refused: Option<Acknowledgement>,
}

/// How a transaction ended.
enum Ended {
    Committed,
    /// Refused for what these messages wanted.
    Faults(Vec<(usize, HalfChange, Acknowledgement)>),
    /// Refused as a whole, or its answers were lost.
    Broken(Acknowledgement),
}

impl Elements {
    /// Applies changes in order, in as few transactions as the kernel lets us; one result per change.
    pub fn apply(&mut self, changes: &[ElementChange]) -> Vec<Result<(), KernelError>> {
        let mut results: Vec<Result<(), KernelError>> = changes.iter().map(|_| Ok(())).collect();
        let all: Vec<usize> = (0..changes.len()).collect();
        for chunk in all.chunks(BATCH) {
            let left = self.settle(changes, chunk, &mut results);
            for alone in left.iter().filter(|_| chunk.len() > 1) {
                self.settle(changes, &[alone.index], &mut results)
                    .iter()
                    .for_each(|p| results[p.index] = Err(refusal(&changes[p.index], p.refused.as_ref())));
            }
            for only in left.iter().filter(|_| chunk.len() == 1) {
                results[only.index] = Err(refusal(&changes[only.index], only.refused.as_ref()));
            }
        }
        results
    }

    /// Runs some changes until the kernel took them or refused them for good; returns what is undecided after `ROUNDS`.
    fn settle(
        &mut self,
        changes: &[ElementChange],
        which: &[usize],
        results: &mut [Result<(), KernelError>],
    ) -> Vec<Remaining> {
        let mut pending: Vec<Remaining> = which
            .iter()
            .map(|&index| Remaining { index, step: self.first_step(&changes[index]), refused: None })
            .collect();
        for _ in 0..ROUNDS {
            if pending.is_empty() {
                break;
            }
            match self.transact(changes, &pending) {
                Ended::Committed => return Vec::new(),
                Ended::Faults(faults) => {
                    if faults.iter().any(|(_, _, answer)| answer.errno == Errno::EBUSY) {
                        thread::sleep(GROWTH);
                    }
                    let next = after(&mut pending, faults);
                    for lost in next {
                        results[lost.index] = Err(refusal(&changes[lost.index], lost.refused.as_ref()));
                    }
                }
                Ended::Broken(answer) => {
                    pending.iter_mut().for_each(|p| p.refused = Some(answer.clone()));
                    break;
                }
            }
        }
        pending
    }

    /// One transaction: BATCH_BEGIN, a message or two per change, BATCH_END.
    fn transact(&mut self, changes: &[ElementChange], pending: &[Remaining]) -> Ended {
        let begin = self.next_seq();
        let mut halves = Vec::with_capacity(pending.len() * 2);
        for (at, p) in pending.iter().enumerate() {
            match p.step {
                Attempt::Add | Attempt::Renew => halves.push((at, HalfChange::Add)),
                Attempt::Delete => halves.push((at, HalfChange::Delete)),
                Attempt::Replace => halves.extend([(at, HalfChange::Delete), (at, HalfChange::Add)]),
            }
        }
        self.out.clear();
        wire::batch_begin(&mut self.out, begin);
        for (n, (at, half)) in halves.iter().enumerate() {
            let seq = self.next_seq();
            let ack = if n + 1 == halves.len() { NLM_F_ACK } else { 0 };
            let p = &pending[*at];
            let change = &changes[p.index];
            match (half, change) {
                (HalfChange::Add, ElementChange::Add(row) | ElementChange::Replace(row)) => {
                    let exclusive = if p.step == Attempt::Renew { 0 } else { NLM_F_EXCL };
                    wire::add(&mut self.out, seq, ack | exclusive, row);
                }
                _ => wire::remove(&mut self.out, (self.removal, ack, seq), change.set(), change.key()),
            }
        }
        let last = self.seq;
        let end = self.next_seq();
        wire::batch_end(&mut self.out, end);
        match self.answers(begin, last) {
            Ok(answers) => outcome(begin, &halves, answers),
            Err(e) => {
                self.netlink.drain();
                Ended::Broken(Acknowledgement { errno: Errno::of(&e), said: None })
            }
        }
    }

    const fn first_step(&self, change: &ElementChange) -> Attempt {
        match (change, self.removal) {
            (ElementChange::Delete { .. }, _) => Attempt::Delete,
            (ElementChange::Add(_), Removal::Delete) => Attempt::Add,
            (ElementChange::Add(_), Removal::Destroy) | (ElementChange::Replace(_), _) => Attempt::Replace,
        }
    }

    /// Whether the kernel knows NFT_MSG_DESTROYSETELEM: a kernel without it says EINVAL, one with it that there is no
    /// such set.
    pub(super) fn probe_removal(&mut self) -> Removal {
        let nothing = ElementChange::Delete { set: "no-such-set", key: vec![0; 4] };
        let pending = [Remaining { index: 0, step: Attempt::Delete, refused: None }];
        match self.transact(&[nothing], &pending) {
            Ended::Faults(faults) if faults.iter().any(|(_, _, answer)| answer.errno == Errno(libc::EINVAL)) => {
                Removal::Delete
            }
            _ => Removal::Destroy,
        }
    }

    /// Sends what was written and collects its answers, all of them: nfnetlink works a batch off within sendmsg(2), so they
    /// are there when that returns. A commit that fails is answered twice, for `begin` and for `last`; what is left in the
    /// buffer would be read as an answer to the next batch.
    fn answers(&mut self, begin: u32, last: u32) -> io::Result<Vec<(u32, Acknowledgement)>> {
        self.netlink.send(self.out.as_bytes())?;
        let mut answers = Vec::new();
        loop {
            match self.netlink.receive(libc::MSG_DONTWAIT) {
                Ok(datagram) => answers.extend(answers_to(begin, last, datagram)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) => return Err(e),
            }
        }
        if answers.iter().any(|(of, _)| *of == last || *of == begin) {
            Ok(answers)
        } else {
            Err(io::Error::from_raw_os_error(libc::ENOBUFS))
        }
    }
}

/// The answers in a datagram to messages from `begin` to `last`; others are of another batch.
fn answers_to(begin: u32, last: u32, datagram: &[u8]) -> impl Iterator<Item = (u32, Acknowledgement)> {
    messages(datagram)
        .filter(move |message| message.seq.wrapping_sub(begin) <= last.wrapping_sub(begin))
        .filter_map(|message| Some((message.seq, message.answer(datagram)?)))
}

fn outcome(begin: u32, halves: &[(usize, HalfChange)], answers: Vec<(u32, Acknowledgement)>) -> Ended {
    let mut faults = Vec::new();
    for (seq, answer) in answers.into_iter().filter(|(_, answer)| answer.errno != Errno(0)) {
        let of = seq.wrapping_sub(begin).checked_sub(1).and_then(|n| halves.get(n as usize));
        match of {
            Some((at, half)) => faults.push((*at, *half, answer)),
            None => return Ended::Broken(answer),
        }
    }
    if faults.is_empty() { Ended::Committed } else { Ended::Faults(faults) }
}

/// What is left to do after a transaction was refused: `pending` keeps what can be tried (again); what is refused for
/// good is returned.
fn after(pending: &mut Vec<Remaining>, faults: Vec<(usize, HalfChange, Acknowledgement)>) -> Vec<Remaining> {
    let mut hopeless = vec![false; pending.len()];
    let mut done = vec![false; pending.len()];
    for (at, half, answer) in faults {
        let p = &mut pending[at];
        match (p.step, half, answer.errno) {
            (Attempt::Delete, HalfChange::Delete, Errno::ENOENT) => done[at] = true,
            (Attempt::Replace, HalfChange::Delete, Errno::ENOENT) => p.step = Attempt::Add,
            (_, HalfChange::Add, Errno::EBUSY) => {}
            (Attempt::Replace, HalfChange::Add, Errno::EEXIST) => p.step = Attempt::Renew,
            (_, HalfChange::Add, Errno::EEXIST) => p.step = Attempt::Replace,
            _ => hopeless[at] = true,
        }
        p.refused = Some(answer);
    }
    let mut lost = Vec::new();
    for (at, p) in std::mem::take(pending).into_iter().enumerate() {
        match (done[at], hopeless[at]) {
            (true, _) => {}
            (false, true) => lost.push(p),
            (false, false) => pending.push(p),
        }
    }
    lost
}

/// The error of a change, in nft's words; the key stays in hexadecimal because only the set knows its type.
fn refusal(change: &ElementChange, answer: Option<&Acknowledgement>) -> KernelError {
    let verb = if matches!(change, ElementChange::Delete { .. }) { "delete" } else { "add" };
    let key: String = change.key().iter().map(|byte| format!("{byte:02x}")).collect();
    let tried = format!("nft {verb} element inet {TABLE} {} {{ 0x{key} }}", change.set());
    let errno = answer.map_or(Errno(libc::EIO), |answer| answer.errno);
    let said = answer.and_then(|answer| answer.said.clone()).or_else(|| match errno {
        Errno::ENOENT => Some("the table or the set does not exist".to_owned()),
        Errno::ENFILE => Some("the set is full".to_owned()),
        Errno(libc::EOPNOTSUPP) => Some("modprobe nf_tables".to_owned()),
        _ => None,
    });
    KernelError::refused(tried, errno, said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::abi::nfnetlink::{NLM_F_CAPPED, NLMSG_ERROR};
    use crate::kernel::netlink::Writer;

    fn pending(steps: &[Attempt]) -> Vec<Remaining> {
        steps.iter().enumerate().map(|(index, &step)| Remaining { index, step, refused: None }).collect()
    }

    fn no(errno: Errno) -> Acknowledgement {
        Acknowledgement { errno, said: None }
    }

    fn steps(pending: &[Remaining]) -> Vec<(usize, Attempt)> {
        pending.iter().map(|p| (p.index, p.step)).collect()
    }

    #[test]
    fn a_refused_transaction_is_put_right() {
        let mut all = pending(&[Attempt::Add, Attempt::Replace, Attempt::Delete, Attempt::Add, Attempt::Add]);
        let faults = vec![
            (0, HalfChange::Add, no(Errno::EEXIST)),
            (1, HalfChange::Delete, no(Errno::ENOENT)),
            (2, HalfChange::Delete, no(Errno::ENOENT)),
            (3, HalfChange::Add, no(Errno::ENFILE)),
        ];
        let lost = after(&mut all, faults);
        assert_eq!(steps(&all), [(0, Attempt::Replace), (1, Attempt::Add), (4, Attempt::Add)]);
        assert_eq!(steps(&lost), [(3, Attempt::Add)]);
    }

    #[test]
    fn a_row_is_tried_again_while_its_set_grows() {
        let mut all = pending(&[Attempt::Replace]);
        assert_eq!(after(&mut all, vec![(0, HalfChange::Add, no(Errno::EBUSY))]).len(), 0);
        assert_eq!(steps(&all), [(0, Attempt::Replace)]);
    }

    #[test]
    fn a_row_that_packets_put_back_is_renewed() {
        let mut all = pending(&[Attempt::Add, Attempt::Replace, Attempt::Renew]);
        let faults = (0..3).map(|at| (at, HalfChange::Add, no(Errno::EEXIST))).collect();
        assert_eq!(after(&mut all, faults).len(), 0);
        assert_eq!(steps(&all), [(0, Attempt::Replace), (1, Attempt::Renew), (2, Attempt::Replace)]);
    }

    #[test]
    fn a_replacement_in_a_missing_set_is_given_up() {
        let mut all = pending(&[Attempt::Replace]);
        let faults = vec![(0, HalfChange::Delete, no(Errno::ENOENT)), (0, HalfChange::Add, no(Errno::ENOENT))];
        assert_eq!(after(&mut all, faults).len(), 1);
        assert!(all.is_empty());
    }

    /// NLMSG_ERROR for a message, capped.
    fn answered(seq: u32, errno: i32) -> Vec<u8> {
        let mut out = Writer::default();
        let open = out.begin(NLMSG_ERROR, NLM_F_CAPPED, seq);
        out.raw(&(-errno).to_ne_bytes());
        out.raw(&[0; 16]);
        out.end(open);
        out.as_bytes().to_vec()
    }

    /// As Linux answers a batch whose commit failed (ENOMEM): its head, and its last message, in datagrams of their own.
    #[test]
    fn a_failed_commit_leaves_nothing_for_the_next_batch() {
        let halves = [(0, HalfChange::Add)];
        let datagrams = [answered(5, libc::ENOMEM), answered(6, 0)];
        let read = |begin, last, datagrams: &[Vec<u8>]| -> Vec<(u32, Acknowledgement)> {
            datagrams.iter().flat_map(|datagram| answers_to(begin, last, datagram)).collect()
        };
        for datagrams in [datagrams.clone(), [datagrams[1].clone(), datagrams[0].clone()]] {
            let answers = read(5, 6, &datagrams);
            assert_eq!(answers.len(), 2, "all of them");
            assert!(matches!(outcome(5, &halves, answers), Ended::Broken(answer) if answer == no(Errno(libc::ENOMEM))));
        }
        // What another batch left behind is none of ours.
        let next = [answered(6, libc::EEXIST), answered(5, libc::ENOMEM), answered(9, 0)];
        assert_eq!(read(8, 9, &next), [(9, no(Errno(0)))]);
        assert_eq!(read(u32::MAX, 0, &[answered(u32::MAX - 1, 1), answered(0, 2), answered(1, 3)]).len(), 1);
    }

    #[test]
    fn answers_find_their_change_also_when_sequence_numbers_wrap() {
        let halves = [(0, HalfChange::Delete), (0, HalfChange::Add)];
        let answers = vec![(0, no(Errno::EEXIST))];
        let Ended::Faults(faults) = outcome(u32::MAX - 1, &halves, answers) else { panic!("not refused") };
        assert_eq!(faults, [(0, HalfChange::Add, no(Errno::EEXIST))]);
        assert!(matches!(outcome(5, &halves, vec![(5, no(Errno::EPERM))]), Ended::Broken(_)));
        assert!(matches!(outcome(5, &halves, vec![(7, no(Errno(0)))]), Ended::Committed));
    }
}
