//! One step from the actual to the desired state, in the words of ipvsadm(8), nft(8) and ip(8).

use std::fmt;

use super::sets::{Key, Set, Value};
use super::{LocalAddress, TABLE};
use crate::lvs::{Destination, ServiceKey, VirtualService};

/// One step. `Display` gives the command that would do the same by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `ipvsadm -A`: adds a service, without real servers.
    AddService(VirtualService),
    /// `ipvsadm -E`: changes a service's scheduler or persistence.
    EditService(VirtualService),
    /// `ipvsadm -D`: deletes a service, with its real servers.
    DeleteService(ServiceKey),
    /// `ipvsadm -a`: adds a real server to a service.
    AddDestination(ServiceKey, Destination),
    /// `ipvsadm -e`: changes a real server's forwarding method, weight or thresholds.
    EditDestination(ServiceKey, Destination),
    /// `ipvsadm -d`: deletes a real server from a service.
    DeleteDestination(ServiceKey, Destination),
    /// `nft add element`: set, key, and value (empty in a set).
    AddElement(Set, Key, Key),
    /// `nft delete element`: set and key.
    DeleteElement(Set, Key),
    /// `ip address add`: adds a VIP to an interface.
    AddAddress(LocalAddress),
    /// `ip address delete`: takes a VIP off an interface.
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

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddService(to) => f.write_str(&to.ipvsadm('A')),
            Self::EditService(to) => f.write_str(&to.ipvsadm('E')),
            Self::DeleteService(key) => write!(f, "ipvsadm -D {key}"),
            Self::AddDestination(key, to) => f.write_str(&to.ipvsadm('a', key)),
            Self::EditDestination(key, to) => f.write_str(&to.ipvsadm('e', key)),
            Self::DeleteDestination(key, to) => f.write_str(&to.ipvsadm_delete(key)),
            Self::AddAddress(to) => to.add(f),
            Self::DeleteAddress(from) => write!(f, "ip address delete {from}"),
            Self::AddElement(..) | Self::DeleteElement(..) => {
                write!(f, "nft {}", self.nft().unwrap_or_default())
            }
        }
    }
}
