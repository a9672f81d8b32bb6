//! What a machine looks like, as far as FTP on IPVS cares.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::firewall::Ruleset;
use crate::config::{Cluster, Config, Problem};
use crate::kernel::directors::RunningDirector;
use crate::kernel::ipvs::{ListedService, SyncDaemon};

/// Everything that the checks look at.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The configuration, if the file can be used.
    pub config: Option<Config>,
    /// Why the file cannot be read, with its name.
    pub unreadable: Option<String>,
    /// What is wrong with the file.
    pub problems: Vec<Problem>,
    /// Files under `/proc/sys`, without that prefix and without the line end.
    pub sysctls: BTreeMap<String, String>,
    /// Of the modules that we need: what is loaded or built in.
    pub loaded: BTreeSet<String>,
    /// Of the modules that we need: what could be loaded. `None`: this machine has no modules to look at.
    pub loadable: Option<BTreeSet<String>>,
    /// nft too old, or no nft: what, cure.
    pub too_old: Vec<(String, String)>,
    /// What the rules need and nf_tables does not take: what, cure. Empty where rules like them are in force.
    pub refused: Vec<(String, String)>,
    /// Control ports that the kernel's helper `ip_vs_ftp` is bound to (`/proc/net/ip_vs_app`).
    pub helper_ports: Vec<u16>,
    /// Every nftables table but ours.
    pub ruleset: Ruleset,
    /// `iptables-legacy-save` and its IPv6 sister.
    pub legacy: Vec<String>,
    /// The interfaces of this network namespace.
    pub links: Vec<Link>,
    /// `ip route get`, of VIPs and real servers; what has no route is not in it.
    pub routes: BTreeMap<IpAddr, Route>,
    /// Whether routes could be asked for at all.
    pub routes_known: bool,
    /// Interfaces of the default routes: whether the route is IPv6, and the name.
    pub defaults: Vec<(bool, String)>,
    /// `ip rule` beyond the three that every machine has.
    pub policies: Vec<RoutingRule>,
    /// Virtual services that ftpdirector did not make.
    pub foreign: Vec<ListedService>,
    /// The kernel's connection synchronisation: what runs of its two daemons.
    pub sync_daemons: Vec<SyncDaemon>,
    /// Where programs of this machine listen, `ss -ltn`.
    pub listening: Vec<SocketAddr>,
    /// The daemons of this program in this network namespace.
    pub directors: Vec<RunningDirector>,
    /// Whether one of them is that of this configuration: it answers at the admin socket, or is this process.
    pub answers: bool,
    /// The netlink port id of who reads our queue.
    pub queue_reader: Option<u32>,
    /// keepalived's files: name, text.
    pub keepalived: Vec<(String, String)>,
    /// Files and commands that could not be read.
    pub unseen: Vec<Unseen>,
}

/// An interface of this network namespace, from `ip -j -d address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name, as `ip link` shows it.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is up.
    pub up: bool,
    /// Whether it is a bridge.
    pub bridge: bool,
    /// Its addresses with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// The route to an address, as the kernel would choose it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The name of the outgoing interface.
    pub device: String,
    /// The router; `None`: on-link.
    pub gateway: Option<IpAddr>,
    /// Whether the address is this machine's own.
    pub local: bool,
    /// The address that packets of this machine leave with.
    pub source: Option<IpAddr>,
}

/// A routing policy rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingRule {
    /// Mark and mask that it looks at.
    pub mark: Option<(u32, u32)>,
    /// As `ip rule` shows it.
    pub text: String,
}

/// A part of the facts that a check needs, and that may not be readable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// A configuration that can be used.
    Configuration,
    /// The rules of all tables: `nft list ruleset`.
    Rules,
    /// The virtual services: `ipvsadm -L -n`.
    Services,
    /// Interfaces, addresses and routes.
    Network,
    /// Sysctls outside of IPVS: files under `/proc/sys`.
    Sysctls,
    /// IPVS's sysctls, `/proc/sys/net/ipv4/vs`, which come with ip_vs.
    IpvsSysctls,
    /// nft's version.
    Versions,
    /// What nf_tables takes: a trial with `nft -c`.
    Features,
    /// Which kernel modules there are.
    Modules,
    /// The kernel's helpers of IPVS: `/proc/net/ip_vs_app`.
    Helpers,
    /// Where programs listen: `ss -ltn`.
    Listening,
    /// keepalived's files.
    Keepalived,
    /// The daemons of this program that run here, and who reads our queue.
    Directors,
}

/// The name of the check that tells what could not be read.
pub const UNSEEN: &str = "unseen";

