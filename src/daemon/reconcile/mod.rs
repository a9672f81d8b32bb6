//! The kernel's side of a configuration: what must be there first, what is in the way, what would change.

mod exchange;
mod flush;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use tracing::{info, warn};

use flush::take_away;
pub use flush::{Flushed, flush};

use crate::config::{Answers, Config, Parsed, ResolvedFile, ServerByName};
use crate::kernel::addresses::{self, Addresses, ListedAddress};
use crate::kernel::fingerprint::{self, Fingerprint};
use crate::kernel::ipvs::Ipvs;
use crate::kernel::nftables::{ElementChange, Elements, NftElement, Part, key};
use crate::kernel::read_state::{self, TableDump};
use crate::kernel::{KernelError, apply, conntrack, listening, nft_command, requirements};
use crate::lvs::{ForwardingMethod, ServiceKey, Timeouts};
use crate::plan::availability::Availability;
use crate::plan::carry_out::{self, Hands};
use crate::plan::exchange::Exchanged;
use crate::plan::mark_index::{self, Former, TooMany};
use crate::plan::quiescing::{self, Notes};
use crate::plan::reconcile::{self, Blocked, Obstacle, Plan, Seen, SeenTable, TableState};
use crate::resolver;
use crate::state::{Change, LocalAddress, Service, State};

/// Connections to IPVS and nf_tables.
pub struct Reconciler {
    ipvs: Ipvs,
    elements: Elements,
    addresses: Addresses,
    /// The services that are known to be ours, also when another program flushes the table that says so.
    made: BTreeSet<ServiceKey>,
    /// Our table when it was last read.
    table: Option<TableDump>,
    /// The rules as they stood when they were right.
    right: Option<Fingerprint>,
    /// The rules are ours, and the set `version` does not say so yet.
    unstamped: bool,
    /// Dynamic rows went with the table, or with a set, and the packet thread has not been told.
    lost: bool,
}

/// The kernel's rows and what is in their way, read once.
pub struct Look {
    actual: State,
    /// Address services of others.
    others: Vec<SocketAddr>,
    timeouts: Timeouts,
    /// All addresses of the machine, whichever program added them.
    addresses: Vec<ListedAddress>,
    /// Whether the kernel keeps who added an address, where the configuration asks for that.
    keeps_who_added: bool,
    /// Table `inet ftpdirector` as the kernel has it.
    table: TableDump,
    right: Option<Fingerprint>,
    unstamped: bool,
}

impl Reconciler {
    /// Connects, after a look at whether the machine has all that this configuration needs.
    ///
    /// # Errors
    /// Everything that is missing.
    pub fn connect(config: &Config) -> Result<Self, Vec<KernelError>> {
        let methods: Vec<_> = config.clusters.iter().map(|cluster| cluster.forwarding).collect();
        let lacks = requirements::lacks(&methods);
        if !lacks.is_empty() {
            return Err(lacks);
        }
        let connect = || Ok(Self::of(Ipvs::connect()?, Elements::connect()?, Addresses::connect()?));
        connect().map_err(|error| vec![error])
    }

    const fn of(ipvs: Ipvs, elements: Elements, addresses: Addresses) -> Self {
        Self {
            ipvs,
            elements,
            addresses,
            made: BTreeSet::new(),
            table: None,
            right: None,
            unstamped: false,
            lost: false,
        }
    }

    /// Reads services, table, addresses and timeouts, and stamps the rules first if that is still to do.
    ///
    /// # Errors
    /// When the kernel refuses to list.
    pub fn look(&mut self, config: &Config) -> Result<Look, KernelError> {
        if self.unstamped {
            self.stamp()?;
        }
        let table = read_state::table(&mut self.elements, self.table.take())?;
        let (mut actual, others) = read_state::read(&mut self.ipvs, &table, mark_index::marks(config), &self.made)?;
        self.made.extend(actual.services.keys());
        let adds = config.clusters.iter().any(|cluster| cluster.vip_interface.is_some());
        let keeps_who_added = !adds || self.addresses.keeps_who_added()?;
        let addresses = self.addresses.list()?;
        actual.addresses = addresses::own(&addresses);
        let others = others.iter().filter_map(|other| match other.service.key {
            ServiceKey::Tcp(address) => Some(address),
            ServiceKey::Mark { .. } => None,
        });
        let others = others.collect();
        self.table = Some(table.clone());
        let (right, unstamped) = (self.right.clone(), self.unstamped);
        let timeouts = self.ipvs.timeouts()?;
        Ok(Look { actual, others, timeouts, addresses, keeps_who_added, table, right, unstamped })
    }

    /// Whether our table is gone: `nft flush ruleset`, mostly. What cannot be asked now is for the next look to say.
    pub fn table_is_gone(&mut self) -> bool {
        self.elements.table_exists().is_ok_and(|there| !there)
    }

