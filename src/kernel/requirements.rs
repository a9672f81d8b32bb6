//! What the machine lacks, found before anything is changed.

use std::fs;
use std::io;
use std::process::{Command, Stdio};

use rustix::thread::{CapabilityFlags, capabilities};

use super::abi::nf_tables::NFT_MSG_GETGEN;
use super::abi::nfnetlink::{NFNL_SUBSYS_NFTABLES, NFNL_SUBSYS_QUEUE, NLM_F_ACK, NLM_F_REQUEST};
use super::abi::nfnetlink_queue::NFQNL_MSG_CONFIG;
use super::ipvs::Ipvs;
use super::netlink::{Netfilter, bare, messages};
use super::{Errno, KernelError, nft_command};
use crate::lvs::ForwardingMethod;
use crate::state::features::{self, Feature};

const MODULES: [&str; 4] = ["ip_vs", "nfnetlink_queue", "nf_tables", "nft_queue"];

/// Loads what we need if we may (errors are ignored), then tries each part for real; empty when nothing lacks that clusters of
/// these methods need. Without CAP_NET_ADMIN that is all it says: nothing else can be tried.
#[must_use]
pub fn lacks(methods: &[ForwardingMethod]) -> Vec<KernelError> {
    if let Err(e) = net_admin() {
        return vec![e];
    }
    load();
    let nf_tables = answers(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN, "nf_tables");
    let nft = nft_command::nft_version().map(|_| ());
    let rules = if nf_tables.is_ok() && nft.is_ok() { refused_features(methods) } else { Vec::new() };
    let found =
        [Ipvs::connect().map(|_| ()), nf_tables, answers(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, "nfnetlink_queue"), nft];
    found.into_iter().filter_map(Result::err).chain(rules).collect()
}

/// What the rules need for clusters of these methods, and this kernel or its nft(8) does not take. It is tried in a transaction
/// that is checked and never committed.
#[must_use]
pub fn refused_features(methods: &[ForwardingMethod]) -> Vec<KernelError> {
    let nat = methods.contains(&ForwardingMethod::Nat);
    refused(&if nat { features::with_nat() } else { features::always() }, nft_command::check)
}

/// Most machines take all of it at once; where one does not, each feature is tried by itself.
fn refused(wanted: &[&Feature], check: impl Fn(&str) -> Result<(), KernelError>) -> Vec<KernelError> {
    let together = match check(&features::trial(wanted)) {
        Ok(()) => return Vec::new(),
        Err(error @ KernelError::Nft { .. }) => error,
        // Nothing could be tried: no nft, no permission.
        Err(other) => return vec![other],
    };
    let alone = |feature: &&Feature| match check(&features::trial(&[*feature])) {
        Ok(()) => None,
        Err(KernelError::Nft { said, .. }) => Some(lacking(feature, &said)),
        Err(other) => Some(other),
    };
    let found: Vec<_> = wanted.iter().filter_map(alone).collect();
    if found.is_empty() { vec![together] } else { found }
}

fn lacking(feature: &Feature, said: &str) -> KernelError {
    let Feature { name, module, .. } = feature;
    KernelError::Missing {
        what: format!("nf_tables does not take {name}: {}", said.lines().next().unwrap_or_default()),
        cure: format!(
            "it is part of {module}: load that (modprobe), or install the kernel's full module package; every kernel from Linux 6.1 on has it"
        ),
    }
}

/// `modprobe` for what is not built in; in a container it may not be allowed, and then the host's doing counts.
fn load() {
    let quiet = Stdio::null;
    let _ = Command::new("modprobe")
        .args(["-a", "-q"])
        .args(MODULES)
        .stdin(quiet())
        .stdout(quiet())
        .stderr(quiet())
        .status();
}

/// Whether this thread has CAP_NET_ADMIN.
///
/// # Errors
/// `Permission`.
pub fn net_admin() -> Result<(), KernelError> {
    let tried = "looking for CAP_NET_ADMIN".to_owned();
    match capabilities(None) {
        Ok(ours) if ours.effective.contains(CapabilityFlags::NET_ADMIN) => Ok(()),
        Ok(_) => Err(KernelError::Permission { tried, errno: Errno::EPERM }),
        Err(error) => Err(KernelError::io(tried, &error.into())),
    }
}

