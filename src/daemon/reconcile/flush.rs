//! Taking away every row that we own.

use std::collections::BTreeSet;
use std::fmt;
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

/// What was taken away, and what went wrong.
#[derive(Debug, Default)]
pub struct Flushed {
    /// VIPs that are no longer on their interface.
    pub addresses: usize,
    /// IPVS services that are gone.
    pub services: usize,
    /// Whether our nftables table was there, and is gone.
    pub table: bool,
    /// What the kernel refused.
    pub errors: Vec<KernelError>,
}

impl fmt::Display for Flushed {
    /// What is gone, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |count: usize, one: &str, many: &str| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            more => Some(format!("{more} {many}")),
        };
        let gone = [
            count(self.addresses, "address", "addresses"),
            count(self.services, "IPVS service", "IPVS services"),
            self.table.then(|| format!("table {TABLE}")),
        ];
        let gone: Vec<String> = gone.into_iter().flatten().collect();
        match gone.as_slice() {
            [] => f.write_str("nothing to remove: the kernel has no rows of ftpdirector here"),
            gone => write!(f, "removed: {}", gone.join(", ")),
        }
    }
}

/// `ftpdirector flush`: takes away every row that we own, with what parts of the kernel there are. A part that is not loaded
/// holds no rows, and asking for it would load it.
#[must_use]
pub fn flush(config: &Config) -> Flushed {
    if let Err(error) = requirements::net_admin() {
        return Flushed { errors: vec![error], ..Flushed::default() };
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
    let mut flushed = take_away(ipvs.as_mut(), elements.as_mut(), config, &BTreeSet::new());
    errors.append(&mut flushed.errors);
    Flushed { errors, ..flushed }
}

pub(super) fn take_away(
    ipvs: Option<&mut Ipvs>,
    elements: Option<&mut Elements>,
    config: &Config,
    made: &BTreeSet<ServiceKey>,
) -> Flushed {
    let (table, gone) = (TableDump::default(), Flushed::default());
    let mut ours = Ours { ipvs, elements, addresses: None, table, config, made, gone };
    let errors = carry_out::take_away(&mut ours);
    Flushed { errors, ..ours.gone }
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
    /// What is gone so far.
    gone: Flushed,
}

impl Rows for Ours<'_> {
    type Error = KernelError;

    fn addresses(&mut self) -> Result<Vec<LocalAddress>, KernelError> {
        let addresses = self.addresses.insert(Addresses::connect()?);
        Ok(own(&addresses.list()?).into_iter().collect())
    }

    fn delete_address(&mut self, address: &LocalAddress) -> Result<(), KernelError> {
        self.addresses.as_mut().map_or(Ok(()), |addresses| addresses.delete(address))?;
        self.gone.addresses += 1;
        Ok(())
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
        self.ipvs.as_mut().map_or(Ok(()), |ipvs| ipvs.delete_service(service))?;
        self.gone.services += 1;
        Ok(())
    }

    fn delete_table(&mut self) -> Result<(), KernelError> {
        nft_command::apply(&format!("delete table {TABLE}\n"))?;
        self.gone.table = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_said_and_that_nothing_was_there() {
        let nothing = Flushed::default();
        assert_eq!(nothing.to_string(), "nothing to remove: the kernel has no rows of ftpdirector here");
        let all = Flushed { addresses: 1, services: 6, table: true, errors: Vec::new() };
        assert_eq!(all.to_string(), "removed: 1 address, 6 IPVS services, table inet ftpdirector");
    }
}
