//! The kernel's side of a configuration: what must be there first, what is in the way, what would change.

mod exchange;
mod flush;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tracing::{info, warn};

use exchange::{Desired, Exchanged};
pub use flush::flush;
use flush::take_away;

use crate::config::{self, Config};
use crate::kernel::actual::{self, Table};
use crate::kernel::addresses::{self, Addresses, Listed};
use crate::kernel::elements::{ElementChange, Elements, Part, Row, key};
use crate::kernel::ipvs::{Ipvs, ListedService, Timeouts};
use crate::kernel::rules::{self, Print};
use crate::kernel::{KernelError, apply, listening, probe, ruleset};
use crate::lvs::ServiceKey;
use crate::plan::availability::Availability;
use crate::plan::mark_index::{self, Indexes};
use crate::plan::quiescing::Notes;
use crate::plan::{desired, quiescing};
use crate::state::{Change, LocalAddress, Rules, State, diff};

/// Connections to IPVS and nf_tables.
pub struct Kernel {
    ipvs: Ipvs,
    elements: Elements,
    addresses: Addresses,
    /// What is known to be ours, also when someone flushes the table that says so.
    made: BTreeSet<ServiceKey>,
    /// Our table when it was last read.
    table: Option<Table>,
    /// The rules as they stood when they were right.
    right: Option<Print>,
    /// The rules are ours, and `version` does not say so yet.
    unstamped: bool,
}

/// What stands, read once.
pub struct Look {
    actual: State,
    others: Vec<ListedService>,
    timeouts: Timeouts,
    /// Everybody's.
    addresses: Vec<Listed>,
    /// Our table.
    table: Table,
    right: Option<Print>,
    unstamped: bool,
}