    /// What would change at a start, and what became of the servers that the file has by name; changes nothing.
    ///
    /// # Errors
    /// What is in the way: someone else's service at our VIP and port, ip_vs_ftp on our port, no interface for the VIP, a real
    /// server that is this machine.
    pub fn plan(&mut self, file: &Parsed, answers: &Answers) -> Result<(Plan, Vec<ServerByName>), Vec<KernelError>> {
        let look = self.look(&file.config).map_err(|error| vec![error])?;
        let ResolvedFile { config, servers } = resolver::resolve(file, answers, None, &look.served());
        look.other_machines(&config)?;
        let inforce = look.inforce(&config, None);
        let availability = look.availability(&inforce).map_err(|error| vec![error])?;
        let mut plan = look.plan(&inforce, &availability, None)?;
        if !plan.absent.is_empty() {
            return Err(missing(&plan.absent));
        }
        plan.notes = look.notes(&config, &plan);
        // What is refused altogether is shown as it would be tried.
        if let Ok(Some((rules, exchanged))) =
            exchange::write(&mut self.elements, self.table.as_ref(), &plan, nft_command::check)
        {
            plan.notes.quiescing.insert(exchanged.to_string());
            plan.changes.retain(|change| !exchanged.fills(change));
            plan.rules = Some(rules);
        }
        Ok((plan, servers))
    }

    /// Carries a plan out.
    ///
    /// # Errors
    /// What the kernel refused; what was done before that stays.
    pub fn carry_out(&mut self, plan: &Plan) -> Result<(), KernelError> {
        carry_out::carry_out(self, plan)
    }

    /// Whether dynamic rows were lost since this was last asked.
    pub const fn lost_rows(&mut self) -> bool {
        std::mem::replace(&mut self.lost, false)
    }

    /// Takes away every row that we own. Goes on after an error.
    pub fn flush(&mut self, config: &Config) -> Vec<KernelError> {
        take_away(Some(&mut self.ipvs), Some(&mut self.elements), config, &self.made).errors
    }
}

impl Hands for Reconciler {
    type Error = KernelError;

    fn rules(&mut self, plan: &Plan) -> Result<Option<Exchanged>, KernelError> {
        let written = exchange::write(&mut self.elements, self.table.as_ref(), plan, nft_command::apply)?;
        let exchanged = written.map(|(_, exchanged)| exchanged);
        match &exchanged {
            Some(exchanged) if exchanged.lost.is_empty() => info!("{exchanged}"),
            Some(exchanged) => warn!("{exchanged}"),
            None => {}
        }
        self.unstamped = true;
        Ok(exchanged)
    }

    fn rows_are_lost(&mut self) {
        self.lost = true;
    }

    /// So that a later look knows them. While the ruleset changes too fast to be listed, the next look does.
    fn stamp(&mut self) -> Result<(), KernelError> {
        let Some(print) = fingerprint::read(&mut self.elements)? else { return Ok(()) };
        let row = NftElement { set: "version", key: key(&[Part::Mark(print.hash())]), data: None, timeout: None };
        self.elements.apply(&[ElementChange::Add(row)]).into_iter().collect::<Result<(), _>>()?;
        (self.right, self.unstamped) = (Some(print), false);
        Ok(())
    }

    fn rules_are_right(&mut self) {
        if self.right.is_none() {
            self.right = self.table.as_ref().and_then(|table| table.rules.clone());
        }
    }

    fn timeouts(&mut self, wanted: Timeouts) -> Result<(), KernelError> {
        self.ipvs.set_timeouts(&wanted)
    }

    fn claim(&mut self, services: &BTreeSet<ServiceKey>) {
        self.made.extend(services);
    }

    fn disclaim(&mut self, service: &ServiceKey) {
        self.made.remove(service);
    }

    fn transaction(&mut self, text: &str) -> Result<(), KernelError> {
        nft_command::apply(text)
    }

    fn change(&mut self, change: &Change) -> Result<(), KernelError> {
        apply::change(&mut self.ipvs, &mut self.addresses, change)
    }

    fn forget_calls(&mut self, plan: &Plan) {
        if !plan.config.clusters.iter().any(|cluster| cluster.forwarding == ForwardingMethod::Nat) {
            return;
        }
        match conntrack::forget_unanswered(|source| plan.calls(source.ip())) {
            Ok(0) => {}
            Ok(count) => info!(count, "calls of servers that nothing had translated are forgotten: conntrack -D"),
            Err(error) => warn!(%error, "active transfers to ports that servers called meanwhile fail for two minutes"),
        }
    }
}

