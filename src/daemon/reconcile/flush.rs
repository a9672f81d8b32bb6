//! Taking away every row that we own.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::Config;
use crate::kernel::addresses::{Addresses, own};
use crate::kernel::ipvs::Ipvs;
use crate::kernel::nftables::Elements;
use crate::kernel::read_state::{self, Table};
use crate::kernel::{KernelError, nft_command, requirements};
use crate::lvs::ServiceKey;
use crate::plan::mark_index;
use crate::state::TABLE;

/// `ftpdirector flush`: takes away every row that we own, with what parts of the kernel there are. A part that is not loaded
/// holds no rows, and asking for it would load it.
#[must_use]
pub fn flush(config: &Config) -> Vec<KernelError> {
    if let Err(error) = requirements::net_admin() {
        return vec![error];
    }
    let (mut ipvs, mut elements, mut errors) = (None, None, Vec::new());
    if Path::new("/proc/net/ip_vs").exists() {
        match Ipvs::connect() {
            Ok(connected) => ipvs = Some(connected),
            Err(error) => errors.push(error),
        }
    }
    match Elements::connect() {
        Ok(connected) => elements = Some(connected),
        Err(error) => errors.push(error),
    }
    errors.extend(take_away(ipvs.as_mut(), elements.as_mut(), config, &BTreeSet::new()));
    errors
}

pub(super) fn take_away(
    ipvs: Option<&mut Ipvs>,
    mut elements: Option<&mut Elements>,
    config: &Config,
    made: &BTreeSet<ServiceKey>,
) -> Vec<KernelError> {
    let mut errors = Vec::new();
    // First: a VIP without its services would answer with resets.
    match Addresses::connect().and_then(|mut addresses| Ok((addresses.list()?, addresses))) {
        Ok((listed, mut addresses)) => {
            errors.extend(own(&listed).iter().filter_map(|address| addresses.delete(address).err()));
        }
        Err(error) => errors.push(error),
    }
    let table = elements.as_mut().map_or_else(|| Ok(Table::default()), |elements| read_state::table(elements, None));
    let table = table.unwrap_or_else(|error| {
        errors.push(error);
        Table::default()
    });
    if let Some(ipvs) = ipvs {
        match read_state::read(ipvs, &table, mark_index::marks(config), made) {
            Ok((state, _)) => {
                for key in state.services.keys() {
                    errors.extend(ipvs.delete_service(key).err());
                }
            }
            Err(error) => errors.push(error),
        }
    }
    // The table says which services are ours: it goes last, and stays while one of them does.
    if table.there && errors.is_empty() {
        errors.extend(nft_command::apply(&format!("delete table {TABLE}\n")).err());
    }
    errors
}
