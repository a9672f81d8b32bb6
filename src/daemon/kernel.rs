//! The kernel's side of a configuration: what must be there first, what is in the way, what would change.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::config::index::{self, Indexes};
use crate::config::overlay::Overlay;
use crate::config::{self, Config, standing};
use crate::kernel::addresses::{self, Addresses, Listed};
use crate::kernel::elements::Elements;
use crate::kernel::ipvs::{Ipvs, ListedService, Timeouts};
use crate::kernel::{KernelError, actual, apply, probe, ruleset};
use crate::lvs::ServiceKey;
use crate::state::sets::{Name, Set};
use crate::state::{Change, LocalAddress, State, TABLE, diff};

/// Connections to IPVS and nf_tables.
pub struct Kernel {
    ipvs: Ipvs,
    elements: Elements,
    addresses: Addresses,
    /// What this process made.
    made: BTreeSet<ServiceKey>,
}

/// What stands, read once.
pub struct Look {
    actual: State,
    others: Vec<ListedService>,
    timeouts: Timeouts,
    /// Everybody's.
    addresses: Vec<Listed>,
}

/// What a configuration asks of this kernel.
pub struct Plan {
    /// Which (cluster, VIP, server) has which index.
    pub indexes: Indexes,
    /// The rules, when others (or none) stand in the kernel.
    pub rules: Option<String>,
    /// Services, real servers and elements.
    pub changes: Vec<Change>,
    /// IPVS's timeouts, where the configuration wants others: `ipvsadm --set`.
    pub timeouts: Option<Timeouts>,
    /// Interfaces of `vip_interface` that do not exist: their VIPs are not among the changes.
    pub absent: Vec<KernelError>,
    /// The services that should stand.
    wanted: BTreeSet<ServiceKey>,
    /// Services and real servers that leave when their last connection is gone: their deletion is no drift.
    pub leaving: BTreeSet<(ServiceKey, SocketAddr)>,
}

impl Kernel {
    /// Connects, after a look at whether the machine has all that is needed.
    ///
    /// # Errors
    /// Everything that is missing.
    pub fn connect() -> Result<Self, Vec<KernelError>> {
        let lacks = probe::lacks();
        if !lacks.is_empty() {
            return Err(lacks);
        }
        let connect = || {
            let (ipvs, elements, addresses) = (Ipvs::connect()?, Elements::connect()?, Addresses::connect()?);
            Ok(Self { ipvs, elements, addresses, made: BTreeSet::new() })
        };
        connect().map_err(|error| vec![error])
    }

    /// Reads what stands.
    ///
    /// # Errors
    /// When the kernel refuses to list.
    pub fn look(&mut self, config: &Config) -> Result<Look, KernelError> {
        let (mut actual, others) =
            actual::read(&mut self.ipvs, &mut self.elements, standing::marks(config), &self.made)?;
        let addresses = self.addresses.list()?;
        actual.addresses = ours(&addresses);
        Ok(Look { actual, others, timeouts: self.ipvs.timeouts()?, addresses })
    }

    /// What would change at a start; changes nothing.
    ///
    /// # Errors
    /// What is in the way: someone else's service at our VIP and port, ip_vs_ftp on our port, no interface for the VIP.
    pub fn plan(&mut self, config: &Config) -> Result<Plan, Vec<KernelError>> {
        let look = self.look(config).map_err(|error| vec![error])?;
        let overlay = look.drains(config).map_err(|error| vec![error])?;
        let plan = look.plan(config, &overlay)?;
        if plan.absent.is_empty() { Ok(plan) } else { Err(plan.absent) }
    }

    /// Carries a plan out.
    ///
    /// # Errors
    /// What the kernel refused; what was done before that stays.
    pub fn carry_out(&mut self, plan: &Plan) -> Result<(), KernelError> {
        if let Some(rules) = &plan.rules {
            ruleset::apply(rules)?;
        }
        if let Some(timeouts) = &plan.timeouts {
            self.ipvs.set_timeouts(timeouts)?;
        }
        self.made.extend(&plan.wanted);
        apply::changes(&mut self.ipvs, &mut self.addresses, &plan.changes)
    }

    /// Takes away every row that we own. Goes on after an error.
    pub fn flush(&mut self, config: &Config) -> Vec<KernelError> {
        let mut errors = Vec::new();
        // First: a VIP without its services would answer with resets.
        match self.addresses.list() {
            Ok(listed) => {
                errors.extend(ours(&listed).iter().filter_map(|address| self.addresses.delete(address).err()))
            }
            Err(error) => errors.push(error),
        }
        match actual::read(&mut self.ipvs, &mut self.elements, standing::marks(config), &self.made) {
            Ok((state, _)) => {
                for key in state.services.keys() {
                    errors.extend(self.ipvs.delete_service(key).err());
                }
            }
            Err(error) => errors.push(error),
        }
        match self.elements.table_exists() {
            Ok(true) => errors.extend(ruleset::apply(&format!("delete table {TABLE}\n")).err()),
            Ok(false) => {}
            Err(error) => errors.push(error),
        }
        errors
    }
}

impl Look {
    /// The drains that the kernel remembers.
    ///
    /// # Errors
    /// When there are more servers than indexes.
    pub fn drains(&self, config: &Config) -> Result<Overlay, KernelError> {
        Ok(Overlay::standing(config, &self.indexes(config)?, &self.actual))
    }