impl Look {
    /// The configuration in force: `config` with what quiesces. That is what `before` named (`None`: what the kernel
    /// remembers) and still has connections.
    #[must_use]
    pub fn inforce(&self, config: &Config, before: Option<&Config>) -> Config {
        let remembered = before.is_none().then(|| quiescing::remembered(config, &self.actual));
        quiescing::with(config, before.or(remembered.as_ref()).unwrap_or(config), &self.actual)
    }

    /// The real servers that get new sessions.
    #[must_use]
    pub fn served(&self) -> BTreeSet<IpAddr> {
        // The services of data connections have those that drain too.
        let control = |(key, service): &(&ServiceKey, &Service)| {
            matches!(key, ServiceKey::Tcp(_)) || service.service.persistence.is_some()
        };
        let of_control = self.actual.services.iter().filter(control);
        let destinations = of_control.flat_map(|(_, service)| service.destinations.values()).map(|of| &of.destination);
        destinations.filter(|to| to.weight > 0).map(|to| to.address.ip()).collect()
    }

    /// Drains and failures that the kernel remembers.
    ///
    /// # Errors
    /// When there are more servers than indexes.
    pub fn availability(&self, config: &Config) -> Result<Availability, KernelError> {
        let indexes = mark_index::assign(config, mark_index::marks(config), &self.actual).map_err(too_many)?;
        Ok(Availability::standing(config, &indexes, &self.actual))
    }

    /// What a person should know before `plan` for `file` is carried out.
    #[must_use]
    pub fn notes(&self, file: &Config, plan: &Plan) -> Notes {
        quiescing::notes(file, &plan.config, &plan.indexes, &self.actual)
    }

    /// The plan from this look to a configuration, after the one that is in force.
    ///
    /// # Errors
    /// What is in the way.
    pub fn plan(
        &self,
        config: &Config,
        availability: &Availability,
        former: Option<Former<'_>>,
    ) -> Result<Plan, Vec<KernelError>> {
        let seen = Seen { former, ..self.seen(config) };
        let mut plan = Plan::new(config, availability, &seen).map_err(errors)?;
        if plan.table == TableState::Edited
            && let Some((right, now)) = self.right.as_ref().zip(self.table.rules.as_ref())
        {
            let edited = right.differences(now);
            plan.edited = if edited.is_empty() { plan.edited } else { edited };
        }
        Ok(plan)
    }

    /// Whether the real servers that `file` names are others' addresses.
    ///
    /// # Errors
    /// Those that are this machine's own.
    pub fn other_machines(&self, file: &Config) -> Result<(), Vec<KernelError>> {
        let own: BTreeSet<IpAddr> = self.addresses.iter().map(|listed| listed.address).collect();
        let obstacles = reconcile::own_servers(file, &own);
        if obstacles.is_empty() { Ok(()) } else { Err(errors(Blocked::By(obstacles))) }
    }

    /// What was read, and the machine as far as `config` asks for it.
    fn seen(&self, config: &Config) -> Seen<'_> {
        let TableDump { there, version, rules, sets, .. } = &self.table;
        let wanted = config.clusters.iter().filter_map(|cluster| cluster.vip_interface.as_ref());
        let interfaces = wanted.filter_map(|interface| {
            let index = addresses::index_of(interface)?;
            let there = self.addresses.iter().filter(|listed| listed.index == index);
            Some((interface.clone(), there.map(|listed| listed.address).collect()))
        });
        Seen {
            actual: &self.actual,
            table: SeenTable {
                there: *there,
                versions: version.clone(),
                fingerprint: rules.as_ref().map(Fingerprint::hash),
                unstamped: self.unstamped,
                sets: exchange::names(sets),
            },
            others: &self.others,
            listening: listening::ports().unwrap_or_default(),
            helper: requirements::ip_vs_ftp_ports().unwrap_or_default(),
            timeouts: self.timeouts,
            interfaces: interfaces.collect::<BTreeMap<_, _>>(),
            keeps_who_added: self.keeps_who_added,
            former: None,
        }
    }
}

/// The obstacles, in the words of the kernel's other errors.
fn errors(blocked: Blocked) -> Vec<KernelError> {
    match blocked {
        Blocked::TooMany(error) => vec![too_many(error)],
        Blocked::By(obstacles) => {
            let conflict = |Obstacle { tried, holder, cure }| KernelError::Conflict { tried, holder, cure };
            obstacles.into_iter().map(conflict).collect()
        }
    }
}

fn too_many(error: TooMany) -> KernelError {
    KernelError::Missing { what: error.to_string(), cure: "split the configuration".into() }
}

/// What to say of VIPs whose interface does not exist.
#[must_use]
pub fn missing(absent: &[LocalAddress]) -> Vec<KernelError> {
    let error = |wanted: &LocalAddress| {
        addresses::no_interface(&wanted.interface, &Change::AddAddress(wanted.clone()).to_string())
    };
    absent.iter().map(error).collect()
}
