"""Every road to a real server: tunnels, IPv6, TLS, persistence, a shared range that runs out."""

import re

from ftpload import Session, load
from hosts import poll
from realserver import TLS, make_certificate
from selection import long
from topology import VIP, Topology

EVEN = {"rs1": 10, "rs2": 10, "rs3": 10}
DATA = "ftpdirector_data_connections_total"
EXTENDED = ("EPSV", "EPRT")


def all_right(report, total, daemon):
    assert report.right == report.total == total, report
    assert report.sessions_per_server == EVEN, report
    assert daemon.metrics().sum(DATA, result="misdirected") == 0, report
    poll(lambda: daemon.metrics().sum(DATA, result="landed") >= total, what=f"{total} data connections counted as landed")


def test_tun_thirty_sessions():
    with Topology("tun") as net:
        daemon = net.start_daemon().wait_ready()
        all_right(load(net.client1, net.vip), 240, daemon)


def test_ipv6_nat_thirty_sessions():
    ipv6("nat")


def test_ipv6_dr_thirty_sessions():
    ipv6("dr")


def test_ipv6_tun_thirty_sessions():
    ipv6("tun")


def ipv6(forwarding):
    """RFC 2428 is the only way there: PASV and PORT have no place for an IPv6 address."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon(net.config(ipv6=True)).wait_ready()
        all_right(load(net.client1, net.vip6, modes=EXTENDED), 120, daemon)


def test_nat_shared_range_runs_out():
    """Sixty sessions of one client on thirty ports, all named before the first is used: translated, none mixed up.

    With pyftpdlib, which tries all of its thirty ports: vsftpd with twenty in use fails one PASV in sixty by itself.
    """
    with Topology("nat", ranges=[(40000, 40029)] * 3, kinds=["pyftpdlib alone"]) as net:
        daemon = net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, sessions=60, rounds=1, modes=("PASV", "EPSV"), together=True)
        assert report.right == report.total == 120, report
        assert report.sessions_per_server == {"rs1": 20, "rs2": 20, "rs3": 20}, report
        assert daemon.metrics().sum(DATA, result="misdirected") == 0
        poll(lambda: daemon.metrics().sum(DATA, result="landed") >= 120, what="120 data connections counted as landed")


@long
def test_disjoint_ranges_all_named_first():
    for forwarding in ("nat", "dr", "tun"):
        with Topology(forwarding) as net:
            daemon = net.start_daemon().wait_ready()
            report = load(net.client1, net.vip, sessions=60, rounds=1, modes=("PASV", "EPSV"), together=True)
            assert report.right == report.total == 120, (forwarding, report)
            assert report.sessions_per_server == {"rs1": 20, "rs2": 20, "rs3": 20}, (forwarding, report)
            assert daemon.metrics().sum(DATA, result="misdirected") == 0


def test_tls_dr():
    tls("dr", "")


# Nobody can rewrite a 227 under TLS: the servers say the VIP themselves. On an IPv6 socket vsftpd would say 0,0,0,0.
SAYS_VIP = f"pasv_address={VIP}\nlisten=YES\nlisten_ipv6=NO\n"


def test_tls_nat():
    tls("nat", SAYS_VIP)


def test_tls_tun():
    tls("tun", "")


def tls(forwarding, extra):
    """Thirty sessions of one address under TLS: the ranges tell them apart."""
    make_certificate()
    with Topology(forwarding, vsftpd=TLS + extra) as net:
        daemon = net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, rounds=1, modes=("PASV", "EPSV"), timeout=60.0, tls=True)
        all_right(report, 60, daemon)
        assert daemon.metrics().sum("ftpdirector_blind_sessions_total", reason="tls") == 30, daemon.metrics()


def test_tls_implicit():
    """Port 990: nothing was ever readable."""
    make_certificate()
    with Topology("dr", vsftpd=TLS + "implicit_ssl=YES\nlisten_port=990\n") as net:
        config = net.config(more=["ports: [990]", "health_check: {kind: tcp}"])
        daemon = net.start_daemon(config).wait_ready()
        options = {"rounds": 1, "modes": ("PASV", "EPSV"), "timeout": 60.0, "tls": True, "port": 990}
        all_right(load(net.client1, net.vip, **options), 60, daemon)


def test_tls_active_nat():
    """Under TLS the source address of an active connection follows from its server, its port and the client."""
    make_certificate()
    with Topology("nat", vsftpd=TLS + SAYS_VIP) as net:
        net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, sessions=6, rounds=1, modes=("PORT", "EPRT"), timeout=60.0, tls=True)
        assert report.right == report.total == 12, report


def test_tls_pinholes_close_with_the_session():
    make_certificate()
    with Topology("dr", vsftpd=TLS) as net:
        net.start_daemon().wait_ready()
        with net.client1.enter():
            session = Session(net.vip, timeout=60.0, tls=True)
            session.fetch(session.announce("EPSV"))

        def pinholes(set_name):
            return net.director.run(["nft", "list", "set", "inet", "ftpdirector", set_name]).stdout

        # What it expires in, not its `timeout`: an element put with 10 s and with 15 min in one transaction says "timeout 10s
        # expires 15m" (Linux 6.12 compares with what the element had before it).
        def held_open():
            return re.search(r"expires 1[0-9]m", pinholes("open4"))

        assert held_open() and "expires" in pinholes("blind4"), pinholes("open4")
        session.close()
        poll(lambda: not held_open(), what="the pinhole of the closed session to close")
        poll(lambda: "expires" not in pinholes("blind4"), what="the row of the closed session to go")


def test_persistence_keeps_serving_without_the_daemon():
    """The Red Hat recipe: control and data of one client stay together, daemon or not."""
    for forwarding in ("nat", "dr"):
        with Topology(forwarding) as net:
            daemon = net.start_daemon(net.config(more=["persistence: 5m"])).wait_ready()
            # The first one makes the template. Six at once were seen on two servers, probably because two of them came before
            # there was a template.
            with net.client1.enter():
                Session(net.vip).close()
            report = load(net.client1, net.vip, sessions=6, rounds=1)
            assert report.right == report.total == 24, report
            assert len(report.sessions_per_server) == 1, report
            daemon.kill9()
            report = load(net.client1, net.vip, sessions=6, rounds=1, modes=("EPSV",))
            assert report.right == report.total == 6, report
            assert len(report.sessions_per_server) == 1, report


def test_kernel_timeouts_are_set():
    with Topology("nat") as net:
        net.start_daemon(net.config() + "kernel:\n  timeouts: {tcp: 20s, tcp_fin: 9s, udp: 8s}\n").wait_ready()
        assert "tcp tcpfin udp): 20 9 8" in net.director.run(["ipvsadm", "-L", "--timeout"]).stdout
