//! Changes → the kernel.

use super::KernelError;
use super::addresses::Addresses;
use super::ipvs::Ipvs;
use super::nftables::{Data, ElementChange, NftElement, Part, key};
use crate::state::Change;
use crate::state::sets::Value;
use crate::steer::RowChange;

/// One change of a service, a real server or an address. (Elements go through `nft -f`: [`Change::nft`].)
///
/// # Errors
/// What the kernel refused, in ipvsadm or ip words.
pub fn change(ipvs: &mut Ipvs, addresses: &mut Addresses, change: &Change) -> Result<(), KernelError> {
    match change {
        Change::AddService(service) => ipvs.add_service(service),
        Change::EditService(service) => ipvs.edit_service(service),
        Change::DeleteService(key) => ipvs.delete_service(key),
        Change::AddDestination(key, to) => ipvs.add_destination(key, to),
        Change::EditDestination(key, to) => ipvs.edit_destination(key, to),
        Change::DeleteDestination(key, to) => ipvs.delete_destination(key, to),
        Change::AddAddress(to) => addresses.add(to),
        Change::DeleteAddress(from) => addresses.delete(from),
        Change::AddElement(..) | Change::DeleteElement(..) => Ok(()),
    }
}

/// A pinhole as nfnetlink wants it.
#[must_use]
pub fn element(change: &RowChange) -> ElementChange {
    let row = |row: &crate::steer::Row, timeout| NftElement {
        set: row.set.text(),
        key: key(&parts(&row.key)),
        data: (!row.value.is_empty()).then(|| data(&row.value)),
        timeout: Some(timeout),
    };
    match change {
        RowChange::Put(put, timeout) => ElementChange::Add(row(put, *timeout)),
        RowChange::Refresh(put, timeout) => ElementChange::Replace(row(put, *timeout)),
        RowChange::Delete(set, gone) => ElementChange::Delete { set: set.text(), key: key(&parts(gone)) },
    }
}

fn parts(values: &[Value]) -> Vec<Part> {
    let part = |value: &Value| match *value {
        Value::Address(address) => Part::Ip(address),
        Value::Port(port) => Part::Port(port),
        // Dynamic rows hold no ranges: a range's first port stands for it.
        Value::Ports(range) => Part::Port(range.first()),
        Value::Mark(mark) => Part::Mark(mark.0),
    };
    values.iter().map(part).collect()
}

fn data(values: &[Value]) -> Data {
    match values {
        [Value::Mark(mark)] => Data::Mark(mark.0),
        [Value::Address(std::net::IpAddr::V4(address))] => Data::Ipv4(*address),
        [Value::Address(std::net::IpAddr::V6(address))] => Data::Ipv6(*address),
        several => Data::Bytes(key(&parts(several))),
    }
}
