"""What holds without us: the lab works, and plain IPVS breaks FTP."""

import socket

from ftpload import MODES, load
from selection import long
from topology import Topology


def test_direct_server_works():
    """Client and server agree in every mode when nobody stands between them."""
    with Topology(servers=1) as net:
        server = net.servers[0]
        report = load(net.director, server.address, sessions=2, rounds=1)
        assert report.right == report.total == 2 * len(MODES), report
        assert report.sessions_per_server == {"rs1": 2}, report


def test_router_keeps_private_addresses_apart():
    """A real server's own address is of no use to a client."""
    with Topology(servers=1) as net:
        with net.client1.enter():
            try:
                socket.create_connection((net.servers[0].address, 21), timeout=5).close()
                raise AssertionError("the client reached a real server's own address")
            except ConnectionRefusedError:
                pass
        assert net.leaked() > 0


def test_plain_ipvs_nat_fails():
    plain_ipvs_fails("nat")


@long
def test_plain_ipvs_dr_fails():
    plain_ipvs_fails("dr")


def plain_ipvs_fails(forwarding):
    """IPVS balances the control connections, and not one data connection finds its real server."""
    with Topology(forwarding) as net:
        net.plain_ipvs()
        report = load(net.client1, net.vip, timeout=2)
        print(report)
        assert not report.errors, report
        assert report.sessions_per_server == {"rs1": 10, "rs2": 10, "rs3": 10}, report
        assert report.total == 240, report
        assert report.right == 0, report
