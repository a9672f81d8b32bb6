"""The main job: every data connection lands on the real server of its control connection."""

import socket

from ftpload import Load, Session, load
from hosts import poll
from topology import RANGES, Topology

EVEN = {"rs1": 10, "rs2": 10, "rs3": 10}
DATA = "ftpdirector_data_connections_total"


def test_nat_thirty_sessions():
    thirty_sessions("nat")


def test_dr_thirty_sessions():
    thirty_sessions("dr")


def thirty_sessions(forwarding):
    """One client address, three servers, round robin, each file twice in each of PASV, EPSV, PORT, EPRT."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon().wait_ready()
        report = load(net.client1, net.vip)
        assert report.right == report.total == 240, report
        assert report.sessions_per_server == EVEN, report
        assert net.leaked() == 0

        def landed():
            return daemon.metrics().sum(DATA, result="landed")

        poll(lambda: landed() >= 240, what=lambda: f"240 data connections counted as landed ({landed():g} are)")
        assert daemon.metrics().sum(DATA, result="misdirected") == 0, daemon.metrics()


def test_two_clients_at_once():
    with Topology("nat") as net:
        net.start_daemon().wait_ready()
        loads = []
        for client in net.clients:
            with client.enter():
                loads.append(Load(net.vip, sessions=6))
        for report in [running.wait() for running in loads]:
            assert report.right == report.total == 48, report


def test_one_client_port_at_every_server():
    """A client's port is not tied to the server that it last served for, wherever that calls from: Pure-FTPd from 20 or any port,
    pyftpdlib from any."""
    for forwarding, kinds in (("nat", ["vsftpd"]), ("dr", ["vsftpd"]), ("dr", ["vsftpd", "pureftpd", "pyftpdlib"])):
        with Topology(forwarding, kinds=kinds) as net:
            daemon = net.start_daemon().wait_ready()
            with net.client1.enter():
                sessions = [Session(net.vip) for _ in net.servers]
                for session in sessions * 2:
                    content = session.fetch(session.announce("PORT", port=50000)).decode().strip()
                    assert content == session.server, f"{forwarding}: {content}, not {session.server}"
            assert daemon.metrics().sum(DATA, result="misdirected") == 0


def test_nat_shared_range():
    """All three servers hand out the same hundred ports: only the 227 and 229 tell them apart."""
    with Topology("nat", ranges="shared") as net:
        daemon = net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, modes=("PASV", "EPSV"))
        # The one thing not promised yet: two servers that hand one client the same port at the same instant.
        assert report.sessions_per_server == EVEN, report
        assert report.misdirected == 0, report
        assert report.right == report.total == 120, report
        assert daemon.metrics().sum(DATA, result="misdirected") == 0


def test_nat_reply_names_the_vip():
    """What the client sees in a 227 is the VIP; the router counts any real server's own address."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, sessions=3, modes=("PASV",))
        assert report.right == report.total == 6, report
        assert net.leaked() == 0
        assert daemon.metrics().sum("ftpdirector_replies_rewritten_total") >= 6


def test_unexpected_data_is_dropped_and_counted():
    """A SYN that nobody expects to a passive range gets no answer at all."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            try:
                socket.create_connection((net.vip, RANGES["disjoint"][0][0]), timeout=1.5).close()
                raise AssertionError("an unexpected data connection was accepted")
            except TimeoutError:
                pass
        poll(lambda: daemon.metrics().sum("ftpdirector_unexpected_data_total") > 0, what="the count of unexpected data")


def test_metrics_name_the_cluster():
    """The rest of the minimum: sessions, commands, expectations, verdict latency, build."""
    with Topology("dr") as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            session = Session(net.vip)
        opening = session.announce("EPSV")
        assert daemon.metrics().sum("ftpdirector_sessions", cluster="lab", server=session.server) == 1
        with net.client1.enter():
            session.fetch(opening)
        session.close()
        metrics = daemon.metrics()
        assert metrics.sum("ftpdirector_commands_total", verb="EPSV") == 1, metrics
        assert metrics.sum("ftpdirector_commands_total", verb="RETR") == 1, metrics
        assert metrics.sum("ftpdirector_verdict_seconds_count") > 0, metrics
        assert metrics.sum("ftpdirector_build_info") == 1, metrics
        poll(
            lambda: daemon.metrics().sum("ftpdirector_expectations_total", mode="passive") == 1,
            what="the expectation counted",
        )
        poll(lambda: daemon.metrics().sum("ftpdirector_sessions") == 0, what="the end of the session")
