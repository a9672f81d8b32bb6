//! One step from the actual to the desired state, in the words of ipvsadm(8), nft(8) and ip(8).

use std::fmt;

use super::sets::{Key, Set, Value};
use super::{LocalAddress, TABLE};
use crate::lvs::{Destination, ServiceKey, VirtualService};

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
