"""The network of a test: clients – router – director and real servers.

    client1 ─┐ 10.1.0.0/24          10.0.0.0/24 ┌─ director  (the VIP is here)
             ├──────────── router ──────────────┼─ rs1       (a pair has director2, ECMP director3 too)
    client2 ─┘ fd00:1::/64          fd00::/64   ├─ rs2
                                                └─ rs3

`housed`: rs1 is in a namespace of its own on the director (rs2 on the second of a pair). The director's eth0 is then a bridge
between the LAN and that server.

The router rejects what goes between clients and the real servers' own addresses: a private address that leaks to a client
shows up as a failure instead of working by chance. It rejects instead of dropping so that such a failure is quick.
"""

import itertools
import subprocess

from daemon import Daemon
from hosts import NAMESPACES, Host, kill_everything_in
from realserver import RealServer

VIP, VIP6 = "10.0.0.100", "fd00::100"
# Of a pair of directors in NAT: it moves together with the VIP.
GATEWAY = "10.0.0.254"
RANGES = {
    "disjoint": [(31000, 31999), (32000, 32999), (33000, 33999), (34000, 34999)],
    "shared": [(40000, 40099)] * 4,
}
IPVSADM_FLAG = {"nat": "-m", "dr": "-g", "tun": "-i"}
DEFAULTS = {
    # Without waiting for duplicate address detection an address can be used at once.
    "ipv6__conf__default__accept_dad": 0,
    "ipv6__conf__default__accept_ra": 0,
    "ipv4__conf__all__rp_filter": 0,
    "ipv4__conf__default__rp_filter": 0,
}
# One-interface NAT: the director would tell the real servers that they can reach the clients without it, and they would.
DIRECTOR = {
    "ipv4__ip_forward": 1,
    "ipv6__conf__all__forwarding": 1,
    "ipv4__conf__all__send_redirects": 0,
    "ipv4__conf__default__send_redirects": 0,
}
# An active data connection reaches IPVS as the client's SYN-ACK. When the client reuses its port within two minutes, and at
# another real server, bit 1 lets IPVS give up the old entry although it saw only one half of that connection. Without it one
# active transfer in a hundred goes to the server of an earlier one (30 sessions, kernel 6.12).
ONE_HALF_SEEN = {"ipv4__vs__conn_reuse_mode": 3}
ROUTER = {"ipv4__ip_forward": 1, "ipv6__conf__all__forwarding": 1}
# The VIP is on `lo` of a real server, and of one of several directors, and neither may answer for it on the wire.
OWN_VIP = {"ipv4__conf__all__arp_ignore": 1, "ipv4__conf__all__arp_announce": 2}
# There is no send_redirects for IPv6.
BEHIND_DIRECTOR = {"ipv6__conf__default__accept_redirects": 0}


