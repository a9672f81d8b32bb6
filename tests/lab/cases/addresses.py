"""Addresses: VIPs on an interface, what a 227 says, whose data connections are let in."""

import ftplib
import json
import socket
import struct

from daemon import ftpdirector
from ftpload import Session, load
from hosts import poll
from nameserver import name_server
from realserver import TLS, make_certificate
from selection import long
from topology import VIP, VIP6, Topology

DATA = "ftpdirector_data_connections_total"
# A client's other address in the same network, and one elsewhere.
NEAR = {VIP: "10.1.0.77", VIP6: "fd00:1::77"}
FAR = {VIP: "10.2.0.11", VIP6: "fd00:2::11"}
# The daemon looks at the kernel every second, but gives it no more than a twentieth of its time: where a look takes a second, the
# next one comes after twenty.
LOOK = 240


def both_families(net, more=()):
    """The cluster with an IPv4 and an IPv6 VIP, and each server under both of its addresses."""
    lines = [
        "clusters:",
        "  - name: lab",
        f"    vips: ['{VIP}', '{VIP6}']",
        f"    forwarding: {net.forwarding}",
        "    scheduler: rr",
        *(f"    {line}" for line in more),
        "    real_servers:",
    ]
    for server in net.servers:
        low, high = server.passive_ports
        for name, address in ((server.name, server.address), (f"{server.name}-6", server.address6)):
            lines.append(f"      - {{name: {name}, address: '{address}', passive_ports: {low}-{high}}}")
    return "\n".join(lines) + "\n"


def fetch_from(session, source):
    """One passive transfer whose data connection comes from another address of the client."""
    host, port = ftplib.parse229(session.sendcmd("EPSV"), session.sock.getpeername())
    return session.fetch(lambda: socket.create_connection((host, port), 20, source_address=(source, 0))).decode().strip()


def refused(session, source):
    try:
        found = fetch_from(session, source)
    except ConnectionRefusedError:
        return True
    raise AssertionError(f"data from {source} came from {found}")


@long
def test_client_match():
    """Data from the client's network is let in, from elsewhere it is refused; with `any` it is let in. Also under TLS."""
    make_certificate()
    for forwarding in ("dr", "tun"):
        with Topology(forwarding, servers=2, vsftpd=TLS + "pasv_promiscuous=YES\n") as net:
            for near, far in zip(NEAR.values(), FAR.values()):
                # Deprecated: never the source of a control connection.
                net.client1.ip(*(f"address add {address} dev eth0 preferred_lft 0" for address in (near, far)))
            net.router.ip("route add 10.2.0.0/24 via 10.1.0.11", "route add fd00:2::/64 via fd00:1::11")
            reject = "unexpected_data: reject"
            daemon = net.start_daemon(both_families(net, ["client_match: /24 /64", reject])).wait_ready()
            with net.client1.enter():
                for vip, tls in ((VIP, False), (VIP6, False), (VIP, True)):
                    session = Session(vip, timeout=60.0, tls=tls)
                    assert fetch_from(session, NEAR[vip]) == session.server, (forwarding, vip, tls)
                    assert refused(session, FAR[vip])
                    session.close()
            assert daemon.metrics().sum("ftpdirector_unexpected_data_total") >= 3, daemon.metrics()
            # Each transfer has met its own expectation, wherever it came from.
            used = "ftpdirector_expectations_total"
            poll(lambda: daemon.metrics().sum(used, result="used") >= 2, what="two expectations met")
            assert daemon.metrics().sum(DATA, result="misdirected") == 0
            if forwarding == "dr":
                continue
            daemon.config.write_text(both_families(net, ["client_match: any", reject]))
            done = ftpdirector(net.director, "reload", "--config", daemon.config)
            assert done.returncode == 0, done.stderr
            with net.client1.enter():
                for vip in (VIP, VIP6):
                    session = Session(vip)
                    assert fetch_from(session, FAR[vip]) == session.server, (forwarding, vip)


# <linux/netlink.h>, <linux/rtnetlink.h>, <linux/if_addr.h>
NLMSG_DONE, RTM_GETADDR = 3, 22
IFA_ADDRESS, IFA_LOCAL, IFA_PROTO = 1, 2, 11


