//! One step from the actual to the desired state, in the words of ipvsadm(8), nft(8) and ip(8).

use std::fmt;

use super::sets::{Key, Set, Value};
use super::{LocalAddress, TABLE};
use crate::lvs::{Destination, ForwardingMethod, ServiceKey, VirtualService};

/// One step. `Display` gives the command that would do the same by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `ipvsadm -A`
    AddService(VirtualService),
    /// `ipvsadm -E`
    EditService(VirtualService),
    /// `ipvsadm -D`
    DeleteService(ServiceKey),
    /// `ipvsadm -a`
    AddDestination(ServiceKey, Destination),
    /// `ipvsadm -e`
    EditDestination(ServiceKey, Destination),
    /// `ipvsadm -d`
    DeleteDestination(ServiceKey, Destination),
    /// `nft add element`
    AddElement(Set, Key, Key),
    /// `nft delete element`
    DeleteElement(Set, Key),
    /// `ip address add`
    AddAddress(LocalAddress),
    /// `ip address delete`
    DeleteAddress(LocalAddress),
}

impl Change {
    /// The line for `nft -f`, for the changes that go through it.
    #[must_use]
    pub fn nft(&self) -> Option<String> {
        match self {
            Self::AddElement(set, key, value) if value.is_empty() => {
                Some(format!("add element {TABLE} {set} {{ {} }}", fields(key)))
            }
            Self::AddElement(set, key, value) => {
                Some(format!("add element {TABLE} {set} {{ {} : {} }}", fields(key), fields(value)))
            }
            Self::DeleteElement(set, key) => Some(format!("delete element {TABLE} {set} {{ {} }}", fields(key))),
            _ => None,
        }
    }
}

fn fields(values: &[Value]) -> String {
    values.iter().map(ToString::to_string).collect::<Vec<_>>().join(" . ")
}

/// A service as ipvsadm names it: `-t 192.0.2.10:21`, `-f 261095425`, `-f 261095425 -6`.
struct Service(ServiceKey);

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ServiceKey::Tcp(address) => write!(f, "-t {address}"),
            ServiceKey::Mark { mark, ipv6: false } => write!(f, "-f {}", mark.0),
            ServiceKey::Mark { mark, ipv6: true } => write!(f, "-f {} -6", mark.0),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = |f: &mut fmt::Formatter<'_>, command: char, service: &VirtualService| {
            write!(f, "ipvsadm -{command} {} -s {}", Service(service.key), service.scheduler)?;
            service.persistence.map_or(Ok(()), |timeout| write!(f, " -p {}", timeout.as_secs()))
        };
        let destination = |f: &mut fmt::Formatter<'_>, command: char, key: ServiceKey, to: &Destination| {
            let method = match to.forwarding {
                ForwardingMethod::Nat => 'm',
                ForwardingMethod::Dr => 'g',
                ForwardingMethod::Tun => 'i',
            };
            write!(f, "ipvsadm -{command} {} -r {} -{method} -w {}", Service(key), to.address, to.weight)
        };
        match self {
            Self::AddService(to) => service(f, 'A', to),
            Self::EditService(to) => service(f, 'E', to),
            Self::DeleteService(key) => write!(f, "ipvsadm -D {}", Service(*key)),
            Self::AddDestination(key, to) => destination(f, 'a', *key, to),
            Self::EditDestination(key, to) => destination(f, 'e', *key, to),
            Self::DeleteDestination(key, to) => write!(f, "ipvsadm -d {} -r {}", Service(*key), to.address),
            Self::AddAddress(to) => to.add(f),
            Self::DeleteAddress(from) => write!(f, "ip address delete {from}"),
            Self::AddElement(..) | Self::DeleteElement(..) => {
                write!(f, "nft {}", self.nft().unwrap_or_default())
            }
        }
    }
}
