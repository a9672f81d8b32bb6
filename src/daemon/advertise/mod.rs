//! Follows the addresses of interfaces and DNS names that stand in 227s.
//!
//! What is known stands in [`Followed`]; [`DaemonCommand::Advertise`] says that there is something new in it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::config::{Advertise, Config};
use crate::daemon::command::DaemonCommand;
use crate::daemon::repeated::Repeated;
use crate::kernel::KernelError;
use crate::kernel::addresses::{self, AddressChanges, Addresses};
use crate::plan::advertised::Advertised;
use crate::resolver::{Resolved, Resolver};

/// Pause after a question to the name servers that had no answer.
const AGAIN: Duration = Duration::from_secs(2);

/// Bounds of the pause between two questions, whatever the TTL (0 says: do not keep the record).
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Pause between two attempts to listen to rtnetlink.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// The addresses of all sources that are followed, shared with the daemon.
#[derive(Clone, Default)]
pub struct Followed(Arc<Mutex<Advertised>>);

impl Followed {
    /// A copy of what is known now.
    #[must_use]
    pub fn known(&self) -> Advertised {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Advertised> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what a source says into account; whether 227s may be different from now on.
    fn learn(&self, from: &Advertise, found: Result<&[Ipv4Addr], String>) -> bool {
        let mut known = self.lock();
        let before = known.source(from).and_then(|source| source.address);
        if known.learn(from, found) != Some(true) {
            return false;
        }
        let Some(source) = known.source(from) else { return false };
        let now = source.address.map_or_else(|| "the VIP".to_owned(), |address| address.to_string());
        match &source.trouble {
            Some(trouble) => warn!("passive.advertise: {}: {trouble}; {now} is advertised", named(from)),
            None => info!("passive.advertise: {}: {now} is advertised", named(from)),
        }
        source.address != before
    }

    /// Reads the addresses of the interfaces; whether 227s may be different from now on.
    fn look(&self, addresses: &Mutex<Addresses>) -> bool {
        let interfaces: Vec<Advertise> = {
            let known = self.lock();
            let sources = known.sources().map(|(source, _)| source);
            sources.filter(|source| matches!(source, Advertise::Interface(_))).cloned().collect()
        };
        if interfaces.is_empty() {
            return false;
        }
        // Locked until all is learned: an earlier reading must not overwrite a later one.
        let mut addresses = addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = addresses.list();
        let mut changed = false;
        for source in &interfaces {
            let Advertise::Interface(name) = source else { continue };
            let found = match (&listed, addresses::index_of(name)) {
                (Err(error), _) => Err(error.to_string()),
                (Ok(_), None) => Err("there is no such interface".to_owned()),
                (Ok(listed), Some(index)) => {
                    let mut of_it = listed.iter().filter(|there| there.index == index && !there.ours);
                    Ok(of_it
                        .find_map(|there| if let IpAddr::V4(address) = there.address { Some(address) } else { None }))
                }
            };
            changed |= match found {
                Ok(found) => self.learn(source, Ok(found.as_slice())),
                Err(error) => self.learn(source, Err(error)),
            };
        }
        changed
    }
}

/// `interface ppp0`, `dns ftp.example.net`
#[must_use]
pub fn named(source: &Advertise) -> String {
    match source {
        Advertise::Vip => "vip".to_owned(),
        Advertise::Address(address) => address.to_string(),
        Advertise::Interface(name) => format!("interface {name}"),
        Advertise::Dns(name) => format!("dns {name}"),
    }
}

/// What follows the sources: a thread for all interfaces, a task for each name.
pub struct Follower {
    followed: Followed,
    addresses: Arc<Mutex<Addresses>>,
    names: BTreeMap<String, AbortHandle>,
    commands: mpsc::Sender<DaemonCommand>,
    /// Some name was answered, or was not.
    heard: Arc<Notify>,
}

impl Follower {
    /// Starts to listen to the kernel; `commands` is told what is new.
    ///
    /// # Errors
    /// When the kernel refuses a socket or a thread.
    pub fn start(commands: mpsc::Sender<DaemonCommand>) -> Result<Self, KernelError> {
        let followed = Followed::default();
        let (watch, addresses) = (AddressChanges::open()?, Arc::new(Mutex::new(Addresses::connect()?)));
        let (seen, tell, asked) = (followed.clone(), commands.clone(), Arc::clone(&addresses));
        let work = move || follow_interfaces(&seen, watch, &asked, &tell);
        let thread = thread::Builder::new().name("addresses".into()).spawn(work);
        thread.map_err(|error: io::Error| KernelError::io("starting a thread", &error))?;
        Ok(Self { followed, addresses, names: BTreeMap::new(), commands, heard: Arc::default() })
    }

