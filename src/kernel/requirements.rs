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

const MODULES: [&str; 4] = ["ip_vs", "nfnetlink_queue", "nf_tables", "nft_queue"];

/// A rule of the kind that nothing else proves: `nft -c` asks the kernel and leaves no trace.
const QUEUE_RULE: &str = "table inet ftpdirector-probe {
  chain probe { type filter hook postrouting priority 0; queue flags bypass to 2100; }
}
";

/// Loads what we need if we may (errors are ignored), then tries each part for real; empty when nothing lacks. Without
/// CAP_NET_ADMIN that is all it says: nothing else can be tried.
#[must_use]
pub fn lacks() -> Vec<KernelError> {
    if let Err(e) = net_admin() {
        return vec![e];
    }
    load();
    let found = [
        nft_command::kernel_version().map(|_| ()),
        Ipvs::connect().map(|_| ()),
        answers(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN, "nf_tables"),
        answers(NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG, "nfnetlink_queue"),
        nft_command::nft_version().and_then(|_| queue_rule()),
    ];
    found.into_iter().filter_map(Result::err).collect()
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

fn queue_rule() -> Result<(), KernelError> {
    match nft_command::check(QUEUE_RULE) {
        Err(KernelError::Nft { said, .. }) if said.contains("No such file or directory") => {
            Err(KernelError::NoModule("nft_queue"))
        }
        other => other,
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

    /// Linux 6.12, `modprobe ip_vs_ftp ports=21,2121; cat /proc/net/ip_vs_app`.
    #[test]
    fn the_kernels_ftp_helper_is_found() {
        let text =
            "prot port    usecnt name\nTCP  2121    0      ftp              \nTCP  21      0      ftp              \n";
        assert_eq!(parse_apps(text), [2121, 21]);
        assert_eq!(parse_apps("prot port    usecnt name\n"), [0u16; 0]);
    }
}
