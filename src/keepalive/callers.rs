//! Which servers may be about to call which clients, when nobody knows what the clients have said last.

use std::collections::HashMap;
use std::net::IpAddr;

use super::ControlConnection;
use crate::lvs::ForwardingMethod;
use crate::steer::Placement;

/// For so many clients and ports it is found out: some megabytes. Others that are waiting for a call try again.
const MOST: usize = 65_536;

/// What a call, or the client's answer to it, shows: the server (NAT) or the VIP (DR, TUN), the active port, the client.
type Call = (IpAddr, u16, IpAddr);

/// The control connections of a listing, by the call that may come of each.
#[derive(Clone, Debug, Default)]
pub struct Callers {
    /// Index and control port of the one that a call must belong to, and whether its VIP has just come; `None`: it may be one of
    /// several.
    calls: HashMap<Call, Option<(u16, u16, bool)>>,
}

impl Callers {
    /// Takes in an established control connection with the server of this placement; `came`: its VIP has just come.
    pub fn add(&mut self, control: &ControlConnection, place: &Placement, came: bool) {
        let (client, port) = (control.client.ip(), control.far_end().port());
        let seen = if place.forwarding == ForwardingMethod::Nat { place.address } else { place.vip };
        let (call, this) = ((seen, place.calls_from(port), client), Some((place.index, port, came)));
        if self.calls.len() < MOST {
            self.calls.entry(call).or_insert(this);
        }
        // Several sessions of one client with one server are one.
        if let Some(known) = self.calls.get_mut(&call).filter(|known| known.map(index) != this.map(index)) {
            *known = None;
        }
    }

    /// The calls whose server is beyond doubt, at VIPs that have just come: client, index, and the port of the server's end of the
    /// control connection.
    pub fn known(self) -> impl Iterator<Item = (IpAddr, u16, u16)> {
        let came = |from: Option<(u16, u16, bool)>| from.filter(|&(.., came)| came);
        self.calls
            .into_iter()
            .filter_map(move |((.., client), from)| came(from).map(|(index, port, _)| (client, index, port)))
    }
}

const fn index((index, ..): (u16, u16, bool)) -> u16 {
    index
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::lvs::PortRange;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A server of a VIP, by their last numbers.
    fn place(forwarding: ForwardingMethod, index: u16, (vip, server): (u8, u8)) -> Placement {
        Placement {
            index,
            cluster: 0,
            vip: [192, 0, 2, vip].into(),
            server: 0,
            address: [10, 0, 0, server].into(),
            forwarding,
            own_range: None,
            active_port: None,
            active_ports: None,
            own_active_port: false,
            client_prefix: 32,
            passive_ports: PortRange::UNPRIVILEGED,
            public_ports: None,
        }
    }

    /// What is known of these control connections: the client's port, and where it leads.
    fn known(forwarding: ForwardingMethod, all: &[(&str, u16, (u8, u8))]) -> Vec<(IpAddr, u16, u16)> {
        let mut callers = Callers::default();
        for &(client, index, (vip, server)) in all {
            let place = place(forwarding, index, (vip, server));
            let (vip, server) = (SocketAddr::new(place.vip, 21), SocketAddr::new(place.address, 2121));
            // The VIP that ends in 30 was here before.
            let came = vip.ip() != at("192.0.2.30:21").ip();
            callers.add(&ControlConnection { client: at(client), vip, server, forwarding }, &place, came);
        }
        let mut known: Vec<_> = callers.known().collect();
        known.sort_unstable();
        known
    }

    #[test]
    fn a_call_shows_the_server_in_nat_and_the_vip_elsewhere() {
        let (one, other) = (at("203.0.113.5:0").ip(), at("203.0.113.6:0").ip());
        let two_servers = [
            ("203.0.113.5:40000", 1, (10, 11)),
            ("203.0.113.5:40001", 2, (10, 12)),
            ("203.0.113.6:40000", 1, (10, 11)),
        ];
        assert_eq!(known(ForwardingMethod::Nat, &two_servers), [(one, 1, 2121), (one, 2, 2121), (other, 1, 2121)]);
        assert_eq!(known(ForwardingMethod::Dr, &two_servers), [(other, 1, 21)]);
        let two_vips = [("203.0.113.5:40000", 1, (10, 11)), ("203.0.113.5:40001", 2, (20, 11))];
        assert_eq!(known(ForwardingMethod::Nat, &two_vips), []);
        assert_eq!(known(ForwardingMethod::Dr, &two_vips), [(one, 1, 21), (one, 2, 21)]);
        let one_was_here = [("203.0.113.5:40000", 1, (10, 11)), ("203.0.113.5:40001", 2, (30, 11))];
        assert_eq!(known(ForwardingMethod::Nat, &one_was_here), []);
        assert_eq!(known(ForwardingMethod::Dr, &one_was_here), [(one, 1, 21)]);
        let two_sessions = [("203.0.113.5:40000", 1, (10, 11)), ("203.0.113.5:40001", 1, (10, 11))];
        assert_eq!(known(ForwardingMethod::Dr, &two_sessions), [(one, 1, 21)]);
    }

    #[test]
    fn what_is_in_doubt_stays_so_and_takes_its_place_only() {
        let clients: Vec<String> =
            (0..=MOST).map(|n| format!("10.{}.{}.{}:9", n >> 16, n >> 8 & 255, n & 255)).collect();
        let mut all: Vec<_> = clients.iter().map(|client| (client.as_str(), 1, (10, 11))).collect();
        all.push((&clients[0], 2, (10, 12)));
        all.push((&clients[0], 1, (10, 11)));
        let known = known(ForwardingMethod::Dr, &all);
        assert_eq!(known.len(), MOST - 1);
        assert!(known.iter().all(|(client, ..)| *client != at(&clients[0]).ip()));
    }
}
