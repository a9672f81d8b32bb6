//! A 227 on a connection whose commands nobody here has read: the daemon that read the PASV is gone, or none did.
//!
//! It may be an echo of the client's own words, so it opens nothing. But a client that is told a server's own address reaches
//! nothing (NAT), and one that is told the VIP reaches no more than its pinholes let it.

use super::line::trim_end;
use super::passive::{CODE, LineProgress, More, parse};
use super::passive_rewrite::{NamedPort, Naming, Written};
use super::replies::{Mark, code_of};
use super::same_length::Released;
use super::{Event, Policy};

/// Puts the policy's address into a payload that is one whole 227, if `is_declared` says so of its port, which stays. Returns
/// what was changed.
pub(crate) fn readdress(policy: &Policy, payload: &mut [u8], is_declared: impl Fn(u16) -> bool) -> Option<Event> {
    let [_, ..] = payload.strip_prefix(b"227")? else { return None };
    if memchr::memchr(b'\n', payload)?.checked_add(1)? != payload.len() {
        return None;
    }
    let text = trim_end(payload);
    let Some((code, Mark::Last | Mark::Missing)) = code_of(text) else { return None };
    let LineProgress::Done(spelling) = parse(code, text, CODE, More::No) else { return None };
    let port = spelling.port;
    let named = NamedPort { spelling, port, again: false };
    let naming = Naming { code, named: &named, policy };
    let (from, to) = (naming.said(), naming.told());
    let Written::Whole(out) = naming.write(text, CODE, &Released::default()) else { return None };
    if from == to || !is_declared(port) {
        return None;
    }
    payload.get_mut(..out.len())?.copy_from_slice(&out);
    Some(Event::Rewrite { code, from, to })
}

#[cfg(test)]
mod tests {
    use super::super::{Bounce, Replies};
    use super::*;

    fn told(payload: &str) -> Option<String> {
        let policy = Policy {
            replies: Replies::Seen,
            advertise: Some([192, 0, 2, 10].into()),
            bounce: Bounce::Reject,
            line_limit: 4096,
            implicit_tls: false,
            names: false,
            public_ports: false,
        };
        let mut bytes = payload.as_bytes().to_vec();
        let event = readdress(&policy, &mut bytes, |port| port == 31002);
        let text = String::from_utf8(bytes).expect("text");
        assert_eq!(event.is_some(), text != payload, "{text}");
        event.map(|_| text)
    }

    #[test]
    fn the_address_of_a_whole_227_and_nothing_else() {
        for (said, want) in [
            ("227 Entering Passive Mode (10,0,0,11,121,26).\r\n", "227 Entering Passive Mod(192,0,2,10,121,26).\r\n"),
            ("227(198,51,100,1,121,26)\n", "227( 192,0,2,10,121,26)\n"),
        ] {
            let out = told(said).expect("rewritten");
            assert_eq!(out.len(), said.len());
            assert!(out.contains("192,0,2,10,121,26"), "{out}, not like {want}");
        }
        for same in [
            "227 Entering Passive Mode (10,0,0,11,121,26).",
            "227 Entering Passive Mode (10,0,0,11,121,27).\r\n",
            "227 Entering Passive Mode (192,0,2,10,121,26).\r\n",
            "227 Entering Passive Mode (10,0,0,11,121,26).\r\n226 done\r\n",
            "200 fine\r\n227 Entering Passive Mode (10,0,0,11,121,26).\r\n",
            "227-Entering Passive Mode (10,0,0,11,121,26).\r\n",
            "229 Entering Extended Passive Mode (|1|10.0.0.11|31002|)\r\n",
            "227 (10,0,0,11)\r\n",
            "227\r\n",
            "",
        ] {
            assert_eq!(told(same), None, "{same}");
        }
    }
}
