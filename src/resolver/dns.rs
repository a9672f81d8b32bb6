//! Questions to the name servers of `/etc/resolv.conf`: the addresses of a name, and for how long they hold.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use domain::base::Name;
use domain::base::iana::{Class, Rcode, Rtype};
use domain::rdata::{A, Aaaa, AllRecordData};
use domain::resolv::resolver::SearchNames as _;
use domain::resolv::stub::{Answer, StubResolver};
use tokio::time::timeout;

use crate::config::Host;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long all name servers together may take.
const LIMIT: Duration = Duration::from_secs(15);

/// Of more addresses than these of one name the lowest are taken: who answers is a stranger.
const ADDRESSES: usize = 32;

/// The addresses of a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The lowest first: their order in an answer means nothing. At least one.
    pub addresses: Vec<IpAddr>,
    /// The shortest TTL on the way to them.
    pub ttl: Duration,
}

/// Asks the name servers; follows `/etc/resolv.conf` when it changes. Clones share what they know.
#[derive(Clone, Default)]
pub struct Resolver(Arc<Mutex<Stub>>);

struct Stub {
    stub: Arc<StubResolver>,
    /// When `/etc/resolv.conf` was last changed, as far as this resolver has read it.
    since: Option<SystemTime>,
}

impl Default for Stub {
    fn default() -> Self {
        Self { since: changed(), stub: Arc::default() }
    }
}

impl Resolver {
    /// Looks a name up, as it is written: without search domains.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn look_up(&self, name: &str, ipv6: bool) -> Result<Resolved, String> {
        let (stub, names) = (self.stub(), [name.to_owned()]);
        timeout(LIMIT, first(&stub, &names, ipv6)).await.unwrap_or_else(|_| Err(late()))
    }

    /// Looks the name of a host up: one without a dot in each domain of `search` first.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn search(&self, Host { name, ipv6 }: &Host) -> Result<Resolved, String> {
        let stub = self.stub();
        let domains =
            stub.search_iter().map(|domain| domain.to_string()).filter(|domain| domain != "." && !domain.is_empty());
        let mut names: Vec<String> = match name.contains('.') {
            true => Vec::new(),
            false => domains.map(|domain| format!("{name}.{domain}")).collect(),
        };
        names.push(name.clone());
        timeout(LIMIT, first(&stub, &names, *ipv6)).await.unwrap_or_else(|_| Err(late()))
    }

    fn stub(&self) -> Arc<StubResolver> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.since != changed() {
            *known = Stub::default();
        }
        Arc::clone(&known.stub)
    }
}

fn late() -> String {
    format!("no answer within {} s", LIMIT.as_secs())
}

/// The addresses of the first of these names that has some; else what was said of the last.
async fn first(stub: &StubResolver, names: &[String], ipv6: bool) -> Result<Resolved, String> {
    let mut found = Err("no name".to_owned());
    for name in names {
        found = ask(stub, name, ipv6).await;
        if found.is_ok() {
            break;
        }
    }
    found
}

async fn ask(stub: &StubResolver, name: &str, ipv6: bool) -> Result<Resolved, String> {
    let question = Name::<Vec<u8>>::from_str(name).map_err(|error| error.to_string())?;
    let sort = if ipv6 { Rtype::AAAA } else { Rtype::A };
    let answer = stub.query((question, sort, Class::IN)).await.map_err(|error| error.to_string())?;
    read(&answer, ipv6)
}

fn read(answer: &Answer, ipv6: bool) -> Result<Resolved, String> {
    match answer.header().rcode() {
        Rcode::NOERROR => {}
        rcode => return Err(rcode.to_string()),
    }
    let garbled = |_| "the DNS answer cannot be parsed".to_owned();
    let (mut addresses, mut ttl) = (Vec::<IpAddr>::new(), Duration::MAX);
    let records = answer.answer().map_err(garbled)?;
    for record in records.limit_to::<AllRecordData<_, _>>() {
        let record = record.map_err(garbled)?;
        match record.data() {
            AllRecordData::A(address) if !ipv6 => addresses.push(A::addr(address).into()),
            AllRecordData::Aaaa(address) if ipv6 => addresses.push(Aaaa::addr(address).into()),
            AllRecordData::Cname(_) => {}
            _ => continue,
        }
        ttl = ttl.min(record.ttl().into_duration());
    }
    addresses.sort_unstable();
    addresses.dedup();
    addresses.truncate(ADDRESSES);
    let none = || Err(format!("no {} address", if ipv6 { "IPv6" } else { "IPv4" }));
    if addresses.is_empty() { none() } else { Ok(Resolved { addresses, ttl }) }
}

fn changed() -> Option<SystemTime> {
    std::fs::metadata(RESOLV_CONF).ok()?.modified().ok()
}