/// What a configuration asks of this kernel.
pub struct Plan {
    /// Which (cluster, VIP, server) has which index.
    pub indexes: Indexes,
    /// The configuration with what quiesces: the indexes speak of this one.
    pub config: Config,
    /// What a human should know before this is carried out.
    pub notes: Notes,
    /// The rules, when others (or none) stand in the kernel.
    pub rules: Option<String>,
    /// How those that stand differ from ours.
    pub edited: Vec<String>,
    /// Whether the dynamic rows are gone, with the table.
    pub flushed: bool,
    /// Services, real servers and elements.
    pub changes: Vec<Change>,
    /// IPVS's timeouts, where the configuration wants others: `ipvsadm --set`.
    pub timeouts: Option<Timeouts>,
    /// Services of others at our VIPs: IPVS's, and sockets that listen.
    pub services: Vec<SocketAddr>,
    /// Interfaces of `vip_interface` that do not exist: their VIPs are not among the changes.
    pub absent: Vec<LocalAddress>,
    /// The services that should stand.
    wanted: BTreeSet<ServiceKey>,
    /// What the rules are made of, for when the kernel refuses them because a set stands that is declared otherwise.
    ours: Option<(Rules, Desired)>,
    /// Services and real servers that leave when their last connection is gone: their deletion is no drift.
    pub quiescing: BTreeSet<(ServiceKey, SocketAddr)>,
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
        let connect = || Ok(Self::of(Ipvs::connect()?, Elements::connect()?, Addresses::connect()?));
        connect().map_err(|error| vec![error])
    }

    const fn of(ipvs: Ipvs, elements: Elements, addresses: Addresses) -> Self {
        Self { ipvs, elements, addresses, made: BTreeSet::new(), table: None, right: None, unstamped: false }
    }

    /// Reads what stands.
    ///
    /// # Errors
    /// When the kernel refuses to list.
    pub fn look(&mut self, config: &Config) -> Result<Look, KernelError> {
        if self.unstamped {
            self.stamp()?;
        }
        let table = actual::table(&mut self.elements, self.table.take())?;
        let (mut actual, others) = actual::read(&mut self.ipvs, &table, mark_index::marks(config), &self.made)?;
        self.made.extend(actual.services.keys());
        let addresses = self.addresses.list()?;
        actual.addresses = ours(&addresses);
        self.table = Some(table.clone());
        let (right, unstamped) = (self.right.clone(), self.unstamped);
        Ok(Look { actual, others, timeouts: self.ipvs.timeouts()?, addresses, table, right, unstamped })
    }

    /// What would change at a start; changes nothing.
    ///
    /// # Errors
    /// What is in the way: someone else's service at our VIP and port, ip_vs_ftp on our port, no interface for the VIP.
    pub fn plan(&mut self, config: &Config) -> Result<Plan, Vec<KernelError>> {
        let look = self.look(config).map_err(|error| vec![error])?;
        let inforce = look.inforce(config, None);
        let availability = look.availability(&inforce).map_err(|error| vec![error])?;
        let mut plan = look.plan(&inforce, &availability)?;
        if !plan.absent.is_empty() {
            return Err(missing(&plan.absent));
        }
        plan.notes = look.notes(config, &plan);
        // What is refused altogether is shown as it would be tried.
        if let Ok(Some((rules, exchanged))) = self.write(&plan, ruleset::check) {
            plan.notes.quiescing.insert(exchanged.to_string());
            plan.changes.retain(|change| !exchanged.fills(change));
            plan.rules = Some(rules);
        }
        Ok(plan)
    }

    /// Carries a plan out.
    ///
    /// # Errors
    /// What the kernel refused; what was done before that stays.
    pub fn carry_out(&mut self, plan: &Plan) -> Result<Option<Exchanged>, KernelError> {
        let mut exchanged = None;
        if plan.rules.is_some() {
            exchanged = self.write(plan, ruleset::apply)?.map(|(_, exchanged)| exchanged);
            match &exchanged {
                Some(exchanged) if exchanged.lost.is_empty() => info!("{exchanged}"),
                Some(exchanged) => warn!("{exchanged}"),
                None => {}
            }
            self.unstamped = true;
            self.stamp()?;
        } else if self.right.is_none() {
            self.right = self.table.as_ref().and_then(|table| table.rules.clone());
        }
        if let Some(timeouts) = &plan.timeouts {
            self.ipvs.set_timeouts(timeouts)?;
        }
        self.made.extend(&plan.wanted);
        let fills = |change: &Change| exchanged.as_ref().is_some_and(|exchanged| exchanged.fills(change));
        let changes: Vec<_> = plan.changes.iter().filter(|change| !fills(change)).cloned().collect();
        apply::changes(&mut self.ipvs, &mut self.addresses, &changes)?;
        for change in &plan.changes {
            if let Change::DeleteService(key) = change {
                self.made.remove(key);
            }
        }
        Ok(exchanged)
    }

    /// Writes down what the kernel makes of our rules, so that a later look knows them. While the ruleset changes too fast to
    /// be listed, the next look does.
    fn stamp(&mut self) -> Result<(), KernelError> {
        let Some(print) = rules::read(&mut self.elements)? else { return Ok(()) };
        let row = Row { set: "version", key: key(&[Part::Mark(print.hash())]), data: None, timeout: None };
        self.elements.apply(&[ElementChange::Add(row)]).into_iter().collect::<Result<(), _>>()?;
        (self.right, self.unstamped) = (Some(print), false);
        Ok(())
    }

    /// Takes away every row that we own. Goes on after an error.
    pub fn flush(&mut self, config: &Config) -> Vec<KernelError> {
        take_away(Some(&mut self.ipvs), Some(&mut self.elements), config, &self.made)
    }
}

impl Look {
    /// The configuration with what quiesces: what `before` named (none: what the kernel remembers) and still has
    /// connections.
    #[must_use]
    pub fn inforce(&self, config: &Config, before: Option<&Config>) -> Config {
        let remembered = before.is_none().then(|| quiescing::remembered(config, &self.actual));
        quiescing::with(config, before.or(remembered.as_ref()).unwrap_or(config), &self.actual)
    }

    /// Drains and failures that the kernel remembers.
    ///
    /// # Errors
    /// When there are more servers than indexes.
    pub fn availability(&self, config: &Config) -> Result<Availability, KernelError> {
        Ok(Availability::standing(config, &self.indexes(config)?, &self.actual))
    }

    /// What a human should know before `plan` for `file` is carried out.
    #[must_use]
    pub fn notes(&self, file: &Config, plan: &Plan) -> Notes {
        quiescing::notes(file, &plan.config, &plan.indexes, &self.actual)
    }

    fn indexes(&self, config: &Config) -> Result<Indexes, KernelError> {
        mark_index::assign(config, mark_index::marks(config), &self.actual)
            .map_err(|error| KernelError::Missing { what: error.to_string(), cure: "split the configuration".into() })
    }

