//! The query of a request: `client=2001:db8::/64&server=downloads/ftp1`.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::director::{Filter, Whom};
use crate::plan::availability::ServerName;

/// The clients' addresses: one, or a network.
pub const CLIENT: &str = "client";
/// The cluster.
pub const CLUSTER: &str = "cluster";
/// The real server.
pub const SERVER: &str = "server";
/// How much of it.
pub const LIMIT: &str = "limit";

/// How many rows or sessions one answer holds, if nothing else is asked for.
const DEFAULT_LIMIT: usize = 10_000;
/// How many it can hold: the whole answer is in memory.
const MOST: usize = 100_000;

/// The parameters, unescaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Reads the part behind the `?`, which may have these parameters.
    ///
    /// # Errors
    /// A parameter that is not known, one that is given twice, or an escape that is no percent-encoded UTF-8.
    pub fn parse(text: &str, known: &[&'static str]) -> Result<Self, String> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = known.iter().find(|known| **known == name) else {
                let known = if known.is_empty() { "there are none here".into() } else { known.join(", ") };
                return Err(format!("unknown parameter {name}: known are {known}"));
            };
            let value = unescape(value).ok_or_else(|| format!("{name}: {value:?} is not percent-encoded UTF-8"))?;
            if query.get(name).is_some() {
                return Err(format!("parameter {name} is given twice"));
            }
            query.0.push((name, value));
        }
        Ok(query)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The sessions that a list or a trace is for.
    ///
    /// # Errors
    /// When `client` is neither an address nor a network.
    pub fn filter(&self) -> Result<Filter, String> {
        let network = |text: &str| {
            let one = text.parse::<IpAddr>().map(IpNet::from);
            one.or_else(|_| text.parse()).map_err(|_| format!("client: {text:?} is neither an address nor a network"))
        };
        let owned = |name| self.get(name).map(str::to_owned);
        Ok(Filter {
            client: self.get(CLIENT).map(network).transpose()?,
            cluster: owned(CLUSTER),
            server: owned(SERVER),
        })
    }

    /// Whose failures are to be explained, as it was written and what it means.
    ///
    /// # Errors
    /// When `client` is missing, or no client.
    pub fn whom(&self) -> Result<(String, Whom), String> {
        let text = self.get(CLIENT).ok_or("client=CLIENT is missing")?;
        let whom = text.parse().map_err(|error| format!("client: {text:?}: {error}"))?;
        Ok((text.to_owned(), whom))
    }

    /// How many rows or sessions are asked for.
    ///
    /// # Errors
    /// When that is no number, or more than fits into one answer.
    pub fn limit(&self) -> Result<usize, String> {
        let number = |text: &str| text.parse().ok().filter(|limit| (1..=MOST).contains(limit));
        let limit = self.get(LIMIT).map_or(Some(DEFAULT_LIMIT), number);
        limit.ok_or_else(|| format!("limit: write a number, 1 to {MOST}"))
    }

    /// The server of a drain or undrain.
    ///
    /// # Errors
    /// When `server` is missing, or names no cluster.
    pub fn server_name(&self) -> Result<ServerName, String> {
        let named = self.get(SERVER).and_then(|server| server.split_once('/'));
        let (cluster, server) = named.ok_or("server=CLUSTER/SERVER is missing")?;
        Ok((cluster.to_owned(), server.to_owned()))
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::request::escape;

    const ALL: &[&str] = &[CLIENT, CLUSTER, SERVER, LIMIT];

    #[test]
    fn what_is_escaped_comes_back() {
        for name in ["downloads/ftp1", "up/10.0.0.11", "up/2001:db8::1", "up/a b&c=d%é"] {
            let text = format!("client=192.0.2.1&limit=7&cluster=a%2Fb&server={}", escape(name));
            let query = Query::parse(&text, ALL).expect("a query");
            let one = IpNet::from(IpAddr::from([192, 0, 2, 1]));
            let filter = Filter { client: Some(one), cluster: Some("a/b".into()), server: Some(name.into()) };
            assert_eq!((query.filter(), query.limit()), (Ok(filter), Ok(7)));
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for wrong in ["clint=1", "client=1&client=2", "server=%4", "server=%zz", "server=%ff"] {
            assert!(Query::parse(wrong, ALL).is_err(), "{wrong}");
        }
        assert_eq!(Query::parse("client=1", &[SERVER]), Err("unknown parameter client: known are server".into()));
        for wrong in ["client=rs1", "client=192.0.2.1/33", "client=", "client=192.0.2.0/24/8"] {
            assert!(Query::parse(wrong, ALL).and_then(|query| query.filter()).is_err(), "{wrong}");
        }
        for wrong in ["limit=0", "limit=100001", "limit=-1", "limit=", "limit=1e3"] {
            assert!(Query::parse(wrong, ALL).and_then(|query| query.limit()).is_err(), "{wrong}");
        }
        assert!(Query::parse("server=rs1", ALL).and_then(|query| query.server_name()).is_err());
        let nothing = Query::parse("", &[]).expect("a query");
        assert_eq!((nothing.filter(), nothing.limit()), (Ok(Filter::default()), Ok(10_000)));
    }
}
