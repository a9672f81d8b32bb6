//! Which sessions a list or a trace shows.

use std::net::IpAddr;

use ipnet::IpNet;

/// What is wanted of a session; a field that is `None` matches every session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The network of the client's address, any port.
    pub client: Option<IpNet>,
    /// The cluster that the client connected to.
    pub cluster: Option<String>,
    /// The real server: `SERVER`, or `CLUSTER/SERVER` where the name is not unique.
    pub server: Option<String>,
}

impl Filter {
    /// Whether a session is wanted.
    #[must_use]
    pub fn wants(&self, client: IpAddr, cluster: &str, server: &str) -> bool {
        self.wants_client(client) && self.wants_server(Some((cluster, server)))
    }

    /// Whether the sessions of a client are wanted, as far as that depends on the client.
    #[must_use]
    pub fn wants_client(&self, client: IpAddr) -> bool {
        self.client.is_none_or(|wanted| wanted.contains(&client))
    }

    /// Whether what belongs to a server (cluster and name) is wanted, as far as that depends on the server. Of what has none it is
    /// only if every server is.
    #[must_use]
    pub fn wants_server(&self, at: Option<(&str, &str)>) -> bool {
        let named = |wanted: &str, (cluster, server): (&str, &str)| match wanted.split_once('/') {
            Some(both) => both == (cluster, server),
            None => wanted == server,
        };
        let cluster = self.cluster.as_deref().is_none_or(|wanted| at.is_some_and(|(cluster, _)| wanted == cluster));
        cluster && self.server.as_deref().is_none_or(|wanted| at.is_some_and(|at| named(wanted, at)))
    }
}