    /// What would change.
    ///
    /// # Errors
    /// What is in the way.
    pub fn plan(&self, config: &Config, availability: &Availability) -> Result<Plan, Vec<KernelError>> {
        let indexes = self.indexes(config).map_err(|error| vec![error])?;
        let mut desired = desired::rows(config, &indexes, availability);
        let mut in_the_way = foreign(&desired, &self.others);
        in_the_way.extend(helper(config));
        if !in_the_way.is_empty() {
            return Err(in_the_way);
        }
        let absent = self.addresses(&mut desired);
        let ours = desired::rules(config, &indexes);
        let (same, edited) = self.rules(ours.version().0);
        let around = exchange::around(&self.table.sets, &desired.elements);
        let rules = (!same).then(|| ours.exchange(&around.exchange));
        let quiescing = quiescing(&self.actual, &desired);
        let wanted = desired.services.keys().copied().collect();
        let timeouts = self.timeouts(config);
        let mut changes = diff(&self.actual, &desired);
        changes.retain(|change| same || !around.fills(change));
        let (config, notes, flushed) = (config.clone(), Notes::default(), !self.table.there);
        let services = services(&config, &self.others);
        let ours = (!same).then_some((ours, desired.elements));
        Ok(Plan {
            config,
            notes,
            changes,
            indexes,
            rules,
            edited,
            flushed,
            quiescing,
            timeouts,
            services,
            absent,
            wanted,
            ours,
        })
    }

    /// Whether the rules of this version stand as they were written, and what is different.
    fn rules(&self, version: u32) -> (bool, Vec<String>) {
        let Table { version: written, rules, there, .. } = &self.table;
        if !there {
            return (false, vec!["the table is gone".into()]);
        }
        if !written.contains(&version) {
            return (false, vec!["they are of another version".into()]);
        }
        let Some(rules) = rules else { return (true, Vec::new()) };
        if self.unstamped || *written == BTreeSet::from([version, rules.hash()]) {
            return (true, Vec::new());
        }
        let edited = self.right.as_ref().map(|right| right.differences(rules)).filter(|edited| !edited.is_empty());
        (false, edited.unwrap_or_else(|| vec!["not as they were written".into()]))
    }
}

impl Look {
    /// Takes out of `desired` the VIPs that someone else has added, and those whose interface does not exist; returns
    /// these.
    fn addresses(&self, desired: &mut State) -> Vec<LocalAddress> {
        let mut absent = Vec::new();
        let actual = &self.actual.addresses;
        desired.addresses.retain(|wanted| {
            let Some(index) = addresses::index_of(&wanted.interface) else {
                absent.push(wanted.clone());
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

/// What to say of VIPs whose interface does not exist.
#[must_use]
pub fn missing(absent: &[LocalAddress]) -> Vec<KernelError> {
    let error = |wanted: &LocalAddress| {
        addresses::no_interface(&wanted.interface, &Change::AddAddress(wanted.clone()).to_string())
    };
    absent.iter().map(error).collect()
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
fn quiescing(actual: &State, desired: &State) -> BTreeSet<(ServiceKey, SocketAddr)> {
    let destinations =
        actual.services.iter().flat_map(|(key, service)| service.destinations.keys().map(move |to| (*key, *to)));
    let wanted = |key: &ServiceKey, to: &SocketAddr| {
        desired.services.get(key).is_some_and(|service| service.destinations.contains_key(to))
    };
    destinations.filter(|(key, to)| !wanted(key, to)).collect()
}

/// Who else takes connections at our VIPs.
fn services(config: &Config, others: &[ListedService]) -> Vec<SocketAddr> {
    let vips: BTreeSet<_> = config.clusters.iter().flat_map(|cluster| &cluster.vips).copied().collect();
    let of_ipvs = others.iter().filter_map(|other| match other.service.key {
        ServiceKey::Tcp(address) => Some(address),
        ServiceKey::Mark { .. } => None,
    });
    let all = of_ipvs.chain(listening::ports());
    let ours: BTreeSet<_> = all.filter(|&at| vips.iter().any(|&vip| listening::serves(at, vip))).collect();
    ours.into_iter().collect()
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