def ours(net):
    """Addresses that say they are ours: RTM_GETADDR, since iproute2 shows who added one only from 6.3 on."""
    found = []
    with net.director.enter(), socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        # A dump (NLM_F_REQUEST | NLM_F_DUMP) of all families: nlmsghdr, ifaddrmsg.
        netlink.send(struct.pack("=IHHIIBBBBI", 24, RTM_GETADDR, 0x301, 1, 0, 0, 0, 0, 0, 0))
        while True:
            for kind, body in attributes(netlink.recv(1 << 16), "=IH10x", 16):
                if kind == NLMSG_DONE:
                    return sorted(found)
                family, index = struct.unpack("=B3xI", body[:8])
                values = dict(attributes(body[8:], "=HH", 4))
                if values.get(IFA_PROTO) == b"\x46":
                    address = values.get(IFA_LOCAL, values.get(IFA_ADDRESS))
                    found.append((socket.if_indextoname(index), socket.inet_ntop(family, address)))


def attributes(data, header, size):
    """What is in a chain of netlink's messages, or of their attributes: type and content of each, at multiples of four."""
    while data:
        length, kind = struct.unpack_from(header, data)
        yield kind, data[size:length]
        data = data[length + 3 & ~3 :]


@long
def test_vip_interface():
    """The VIPs come with the daemon, come back, outlive it, and go with `flush`; nobody else's address is touched."""
    with Topology("nat", servers=1) as net:
        director = net.director
        director.ip(f"address delete {VIP}/32 dev eth0", f"address delete {VIP6}/128 dev eth0")
        before = director.run(["ip", "-o", "address"]).stdout
        config = both_families(net, ["vip_interface: vips0"])
        # At boot the interface may come later than the daemon: it starts, complains and waits for it.
        early = net.start_daemon(config).wait_ready()
        planned = ftpdirector(director, "plan", "--config", early.config)
        assert planned.returncode == 69 and "there is no interface vips0" in planned.stderr, planned
        poll(lambda: "there is no interface vips0" in early.log(), what="a complaint at the start")
        ready = director.run(["curl", "-s", "http://127.0.0.1:9786/readyz"], check=False).stdout
        assert "there is no interface vips0" in ready, ready
        director.ip("link add vips0 type dummy", "link set vips0 up")
        both = [("vips0", VIP), ("vips0", VIP6)]
        poll(lambda: ours(net) == both, deadline=LOOK, what="the VIPs on the interface that came late")
        assert early.metrics().sum("ftpdirector_kernel_drift_total") == 0
        assert early.term() == 0
        assert ftpdirector(director, "flush", "--config", early.config).returncode == 0 and ours(net) == []

        planned = ftpdirector(director, "plan", "--config", early.config).stdout
        assert f"ip address add {VIP}/32 dev vips0 proto 0x46\n" in planned, planned
        assert f"ip address add {VIP6}/128 dev vips0 proto 0x46 nodad preferred_lft 0\n" in planned, planned
        daemon = net.start_daemon(config).wait_ready()
        assert ours(net) == both, ours(net)
        # The router asks for the VIP on the wire: Linux answers for every address of the machine; IPv6 has a route.
        net.router.ip(f"route add {VIP6}/128 via {director.address6}")
        for vip in (VIP, VIP6):
            report = load(net.client1, vip, sessions=1, rounds=1, modes=("EPSV", "EPRT"))
            assert report.right == report.total == 2, report

        drift = "ftpdirector_kernel_drift_total"
        director.ip(f"address delete {VIP}/32 dev vips0")
        poll(lambda: ours(net) == both, deadline=LOOK, what="the VIP to come back")
        poll(lambda: daemon.metrics().sum(drift) == 1, deadline=LOOK, what="one row put right")
        director.ip("link delete vips0")
        poll(lambda: "there is no interface vips0" in daemon.log(), deadline=LOOK, what="a complaint")
        director.ip("link add vips0 type dummy", "link set vips0 up")
        poll(lambda: ours(net) == both, deadline=LOOK, what="the VIPs on the new interface")

        # A restart knows them; an address that someone else has added stays his.
        daemon.kill9()
        director.ip(f"address delete {VIP6}/128 dev vips0", f"address add {VIP6}/128 dev vips0 nodad")
        daemon = net.start_daemon(config).wait_ready()
        assert daemon.metrics().sum(drift) == 0 and ours(net) == both[:1], ours(net)
        poll(lambda: ftpdirector(director, "plan", "--config", daemon.config).returncode == 0, deadline=LOOK, what="nothing left to change")
        daemon.config.write_text(net.config(["vip_interface: eth0"]))
        done = ftpdirector(director, "reload", "--config", daemon.config)
        assert done.returncode == 0, done.stderr
        poll(lambda: ours(net) == [("eth0", VIP)], deadline=LOOK, what="the VIP on its other interface")
        assert daemon.term() == 0 and ours(net) == [("eth0", VIP)]
        assert ftpdirector(director, "flush", "--config", daemon.config).returncode == 0
        assert ours(net) == [] and f"{VIP6}/128" in director.run(["ip", "-o", "address"]).stdout
        director.ip("link delete vips0")
        assert director.run(["ip", "-o", "address"]).stdout == before


