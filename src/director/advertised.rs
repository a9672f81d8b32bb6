//! What servers advertise, where it can be told by the server alone.

use std::collections::HashMap;
use std::net::IpAddr;

use super::interface::Setup;
use crate::steer::range;

/// The placement of each server that has a range of its own, and advertises one address however many VIPs it serves: behind
/// which of them a connection came is not known.
#[derive(Default)]
pub struct Advertised(HashMap<IpAddr, Option<usize>>);

impl Advertised {
    /// Those of a configuration.
    pub fn of(setup: &Setup) -> Self {
        let told = |at: usize| setup.placements.get(at).and_then(|(_, policies)| policies.explicit.advertise);
        let mut known: HashMap<IpAddr, Option<usize>> = HashMap::new();
        for (at, (placement, policies)) in setup.placements.iter().enumerate() {
            if policies.explicit.advertise.is_none() || !range::steers(placement) {
                continue;
            }
            let one = known.entry(placement.address).or_insert(Some(at));
            *one = one.filter(|&other| told(other) == told(at));
        }
        Self(known)
    }

    /// The position of that server's placement.
    pub fn by(&self, server: IpAddr) -> Option<usize> {
        self.0.get(&server).copied().flatten()
    }
}
