//! Taking away every row that we own.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::Config;
use crate::kernel::addresses::{Addresses, own};
use crate::kernel::ipvs::Ipvs;
use crate::kernel::nftables::Elements;
use crate::kernel::read_state::{self, TableDump};
use crate::kernel::{KernelError, nft_command, requirements};
use crate::lvs::ServiceKey;
use crate::plan::carry_out::{self, Rows};
use crate::plan::mark_index;
use crate::state::{LocalAddress, TABLE};

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
    elements: Option<&mut Elements>,
    config: &Config,
    made: &BTreeSet<ServiceKey>,
) -> Vec<KernelError> {
    carry_out::take_away(&mut Ours { ipvs, elements, addresses: None, table: TableDump::default(), config, made })
}

/// The parts of the kernel that there are, and what was read from them.
struct Ours<'a> {
    ipvs: Option<&'a mut Ipvs>,
    elements: Option<&'a mut Elements>,
    /// `None` until the addresses were listed.
    addresses: Option<Addresses>,
    /// Empty until the table was read.
    table: TableDump,
    config: &'a Config,
    made: &'a BTreeSet<ServiceKey>,
}

impl Rows for Ours<'_> {
    type Error = KernelError;

    fn addresses(&mut self) -> Result<Vec<LocalAddress>, KernelError> {
        let addresses = self.addresses.insert(Addresses::connect()?);
        Ok(own(&addresses.list()?).into_iter().collect())
    }

    fn delete_address(&mut self, address: &LocalAddress) -> Result<(), KernelError> {
        self.addresses.as_mut().map_or(Ok(()), |addresses| addresses.delete(address))
    }

    fn table(&mut self) -> Result<bool, KernelError> {
        if let Some(elements) = &mut self.elements {
            self.table = read_state::table(elements, None)?;
        }
        Ok(self.table.there)
    }

    fn services(&mut self) -> Result<Vec<ServiceKey>, KernelError> {
        let Some(ipvs) = &mut self.ipvs else { return Ok(Vec::new()) };
        let (state, _) = read_state::read(ipvs, &self.table, mark_index::marks(self.config), self.made)?;
        Ok(state.services.into_keys().collect())
    }

    fn delete_service(&mut self, service: &ServiceKey) -> Result<(), KernelError> {
        self.ipvs.as_mut().map_or(Ok(()), |ipvs| ipvs.delete_service(service))
    }

    fn delete_table(&mut self) -> Result<(), KernelError> {
        nft_command::apply(&format!("delete table {TABLE}\n"))
    }
}