def test_advertised_addresses_follow_their_sources():
    """The 227 follows an interface and a DNS name; without an answer it says the last address, or the VIP."""
    second = "10.0.0.101"
    with Topology("nat", servers=1, vsftpd="pasv_promiscuous=YES\n") as net, name_server(net.director) as names:
        net.director.ip(f"address add {second}/32 dev eth0")
        net.client1.ip(f"address add {NEAR[VIP]}/32 dev eth0")
        config = "clusters:\n"
        for name, vip, source in (("wan", VIP, "interface: wan0"), ("names", second, "dns: ftp.example.net")):
            config += f"  - name: {name}\n    vips: ['{vip}']\n    forwarding: nat\n    client_match: /24\n    passive: {{advertise: {{{source}}}}}\n"
            config += "    real_servers: [{name: rs1, address: 10.0.0.11, passive_ports: 31000-31999}]\n"
        daemon = net.start_daemon(config).wait_ready()
        with net.client1.enter():
            sessions = {vip: Session(vip) for vip in (VIP, second)}

        def advertised(vip):
            host, _ = ftplib.parse227(sessions[vip].sendcmd("PASV"))
            return host

        def follows(vip, expected):
            poll(lambda: advertised(vip) == expected, what=lambda: f"{vip} says {advertised(vip)}, {expected}")

        def status(cluster):
            found = ftpdirector(net.director, "status", "--json", "--config", daemon.config)
            assert found.returncode == 0, found
            clusters = {found["name"]: found for found in json.loads(found.stdout)["clusters"]}
            return clusters[cluster]["advertise"]

        # Neither is known.
        assert advertised(VIP) == VIP and advertised(second) == second
        assert status("wan") == {"source": "interface wan0", "address": None, "error": "there is no such interface"}
        poll(lambda: status("names")["error"], what="a word about the name")
        assert status("names")["address"] is None, status("names")

        net.director.ip("link add wan0 type dummy", "address add 198.51.100.1/32 dev wan0")
        follows(VIP, "198.51.100.1")
        net.director.ip("address add 198.51.100.2/32 dev wan0", "address delete 198.51.100.1/32 dev wan0")
        follows(VIP, "198.51.100.2")
        net.director.ip("link delete wan0")
        poll(lambda: status("wan")["error"], what="a word about the interface")
        assert advertised(VIP) == status("wan")["address"] == "198.51.100.2"

        names.address = "198.51.100.7"
        follows(second, "198.51.100.7")
        names.address = "198.51.100.8"
        follows(second, "198.51.100.8")
        names.address = None
        poll(lambda: status("names")["error"], what="a word about the name")
        assert advertised(second) == status("names")["address"] == "198.51.100.8"
        names.address = "198.51.100.9"
        assert daemon.term() == 0
        net.director.ip("link add wan0 type dummy", "address add 198.51.100.3/32 dev wan0")
        net.start_daemon(config).wait_ready()
        assert advertised(VIP) == "198.51.100.3"
        follows(second, "198.51.100.9")
        # In passing: `client_match` in NAT.
        with net.client1.enter():
            for session in sessions.values():
                assert fetch_from(session, NEAR[VIP]) == "rs1"
