//! What the sources of advertised addresses say at present, beside the file.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::config::unfit;
use crate::config::{Advertise, Config};

/// What is known of each source that changes: an interface, or a DNS name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertised {
    sources: BTreeMap<Advertise, AdvertiseSource>,
}

/// What is known of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdvertiseSource {
    /// The last address that it had; `None`: it had none so far, and the VIP is advertised.
    pub address: Option<Ipv4Addr>,
    /// Why the source has no address at present.
    pub trouble: Option<String>,
    /// Whether the source was ever asked.
    pub heard: bool,
}

impl Advertised {
    /// Sources of this configuration; what is known of others is forgotten.
    pub fn configure(&mut self, config: &Config) {
        let wanted = config.clusters.iter().map(|cluster| &cluster.advertise);
        let follows = wanted.filter(|source| matches!(source, Advertise::Interface(_) | Advertise::Dns(_)));
        let old = std::mem::take(&mut self.sources);
        self.sources = follows.map(|source| (source.clone(), old.get(source).cloned().unwrap_or_default())).collect();
    }

    /// Every source, with what is known of it.
    pub fn sources(&self) -> impl Iterator<Item = (&Advertise, &AdvertiseSource)> {
        self.sources.iter()
    }

    /// What is known of a source that changes.
    #[must_use]
    pub fn source(&self, source: &Advertise) -> Option<&AdvertiseSource> {
        self.sources.get(source)
    }

    /// A source says its addresses. The one that is advertised stays for as long as it is among them, however they are
    /// ordered; without any, the last one stays. Returns whether anything is different now; `None` for an unknown source.
    pub fn learn(&mut self, from: &Advertise, found: Result<&[Ipv4Addr], String>) -> Option<bool> {
        let source = self.sources.get_mut(from)?;
        let before = source.clone();
        source.heard = true;
        source.trouble = match found {
            Ok([]) => Some("no IPv4 address".to_owned()),
            Ok(addresses) => {
                // A name server that blocks a name says 0.0.0.0 or 127.0.0.1.
                let mut fit = addresses.iter().copied().filter(|address| unfit((*address).into()).is_none());
                let stays = source.address.is_some_and(|address| addresses.contains(&address));
                match fit.next() {
                    None => addresses
                        .first()
                        .and_then(|&first| Some(format!("{first} is {} address", unfit(first.into())?))),
                    Some(first) => {
                        if !stays {
                            source.address = Some(first);
                        }
                        None
                    }
                }
            }
            Err(trouble) => Some(trouble),
        };
        Some(*source != before)
    }

    /// What goes into the 227 of a cluster at this VIP; `None`: nothing can (IPv6).
    #[must_use]
    pub fn address(&self, advertise: &Advertise, vip: IpAddr) -> Option<Ipv4Addr> {
        let IpAddr::V4(vip) = vip else { return None };
        Some(match advertise {
            Advertise::Vip => vip,
            Advertise::Address(address) => *address,
            Advertise::Interface(_) | Advertise::Dns(_) => {
                self.source(advertise).and_then(|source| source.address).unwrap_or(vip)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sample;
    use crate::lvs::ForwardingMethod;

    const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10));
    const A: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
    const B: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 2);

    #[test]
    fn the_last_address_stays_until_there_is_another() {
        let mut config = sample::config(ForwardingMethod::Nat);
        let name = Advertise::Dns("ftp.example.net".into());
        config.clusters[0].advertise = name.clone();
        let mut known = Advertised::default();
        assert_eq!(known.learn(&name, Ok(&[A])), None, "nobody advertises it");
        known.configure(&config);
        assert_eq!(known.address(&name, VIP), Some(Ipv4Addr::new(192, 0, 2, 10)), "the VIP meanwhile");
        assert_eq!(known.learn(&name, Ok(&[A, B])), Some(true));
        assert_eq!(known.address(&name, VIP), Some(A));
        assert_eq!(known.learn(&name, Ok(&[B, A])), Some(false), "another order is no change");
        assert_eq!(known.learn(&name, Err("SERVFAIL".into())), Some(true));
        assert_eq!(known.address(&name, VIP), Some(A));
        assert_eq!(known.learn(&name, Ok(&[])), Some(true));
        assert_eq!(known.address(&name, VIP), Some(A));
        assert_eq!(known.learn(&name, Ok(&[B])), Some(true));
        assert_eq!(known.address(&name, VIP), Some(B));
        assert_eq!(known.learn(&name, Ok(&[Ipv4Addr::LOCALHOST, A])), Some(true));
        assert_eq!(known.address(&name, VIP), Some(A), "nobody can reach the other");
        assert_eq!(known.learn(&name, Ok(&[Ipv4Addr::UNSPECIFIED])), Some(true));
        let source = known.source(&name).expect("it is advertised");
        assert_eq!(source.trouble.as_deref(), Some("0.0.0.0 is the unspecified address"));
        assert_eq!(known.address(&name, VIP), Some(A));
        assert_eq!(known.learn(&name, Ok(&[B])), Some(true));
        known.configure(&config);
        assert_eq!(known.address(&name, VIP), Some(B), "a reload forgets nothing that it needs");
        config.clusters[0].advertise = Advertise::Vip;
        known.configure(&config);
        assert_eq!(known.sources().count(), 0);
    }

    #[test]
    fn a_227_has_no_room_for_ipv6() {
        let known = Advertised::default();
        assert_eq!(known.address(&Advertise::Address(A), "2001:db8::10".parse().expect("a VIP")), None);
    }
}