    fn indexes(&self, config: &Config) -> Result<Indexes, KernelError> {
        index::assign(config, standing::marks(config), &self.actual)
            .map_err(|error| KernelError::Missing { what: error.to_string(), cure: "split the configuration".into() })
    }

    /// What would change.
    ///
    /// # Errors
    /// What is in the way.
    pub fn plan(&self, config: &Config, overlay: &Overlay) -> Result<Plan, Vec<KernelError>> {
        let indexes = self.indexes(config).map_err(|error| vec![error])?;
        let mut desired = standing::desired(config, &indexes, overlay);
        let mut in_the_way = foreign(&desired, &self.others);
        in_the_way.extend(helper(config));
        if !in_the_way.is_empty() {
            return Err(in_the_way);
        }
        let absent = self.addresses(&mut desired);
        let version = Set::once(Name::Version);
        let same = self.actual.elements.get(&version) == desired.elements.get(&version);
        let rules = (!same).then(|| standing::rules(config, &indexes).transaction());
        let leaving = leaving(&self.actual, &desired);
        let wanted = desired.services.keys().copied().collect();
        let timeouts = self.timeouts(config);
        Ok(Plan { changes: diff(&self.actual, &desired), indexes, rules, leaving, timeouts, absent, wanted })
    }
}

impl Look {
    /// Takes out of `desired` the VIPs that someone else has added, and those whose interface does not exist; returns
    /// what to say of these.
    fn addresses(&self, desired: &mut State) -> Vec<KernelError> {
        let mut absent = Vec::new();
        let actual = &self.actual.addresses;
        desired.addresses.retain(|wanted| {
            let Some(index) = addresses::index_of(&wanted.interface) else {
                let tried = Change::AddAddress(wanted.clone()).to_string();
                absent.push(addresses::no_interface(&wanted.interface, &tried));
                return false;
            };
            let stands = self.addresses.iter().any(|there| there.index == index && there.address == wanted.address);
            !stands || actual.contains(wanted)
        });
        absent
    }

    /// The timeouts to set: those of the configuration, if it has any and others are in force.
    fn timeouts(&self, config: &Config) -> Option<Timeouts> {
        let config::Timeouts { tcp, tcp_fin, udp } = *config.kernel.timeouts.as_ref()?;
        let wanted = Timeouts { tcp, tcp_fin, udp };
        (self.timeouts != wanted).then_some(wanted)
    }
}

impl Plan {
    /// Every change in ipvsadm and nft words, without the rules.
    pub fn words(&self) -> impl Iterator<Item = String> {
        let timeouts = self.timeouts.as_ref().map(|Timeouts { tcp, tcp_fin, udp }| {
            format!("ipvsadm --set {} {} {}", tcp.as_secs(), tcp_fin.as_secs(), udp.as_secs())
        });
        timeouts.into_iter().chain(self.changes.iter().map(ToString::to_string))
    }

    /// Whether nothing would change.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_none() && self.timeouts.is_none() && self.changes.is_empty()
    }
}

/// The addresses that we added.
fn ours(listed: &[Listed]) -> BTreeSet<LocalAddress> {
    let ours = listed.iter().filter(|listed| listed.ours);
    let named = ours.filter_map(|listed| {
        Some(LocalAddress { interface: addresses::name_of(listed.index)?, address: listed.address })
    });
    named.collect()
}

/// What stands and is not wanted.
fn leaving(actual: &State, desired: &State) -> BTreeSet<(ServiceKey, SocketAddr)> {
    let destinations =
        actual.services.iter().flat_map(|(key, service)| service.destinations.keys().map(move |to| (*key, *to)));
    let wanted = |key: &ServiceKey, to: &SocketAddr| {
        desired.services.get(key).is_some_and(|service| service.destinations.contains_key(to))
    };
    destinations.filter(|(key, to)| !wanted(key, to)).collect()
}

/// Address services at our VIPs and ports that we did not make.
fn foreign(desired: &State, others: &[ListedService]) -> Vec<KernelError> {
    let at_ours = others.iter().filter_map(|other| match other.service.key {
        ServiceKey::Tcp(address) if desired.services.contains_key(&other.service.key) => Some(address),
        _ => None,
    });
    let conflict = |address| KernelError::Conflict {
        tried: format!("ipvsadm -A -t {address}"),
        holder: "a virtual service is there that ftpdirector did not make".into(),
        cure: format!(
            "take it away (ipvsadm -D -t {address}, or its virtual_server from keepalived.conf) and start again"
        ),
    };
    at_ours.map(conflict).collect()
}

/// `ip_vs_ftp` would read and rewrite the same connections.
fn helper(config: &Config) -> Vec<KernelError> {
    let bound = probe::ip_vs_ftp_ports();
    let ours = config.clusters.iter().flat_map(|cluster| cluster.ports.iter().map(move |port| (cluster, port)));
    let both = ours.filter(|(_, port)| bound.contains(port));
    let conflict = |(cluster, port): (&crate::config::Cluster, &u16)| {
        KernelError::Conflict {
        tried: format!("cluster {}, port {port}", cluster.name),
        holder: "the kernel helper ip_vs_ftp is bound to this port and would rewrite its connections too".into(),
        cure:
            "modprobe -r ip_vs_ftp, and keep it from being loaded: echo blacklist ip_vs_ftp > /etc/modprobe.d/ip_vs_ftp.conf"
                .into(),
    }
    };
    both.map(conflict).collect()
}
