//! Names → addresses: `/etc/hosts` first, then the name servers of `/etc/resolv.conf`.
//!
//! Who answers is a stranger: what may be done with an answer, `config::ByName` and `plan::advertised` decide.

mod dns;
mod hosts;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub use dns::{Resolved, Resolver};

use crate::config::{Answers, Config, Ground, Host, Parsed, ResolvedFile};
use crate::kernel::raw::is_local;

/// How many names are looked up at once.
pub const AT_ONCE: usize = 16;

/// For how long an entry of `/etc/hosts` holds: reading a file costs little.
const HOSTS: Duration = Duration::ZERO;

/// Looks the name of a host up: in `/etc/hosts`, then in the DNS.
///
/// # Errors
/// Why there is no address.
pub async fn host(resolver: &Resolver, host: &Host) -> Result<Resolved, String> {
    let addresses = hosts::look_up(host);
    if addresses.is_empty() { resolver.search(host).await } else { Ok(Resolved { addresses, ttl: HOSTS }) }
}

/// Looks all of these names up, for at most `limit`. Not for the daemon: it blocks, and has a runtime of its own.
#[must_use]
pub fn all(hosts: &BTreeSet<Host>, limit: Duration) -> Answers {
    let late = || Err(format!("no answer within {} s", limit.as_secs()));
    let mut answers: Answers = hosts.iter().map(|host| (host.clone(), late())).collect();
    if hosts.is_empty() {
        return answers;
    }
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            answers.values_mut().for_each(|answer| *answer = Err(error.to_string()));
            return answers;
        }
    };
    runtime.block_on(async {
        let (resolver, places) = (Resolver::default(), Arc::new(Semaphore::new(AT_ONCE)));
        let mut asked = JoinSet::new();
        for name in hosts.iter().cloned() {
            let (resolver, places) = (resolver.clone(), Arc::clone(&places));
            asked.spawn(async move {
                let _place = places.acquire().await;
                let found = host(&resolver, &name).await;
                (name, found.map(|found| found.addresses))
            });
        }
        let each = async {
            while let Some(told) = asked.join_next().await {
                answers.extend(told);
            }
        };
        let _ = timeout(limit, each).await;
    });
    // A question that is under way is nobody's any more.
    runtime.shutdown_background();
    answers
}

/// What a file says with the addresses that its names have by these answers; `standing` and `served`: see [`Ground`].
#[must_use]
pub fn resolve(file: &Parsed, answers: &Answers, standing: Option<&Config>, served: &BTreeSet<IpAddr>) -> ResolvedFile {
    let all: BTreeSet<IpAddr> = answers.values().flatten().flatten().copied().collect();
    let own = all.into_iter().filter(|&address| is_local(address)).collect();
    file.by_name.resolve(&file.config, &Ground { answers, standing, served, own: &own })
}