    /// A copy of what is known now.
    #[must_use]
    pub fn followed(&self) -> Followed {
        self.followed.clone()
    }

    /// Follows what this configuration advertises from now on. Interfaces are known at once, names when they are answered.
    pub fn configure(&mut self, config: &Config) {
        self.followed.lock().configure(config);
        self.followed.look(&self.addresses);
        let known = self.followed.known();
        let wanted = |name: &String| known.source(&Advertise::Dns(name.clone())).is_some();
        self.names.retain(|name, task| {
            wanted(name) || {
                task.abort();
                false
            }
        });
        for (source, _) in known.sources() {
            let Advertise::Dns(name) = source else { continue };
            let (commands, heard, followed) = (self.commands.clone(), Arc::clone(&self.heard), self.followed.clone());
            let follow = || tokio::spawn(follow_name(name.clone(), followed, heard, commands)).abort_handle();
            self.names.entry(name.clone()).or_insert_with(follow);
        }
    }

    /// Waits until every name was answered once, or `limit` is over: a restart should not advertise the VIP meanwhile.
    pub async fn first_answers(&self, limit: Duration) {
        let all = async {
            while self.followed.lock().sources().any(|(_, source)| !source.heard) {
                self.heard.notified().await;
            }
        };
        let _ = timeout(limit, all).await;
    }
}

/// Follows the interfaces until the daemon ends.
fn follow_interfaces(
    followed: &Followed,
    mut watch: AddressChanges,
    addresses: &Mutex<Addresses>,
    tell: &mpsc::Sender<DaemonCommand>,
) {
    let mut deaf = Repeated::default();
    while !tell.is_closed() {
        match watch.changed() {
            Ok(true) => {}
            Ok(false) => continue,
            Err(error) => {
                if let Some(kept_back) = deaf.say(Instant::now()) {
                    warn!(%error, kept_back, "address changes may have been missed: subscribing to rtnetlink again");
                }
                watch = loop {
                    thread::sleep(LISTEN_AGAIN);
                    match AddressChanges::open() {
                        Ok(watch) => break watch,
                        Err(_) if tell.is_closed() => return,
                        Err(error) => debug!(%error, "subscribing to rtnetlink failed"),
                    }
                };
            }
        }
        let another = followed.look(addresses).then_some(DaemonCommand::Advertise);
        for command in another.into_iter().chain([DaemonCommand::Addresses]) {
            if tell.blocking_send(command).is_err() {
                return;
            }
        }
    }
}

async fn follow_name(name: String, followed: Followed, heard: Arc<Notify>, tell: mpsc::Sender<DaemonCommand>) {
    let source = Advertise::Dns(name.clone());
    let resolver = Resolver::default();
    loop {
        let (changed, pause) = match resolver.look_up(&name, false).await {
            Ok(Resolved { addresses, ttl }) => {
                let ipv4 = |address| if let IpAddr::V4(address) = address { Some(address) } else { None };
                let addresses: Vec<Ipv4Addr> = addresses.into_iter().filter_map(ipv4).collect();
                (followed.learn(&source, Ok(&addresses)), ttl.clamp(SHORTEST, LONGEST))
            }
            Err(why) => (followed.learn(&source, Err(why)), AGAIN),
        };
        heard.notify_one();
        if changed && tell.send(DaemonCommand::Advertise).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}
