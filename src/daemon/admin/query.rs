//! The query of a request: `client=2001:db8::1&server=downloads/ftp1`.

use crate::director::Filter;
use crate::plan::availability::ServerName;

/// The parameters `client` and `server`, unescaped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    client: Option<String>,
    server: Option<String>,
}

impl Query {
    /// Reads the part behind the `?`.
    ///
    /// # Errors
    /// A parameter that is not known, one that is given twice, or an escape that is no percent-encoded UTF-8.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let place = match name {
                "client" => &mut query.client,
                "server" => &mut query.server,
                _ => return Err(format!("unknown parameter {name}: known are client and server")),
            };
            let value = unescape(value).ok_or_else(|| format!("{name}: {value:?} is not percent-encoded UTF-8"))?;
            if place.replace(value).is_some() {
                return Err(format!("parameter {name} is given twice"));
            }
        }
        Ok(query)
    }

    /// The sessions that a trace is for.
    ///
    /// # Errors
    /// When `client` is no address.
    pub fn filter(&self) -> Result<Filter, String> {
        let address = |text: &String| text.parse().map_err(|_| format!("client: {text:?} is no address"));
        Ok(Filter { client: self.client.as_ref().map(address).transpose()?, server: self.server.clone() })
    }

    /// The server of a drain or undrain.
    ///
    /// # Errors
    /// When `server` is missing, or names no cluster.
    pub fn server_name(&self) -> Result<ServerName, String> {
        let named = self.server.as_deref().and_then(|server| server.split_once('/'));
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

    #[test]
    fn what_is_escaped_comes_back() {
        for name in ["downloads/ftp1", "up/10.0.0.11", "up/2001:db8::1", "up/a b&c=d%é"] {
            let query = Query::parse(&format!("client=192.0.2.1&server={}", escape(name))).expect("a query");
            assert_eq!(query.server.as_deref(), Some(name));
            assert_eq!(query.filter().expect("a filter").client, Some([192, 0, 2, 1].into()));
        }
    }

    #[test]
    fn what_makes_no_sense_is_said() {
        for wrong in ["clint=1", "client=1&client=2", "server=%4", "server=%zz", "server=%ff"] {
            assert!(Query::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Query::parse("client=rs1").and_then(|query| query.filter()).is_err());
        assert!(Query::parse("server=rs1").and_then(|query| query.server_name()).is_err());
        assert!(Query::parse("").is_ok());
    }
}