class Topology:
    """Makes the hosts on entering and removes them on leaving, with everything that runs in them."""

    def __init__(
        self, forwarding="nat", servers=3, ranges="disjoint", vsftpd="", kinds=("vsftpd",), pair=False, vips=1, ecmp=False,
        housed=False,
    ):
        """`vsftpd`: more of its configuration; `kinds`: what the real servers are, in turn; `vips`: so many in
        each family; `pair`: a second director; `ecmp`: three; `housed`: each director has one of the real servers on board.

        keepalived is to give one director of a pair the VIP, and in NAT the real servers' gateway. With `ecmp` every director
        gets the VIP from its daemon, and the router is told of the way to it.
        """
        self.forwarding, self.pair, self.ecmp = forwarding, pair, ecmp
        self.vips = [f"10.0.0.{100 + n}" for n in range(vips)]
        self.vips6 = [f"fd00::{100 + n}" for n in range(vips)]
        self.vip, self.vip6 = VIP, VIP6
        ranges = RANGES[ranges] if isinstance(ranges, str) else ranges
        self.client1 = Host("client1", "10.1.0.11", "fd00:1::11")
        self.client2 = Host("client2", "10.1.0.12", "fd00:1::12")
        self.router = Host("router")
        self.switch = Host("switch")
        self.director = Host("director", "10.0.0.10", "fd00::10")
        more = 2 if ecmp else 1 if pair else 0
        self.directors = [self.director] + [Host(f"director{n}", f"10.0.0.{n}0", f"fd00::{n}0") for n in range(2, 2 + more)]
        self.servers = [
            RealServer(f"rs{n}", f"10.0.0.{10 + n}", f"fd00::{10 + n}", ranges[n - 1], kind, vsftpd)
            for n, kind in zip(range(1, servers + 1), itertools.cycle(kinds))
        ]
        self.housed = list(zip(self.directors, self.servers)) if housed else []
        self.clients = [self.client1, self.client2]
        self.hosts = [*self.clients, self.router, self.switch, *self.directors, *self.servers]
        self.daemons = []

    def __enter__(self):
        try:
            self._cable()
            self._address_clients()
            self._address_router()
            for director in self.directors:
                self._address_director(director)
            for server in self.servers:
                self._address_server(server)
            for server in self.servers:
                server.start()
            for server in self.servers:
                server.wait_ready()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, kind, error, trace):
        if error is not None:
            for daemon in self.daemons:
                print(f"--- the daemon said:\n{daemon.log()}---")
        self._remove()

    def power_returns(self, director):
        """A director of a pair that lost its power comes back, with a kernel that knows nothing."""
        self._empty(director)
        kill_everything_in([director])
        for daemon in self.daemons:
            if daemon.director is director:
                daemon.process.wait()
        # With its cable: the namespace may outlive its name for a while.
        self.switch.ip(f"link delete {director.name}-eth0")
        _ip([f"netns delete {director.name}", f"netns add {director.name}"])
        director.sysctl(**DEFAULTS)
        self.switch.ip(*_cable(director, "eth0", "lan"))
        self._address_director(director)

    def _cable(self):
        """Plugs every host into the switch: a bridge for the clients' side, one for the LAN."""
        _ip([f"netns add {host.name}" for host in self.hosts])
        for host in self.hosts:
            host.sysctl(**DEFAULTS)
        ports = [(client, "eth0", "outside") for client in self.clients]
        ports += [(self.router, "eth0", "outside"), (self.router, "eth1", "lan")]
        landlords, lodgers = zip(*self.housed) if self.housed else ((), ())
        ports += [(host, "eth0", "lan") for host in (*self.directors, *self.servers) if host not in (*landlords, *lodgers)]
        ports += [(host, "wire", "lan") for host in landlords]
        lines = [f"link add {bridge} up type bridge mcast_snooping 0" for bridge in ("outside", "lan")]
        for host, interface, bridge in ports:
            lines += _cable(host, interface, bridge)
        self.switch.ip(*lines)
        for director, server in self.housed:
            director.ip(
                "link add eth0 type bridge mcast_snooping 0",
                "link set wire master eth0 up",
                f"link add {server.name} type veth peer name eth0 netns {server.name}",
                f"link set {server.name} master eth0 up",
            )

    def _address_clients(self):
        for client in self.clients:
            _attach(client, "10.1.0.1", "fd00:1::1")

    def _address_router(self):
        self.router.sysctl(**ROUTER)
        self.router.ip(
            *("link set lo up", "link set eth0 up", "link set eth1 up"),
            *("address add 10.1.0.1/24 dev eth0", "address add fd00:1::1/64 dev eth0 nodad"),
            *("address add 10.0.0.1/24 dev eth1", "address add fd00::1/64 dev eth1 nodad"),
        )
        private = ", ".join(server.address for server in self.servers)
        private6 = ", ".join(server.address6 for server in self.servers)
        rules = "\n".join(
            f"{family} {end} {{ {addresses} }} counter name leaked jump refuse"
            for family, addresses in (("ip", private), ("ip6", private6))
            for end in ("saddr", "daddr")
        )
        self.router.nft(f"""
            table inet router {{
              counter leaked {{}}
              chain refuse {{
                meta l4proto tcp reject with tcp reset
                drop
              }}
              chain forward {{ type filter hook forward priority 0
                {rules}
              }}
            }}""")

    def _address_director(self, director):
        director.sysctl(**DIRECTOR)
        if self.forwarding != "nat":
            # Loaded, it shows its sysctls in every namespace.
            subprocess.run(["modprobe", "ip_vs"], check=True)
            director.sysctl(**ONE_HALF_SEEN)
        if self.ecmp:
            director.sysctl(**OWN_VIP)
        _attach(director, "10.0.0.1", "fd00::1")
        if self.pair or self.ecmp:
            return
        # Deprecated (keepalived does the same): a /128 would otherwise be the director's own source address (RFC 6724, rule
        # 8), and a real server that has the VIP on `lo` would answer itself.
        director.ip(*(f"address add {vip}/32 dev eth0" for vip in self.vips))
        director.ip(*(f"address add {vip}/128 dev eth0 nodad preferred_lft 0" for vip in self.vips6))

    def _address_server(self, server):
        if self.forwarding == "nat":
            server.sysctl(**BEHIND_DIRECTOR)
            _attach(server, GATEWAY if self.pair else self.director.address, self.director.address6)
            return
        server.sysctl(**OWN_VIP)
        _attach(server, "10.0.0.1", "fd00::1")
        server.ip(*(f"address add {vip}/32 dev lo" for vip in self.vips))
        server.ip(*(f"address add {vip}/128 dev lo nodad" for vip in self.vips6))
        if self.forwarding == "tun":
            subprocess.run(["modprobe", "-a", "ipip", "ip6_tunnel"], check=True)
            # A tunnel that names its sender. (The catch-all ip6tnl0 was only tried while the director sent from the VIP.)
            tunnel = f"local {server.address6} remote {self.director.address6} mode ip6ip6 encaplimit none"
            server.ip("link set tunl0 up", f"link add ipvs6 type ip6tnl {tunnel}", "link set ipvs6 up")
            server.sysctl(ipv4__conf__tunl0__rp_filter=0)

    def _remove(self):
        kill_everything_in(self.hosts)
        for daemon in self.daemons:
            daemon.process.wait()
        for server in self.servers:
            server.stop()
        for director in self.directors:
            if director.path.exists():
                self._empty(director)
        _ip([f"netns delete {host.name}" for host in self.hosts if host.path.exists()])

    def _empty(self, director):
        """A namespace outlives its name while a TCP connection that nobody closed still has something to say, and its services
        would hold ip_vs in the kernel."""
        for words in ("-C", "--stop-daemon master", "--stop-daemon backup"):
            director.run(["ipvsadm", *words.split()], check=False)

    def leaked(self):
        """Packets that the router refused because they carried a real server's own address."""
        listing = self.router.run(["nft", "list", "counter", "inet", "router", "leaked"]).stdout
        return int(listing.split("packets ")[1].split()[0])

    def ipvs(self, *lines):
        """Runs `ipvsadm` lines on the director, as a plain director without us would."""
        self.director.run(["ipvsadm", "-R"], input="\n".join(lines) + "\n")

    def plain_ipvs(self, scheduler="rr"):
        """Balances port 21 of the VIP over the real servers, and nothing else."""
        flag = IPVSADM_FLAG[self.forwarding]
        self.ipvs(
            f"-A -t {VIP}:21 -s {scheduler}",
            *(f"-a -t {VIP}:21 -r {server.address}:21 {flag}" for server in self.servers),
        )

    def config(self, more=(), ipv6=False):
        """The daemon's configuration of this cluster; `more` are lines of the cluster."""
        lines = [
            "clusters:",
            "  - name: lab",
            f"    vips: {self.vips6 if ipv6 else self.vips}",
            f"    forwarding: {self.forwarding}",
            "    scheduler: rr",
            *(f"    {line}" for line in more),
            "    real_servers:",
        ]
        for server in self.servers:
            low, high = server.passive_ports
            address = server.address6 if ipv6 else server.address
            calls = ""
            if server.active_port != 20:
                calls = f", active_port: {server.active_port}"
            elif server.calls_from_any_port and self.forwarding != "nat":
                # In NAT the director sees whom a server calls, whatever port it calls from.
                calls = ", active_ports: 32768-60999"
            lines.append(f"      - {{name: {server.name}, address: '{address}', passive_ports: {low}-{high}{calls}}}")
        return "\n".join(lines) + "\n"

    def start_daemon(self, config=None, prefix=(), director=None):
        """Starts `ftpdirector run` on the director, by default with this cluster's configuration; `prefix` runs it."""
        daemon = Daemon(director or self.director, config or self.config(), prefix)
        self.daemons.append(daemon)
        return daemon


def leftovers():
    """Names of the namespaces that are still there: none after a test."""
    return sorted(path.name for path in NAMESPACES.glob("*")) if NAMESPACES.exists() else []


def _attach(host, router, router6):
    host.ip(
        *("link set lo up", "link set eth0 up"),
        f"address add {host.address}/24 dev eth0",
        f"address add {host.address6}/64 dev eth0 nodad",
        f"route add default via {router}",
        f"route add ::/0 via {router6}",
    )


def _cable(host, interface, bridge):
    """The lines that plug an interface of a host into a bridge of the switch."""
    port = f"{host.name}-{interface}"
    return (
        f"link add {port} type veth peer name {interface} netns {host.name}",
        f"link set {port} master {bridge} up",
    )


def _ip(lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines) + "\n", text=True, check=True)