/// Whether a part of nfnetlink answers an empty request: EINVAL when there is none. What it otherwise says does not
/// matter.
fn answers(subsystem: u16, message: u16, module: &'static str) -> Result<(), KernelError> {
    let mut netlink = Netfilter::open(64 * 1024)?;
    let request = bare(subsystem << 8 | message, NLM_F_REQUEST | NLM_F_ACK, 1);
    let tried = format!("asking the kernel for {module}");
    netlink.send(request.as_bytes()).map_err(|e| KernelError::io(&tried, &e))?;
    let datagram = netlink.receive(0).map_err(|e| KernelError::io(&tried, &e))?;
    let errno = messages(datagram).find_map(|m| m.answer(datagram)).map_or(0, |answer| answer.errno.0);
    match errno {
        libc::EOPNOTSUPP | libc::EINVAL => Err(KernelError::NoModule(module)),
        libc::EPERM => Err(KernelError::Permission { tried, errno: Errno::EPERM }),
        _ => Ok(()),
    }
}

/// The TCP ports that the kernel's FTP helper `ip_vs_ftp` is bound to (`/proc/net/ip_vs_app`); none where IPVS is not loaded.
///
/// # Errors
/// Why the list cannot be read.
pub fn ip_vs_ftp_ports() -> io::Result<Vec<u16>> {
    match fs::read_to_string("/proc/net/ip_vs_app") {
        Ok(text) => Ok(parse_apps(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Columns: protocol, port, users, name.
fn parse_apps(text: &str) -> Vec<u16> {
    text.lines()
        .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["TCP", port, _, "ftp"] => port.parse().ok(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kernel that refuses every transaction with one of these words in it, as nft 1.0.6 says it (Linux 6.18 without nft_queue).
    fn kernel_without(words: &[&str]) -> impl Fn(&str) -> Result<(), KernelError> {
        move |text: &str| {
            if words.iter().all(|word| !text.contains(*word)) {
                return Ok(());
            }
            let said =
                "/dev/stdin:3:18-43: Error: Could not process rule: No such file or directory\n  chain …\n  ^^^^^";
            Err(KernelError::Nft { tried: "nft -c -f -".into(), said: said.into() })
        }
    }

    #[test]
    fn what_a_kernel_lacks_is_refused_by_name_and_nothing_else() {
        let wanted = features::always();
        assert!(refused(&wanted, kernel_without(&[])).is_empty());
        let found = refused(&wanted, kernel_without(&["queue flags", "rt ip nexthop"]));
        let words: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(words.len(), 2, "{words:?}");
        assert!(
            words[0].starts_with("nf_tables does not take the next hop (rt nexthop): /dev/stdin:3:18-43"),
            "{words:?}"
        );
        assert!(
            words[1].contains("NFQUEUE") && words[1].contains("part of nft_queue") && !words[1].contains('\n'),
            "{words:?}"
        );
        assert!(found.iter().all(|error| error.exit_code() == 69));
    }

    #[test]
    fn only_nat_needs_translation() {
        let without = kernel_without(&["dnat"]);
        assert!(refused(&features::always(), &without).is_empty());
        let found = refused(&features::with_nat(), &without);
        assert!(matches!(&found[..], [KernelError::Missing { what, .. }] if what.contains("translation")), "{found:?}");
    }

    #[test]
    fn where_nothing_can_be_tried_nothing_is_called_lacking() {
        let denied = |_: &str| Err(KernelError::Permission { tried: "nft -c -f -".into(), errno: Errno::EPERM });
        let found = refused(&features::with_nat(), denied);
        assert!(matches!(found[..], [KernelError::Permission { .. }]), "{found:?}");
    }

    /// Refused together and taken one by one: nft's words are all that is known.
    #[test]
    fn a_refusal_that_no_feature_explains_is_told() {
        let only_all = |text: &str| {
            if text.contains("queue flags") && text.contains("reject with") {
                return Err(KernelError::Nft { tried: "nft -c -f -".into(), said: "too much".into() });
            }
            Ok(())
        };
        let found = refused(&features::always(), only_all);
        assert!(matches!(&found[..], [KernelError::Nft { said, .. }] if said == "too much"), "{found:?}");
    }

    /// Linux 6.12, `modprobe ip_vs_ftp ports=21,2121; cat /proc/net/ip_vs_app`.
    #[test]
    fn the_kernels_ftp_helper_is_found() {
        let text =
            "prot port    usecnt name\nTCP  2121    0      ftp              \nTCP  21      0      ftp              \n";
        assert_eq!(parse_apps(text), [2121, 21]);
        assert_eq!(parse_apps("prot port    usecnt name\n"), [0u16; 0]);
    }
}
