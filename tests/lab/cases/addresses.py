"""Whose data connections, from which addresses: `client_match`."""

import ftplib
import socket

from daemon import ftpdirector
from ftpload import Session
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
