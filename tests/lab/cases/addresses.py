"""Addresses: VIPs on an interface, whose data connections are let in (`client_match`)."""

import ftplib
import json
import socket

from daemon import ftpdirector
from ftpload import Session, load
from hosts import poll
from realserver import TLS, make_certificate
from topology import VIP, VIP6, Topology

DATA = "ftpdirector_data_connections_total"
# A client's other address in the same network, and one elsewhere.
NEAR = {VIP: "10.1.0.77", VIP6: "fd00:1::77"}
FAR = {VIP: "10.2.0.11", VIP6: "fd00:2::11"}


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


def test_client_match():
    """Data from the client's network is let in, from elsewhere it is refused; with `any` it is let in. Also under TLS."""
    make_certificate()
    for forwarding in ("nat", "dr", "tun"):
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
            if forwarding == "nat":
                continue
            daemon.config.write_text(both_families(net, ["client_match: any", reject]))
            done = ftpdirector(net.director, "reload", "--config", daemon.config)
            assert done.returncode == 0, done.stderr
            with net.client1.enter():
                for vip in (VIP, VIP6):
                    session = Session(vip)
                    assert fetch_from(session, FAR[vip]) == session.server, (forwarding, vip)


def ours(net):
    """Addresses that say they are ours: `ip address show proto 70`."""
    listed = json.loads(net.director.run(["ip", "-j", "address", "show", "proto", "70"]).stdout)
    return sorted((link["ifname"], address["local"]) for link in listed for address in link.get("addr_info", ()))


def test_vip_interface():
    """The VIPs come with the daemon, come back, outlive it, and go with `flush`; nobody else's address is touched."""
    with Topology("nat", servers=1) as net:
        director = net.director
        director.ip(f"address delete {VIP}/32 dev eth0", f"address delete {VIP6}/128 dev eth0")
        before = director.run(["ip", "-o", "address"]).stdout
        config = both_families(net, ["vip_interface: vips0"])
        failed = net.start_daemon(config).process
        poll(lambda: failed.poll() is not None, what="the daemon without its interface ending")
        assert failed.returncode == 69, failed.returncode
        assert "there is no interface vips0" in net.daemons[-1].log(), net.daemons[-1].log()
        planned = ftpdirector(director, "plan", "--config", net.daemons[-1].config)
        assert planned.returncode == 69 and "there is no interface vips0" in planned.stderr, planned

        director.ip("link add vips0 type dummy", "link set vips0 up")
        planned = ftpdirector(director, "plan", "--config", net.daemons[-1].config).stdout
        assert f"ip address add {VIP}/32 dev vips0 proto 70\n" in planned, planned
        assert f"ip address add {VIP6}/128 dev vips0 proto 70 nodad preferred_lft 0\n" in planned, planned
        daemon = net.start_daemon(config).wait_ready()
        both = [("vips0", VIP), ("vips0", VIP6)]
        assert ours(net) == both, ours(net)
        # The router asks for the VIP on the wire: Linux answers for every address of the machine; IPv6 has a route.
        net.router.ip(f"route add {VIP6}/128 via {director.address6}")
        for vip in (VIP, VIP6):
            report = load(net.client1, vip, sessions=1, rounds=1, modes=("EPSV", "EPRT"))
            assert report.right == report.total == 2, report

        drift = "ftpdirector_kernel_drift_total"
        director.ip(f"address delete {VIP}/32 dev vips0")
        poll(lambda: ours(net) == both, what="the VIP to come back")
        poll(lambda: daemon.metrics().sum(drift) == 1, what="one row put right")
        director.ip("link delete vips0")
        poll(lambda: "there is no interface vips0" in daemon.log(), what="a complaint")
        director.ip("link add vips0 type dummy", "link set vips0 up")
        poll(lambda: ours(net) == both, what="the VIPs on the new interface")

        # A restart knows them; an address that someone else has added stays his.
        daemon.kill9()
        director.ip(f"address delete {VIP6}/128 dev vips0", f"address add {VIP6}/128 dev vips0 nodad")
        daemon = net.start_daemon(config).wait_ready()
        assert daemon.metrics().sum(drift) == 0 and ours(net) == both[:1], ours(net)
        assert ftpdirector(director, "plan", "--config", daemon.config).returncode == 0
        daemon.config.write_text(net.config(["vip_interface: eth0"]))
        done = ftpdirector(director, "reload", "--config", daemon.config)
        assert done.returncode == 0, done.stderr
        poll(lambda: ours(net) == [("eth0", VIP)], what="the VIP on its other interface")
        assert daemon.term() == 0 and ours(net) == [("eth0", VIP)]
        assert ftpdirector(director, "flush", "--config", daemon.config).returncode == 0
        assert ours(net) == [] and f"{VIP6}/128" in director.run(["ip", "-o", "address"]).stdout
        director.ip("link delete vips0")
        assert director.run(["ip", "-o", "address"]).stdout == before