/// A file or command that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// What the checks lack for it; `None`: nothing that a check decides by.
    pub need: Option<Need>,
    /// The command or file that could not be read.
    pub tried: String,
    /// The error of the system or program.
    pub why: String,
}

impl Facts {
    /// The clusters; none when the file cannot be used.
    pub fn clusters(&self) -> &[Cluster] {
        self.config.as_ref().map_or(&[], |config| &config.clusters)
    }

    /// Whether everything that a check looks at could be looked at.
    pub fn seen(&self, needs: &[Need]) -> bool {
        let lacking = |need: &Need| match need {
            Need::Configuration if self.config.is_none() => true,
            Need::IpvsSysctls => !self.sysctls.keys().any(|name| name.starts_with("net/ipv4/vs/")),
            need => self.unseen.iter().any(|unseen| unseen.need == Some(*need)),
        };
        !needs.iter().any(lacking)
    }

    /// A number under `/proc/sys`; the first where there are several.
    pub fn number(&self, sysctl: &str) -> Option<i64> {
        self.sysctls.get(sysctl)?.split_whitespace().next()?.parse().ok()
    }

    /// Whether a switch is there and on.
    pub fn on(&self, sysctl: &str) -> bool {
        self.number(sysctl).is_some_and(|value| value != 0)
    }

    /// Whether IPVS keeps its connections in conntrack.
    pub fn conntrack(&self) -> bool {
        self.on("net/ipv4/vs/conntrack")
    }

    /// The interface that an address is reached through.
    pub fn device(&self, address: IpAddr) -> Option<&str> {
        self.routes.get(&address).filter(|route| !route.local).map(|route| route.device.as_str())
    }

    /// The interfaces that clients of a VIP come in through: those of the default routes and, as clients may be
    /// neighbours, those with the VIP's network. Every interface that is up when there is neither.
    pub fn client_devices(&self, vip: IpAddr) -> BTreeSet<&str> {
        let defaults = self.defaults.iter().filter(|(ipv6, _)| *ipv6 == vip.is_ipv6()).map(|(_, name)| name.as_str());
        let neighbours = self.links.iter().filter(|link| {
            link.addresses.iter().any(|&(address, length)| {
                // A host address is no network.
                length != host_length(vip) && within(vip, address, length)
            })
        });
        let found: BTreeSet<&str> = defaults.chain(neighbours.map(|link| link.name.as_str())).collect();
        if found.is_empty() {
            return self
                .links
                .iter()
                .filter(|link| link.up && link.name != "lo")
                .map(|link| link.name.as_str())
                .collect();
        }
        found
    }

    /// The interface of this name.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// The interface that carries an address of this machine.
    pub fn carrier(&self, address: IpAddr) -> Option<&Link> {
        self.links.iter().find(|link| link.addresses.iter().any(|(own, _)| *own == address))
    }

    /// Sets a file under `/proc/sys`.
    #[cfg(test)]
    pub fn set(&mut self, sysctl: &str, value: &str) {
        self.sysctls.insert(sysctl.into(), value.into());
    }
}

/// The prefix length of one address.
pub const fn host_length(address: IpAddr) -> u8 {
    if address.is_ipv6() { 128 } else { 32 }
}

/// Whether `address` lies in the network `network/length`; never when the families differ.
pub fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    if address.is_ipv4() != network.is_ipv4() {
        return false;
    }
    let kept = u32::from(host_length(address)).saturating_sub(u32::from(length));
    let bits = |address| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    (bits(address) ^ bits(network)).checked_shr(kept).unwrap_or(0) == 0
}

/// `net/ipv4/ip_forward` as sysctl(8) takes it; with its slashes where an interface's name has dots.
pub fn sysctl_name(path: &str) -> String {
    if path.contains('.') { path.to_owned() } else { path.replace('/', ".") }
}

/// `sysctl -w …`, one line for each setting, and where to write it down.
pub fn sysctl_cure<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let lines = settings.into_iter().map(|(path, value)| format!("sysctl -w {}={value}", sysctl_name(path)));
    lines.collect::<Vec<_>>().join("\n") + "\n(and the same in /etc/sysctl.d/, or it is gone after a reboot)"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_addresses() {
        for (address, network, length, expected) in [
            ("10.0.0.100", "10.0.0.10", 24, true),
            ("10.0.1.100", "10.0.0.10", 24, false),
            ("10.0.1.100", "10.0.0.10", 0, true),
            ("10.0.0.10", "10.0.0.10", 32, true),
            ("fd00::1", "fd00::2", 64, true),
            ("fd00::1", "10.0.0.1", 0, false),
        ] {
            let [address, network] = [address, network].map(|text| text.parse().expect("an address"));
            assert_eq!(within(address, network, length), expected, "{address} in {network}/{length}");
        }
    }
}
