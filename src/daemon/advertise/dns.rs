//! One question to the name servers of `/etc/resolv.conf`: the IPv4 addresses of a name, and for how long they hold.

use std::net::Ipv4Addr;
use std::str::FromStr as _;
use std::time::{Duration, SystemTime};

use domain::base::Name;
use domain::base::iana::{Class, Rcode, Rtype};
use domain::rdata::{A, AllRecordData};
use domain::resolv::stub::{Answer, StubResolver};
use tokio::time::timeout;

const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How long all name servers together may take.
const LIMIT: Duration = Duration::from_secs(15);

/// What the name servers say.
#[derive(Debug)]
pub struct Resolved {
    /// The addresses, the lowest first: their order in an answer means nothing.
    pub addresses: Vec<Ipv4Addr>,
    /// The shortest TTL on the way to them.
    pub ttl: Duration,
}

/// Asks the name servers; follows `/etc/resolv.conf` when it changes.
pub struct Resolver {
    stub: StubResolver,
    /// When `/etc/resolv.conf` was last changed, as far as this resolver has read it.
    since: Option<SystemTime>,
}

impl Resolver {
    /// A resolver that asks the name servers of `/etc/resolv.conf`.
    pub fn new() -> Self {
        Self { since: changed(), stub: StubResolver::new() }
    }

    /// Looks a name up, as it is written: without search domains.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn look_up(&mut self, name: &str) -> Result<Resolved, String> {
        let changed = changed();
        if self.since != changed {
            (self.stub, self.since) = (StubResolver::new(), changed);
        }
        let question = Name::<Vec<u8>>::from_str(name).map_err(|error| error.to_string())?;
        match timeout(LIMIT, self.stub.query((question, Rtype::A, Class::IN))).await {
            Ok(Ok(answer)) => read(&answer),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
        }
    }
}

fn read(answer: &Answer) -> Result<Resolved, String> {
    match answer.header().rcode() {
        Rcode::NOERROR => {}
        rcode => return Err(rcode.to_string()),
    }
    let garbled = |_| "the DNS answer cannot be parsed".to_owned();
    let (mut addresses, mut ttl) = (Vec::new(), Duration::MAX);
    let records = answer.answer().map_err(garbled)?;
    for record in records.limit_to::<AllRecordData<_, _>>() {
        let record = record.map_err(garbled)?;
        match record.data() {
            AllRecordData::A(address) => addresses.push(A::addr(address)),
            AllRecordData::Cname(_) => {}
            _ => continue,
        }
        ttl = ttl.min(record.ttl().into_duration());
    }
    addresses.sort_unstable();
    if addresses.is_empty() { Err("no IPv4 address".to_owned()) } else { Ok(Resolved { addresses, ttl }) }
}

fn changed() -> Option<SystemTime> {
    std::fs::metadata(RESOLV_CONF).ok()?.modified().ok()
}
