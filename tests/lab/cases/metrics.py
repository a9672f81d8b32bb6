"""Every metric, with its labels, after traffic whose size is known."""

import ftplib
import io
import socket

from ftpload import MODES, Session
from hosts import poll
from realserver import BIG
from selection import long
from topology import RANGES, Topology

# Names are for ever: dashboards and alerts are written with them.
FAMILIES = {
    "sessions": "cluster server",
    "control_connections_total": "cluster server",
    "commands_total": "cluster verb",
    "expectations_total": "cluster mode result",
    "data_connections_total": "cluster server result",
    "unexpected_data_total": "cluster",
    "replies_rewritten_total": "cluster",
    "unparsed_total": "cluster reason",
    "blind_sessions_total": "cluster reason",
    "verdict_seconds_count": "",
    "queue_dropped_total": "queue",
    "server_up": "cluster server",
    "server_weight": "cluster server",
    "health_check_seconds": "cluster server step",
    "health_check_file_unreadable": "cluster server",
    "ipvs_connections_total": "cluster server connection",
    "ipvs_bytes_total": "cluster server connection direction",
    "ipvs_packets_total": "cluster server connection direction",
    "config_reload_success": "",
    "config_reload_timestamp_seconds": "",
    "kernel_drift_total": "",
    "build_info": "version",
}
UPLOADS = "write_enable=YES\nanon_upload_enable=YES\n"
SERVERS = 2


def test_nat_every_metric():
    every_metric("nat")


@long
def test_dr_every_metric():
    every_metric("dr")


def every_metric(forwarding):
    with Topology(forwarding, servers=SERVERS, vsftpd=UPLOADS) as net:
        for server in net.servers:
            incoming = server.files / "srv" / "incoming"
            incoming.mkdir()
            incoming.chmod(0o777)
        daemon = net.start_daemon().wait_ready()
        counted = Counted(daemon)
        with net.client1.enter():
            sessions = [Session(net.vip) for _ in range(SERVERS)]
            assert {session.server for session in sessions} == {"rs1", "rs2"}
            for session in sessions:
                transfers(session)
            refused_and_unread(sessions[0])
        with net.client2.enter():
            unexpected(net)
        believable(counted, forwarding)
        # When the kernel's counters begin again nothing is lost, and nothing counted twice.
        before = counted.now()
        begin_again(net)
        with net.client1.enter():
            Session(net.vip).close()
        counted.reaches(SERVERS + 1, "ipvs_connections_total", connection="control")
        after = counted.now()
        for sample, value in before.items():
            name, _ = sample
            if name.startswith("ftpdirector_") and name.endswith("_total"):
                assert after[sample] >= value, f"{sample} went back: {value} → {after[sample]}"
        assert after.sum("ftpdirector_kernel_drift_total") > 0, daemon.log()


class Counted:
    """What the daemon says that has been counted."""

    def __init__(self, daemon):
        self.daemon = daemon

    def now(self):
        return self.daemon.metrics()

    def of(self, name, **labels):
        return self.now().sum(f"ftpdirector_{name}", **labels)

    def reaches(self, value, name, **labels):
        """Exactly so many, soon: IPVS publishes every two seconds, expectations end when their time is over."""
        poll(lambda: self.of(name, **labels) >= value, what=lambda: f"{name} {labels} at {value} ({self.of(name, **labels)})")
        assert self.of(name, **labels) == value, f"{name} {labels}: {self.of(name, **labels)}, not {value}"


def transfers(session):
    """One file in each mode, a big one down and a big one up."""
    for mode in MODES:
        assert session.fetch(session.announce(mode)).decode().strip() == session.server, mode
    assert len(session.fetch(session.announce("EPSV"), "big.bin")) == BIG
    session.storbinary(f"STOR incoming/{session.server}", io.BytesIO(bytes(BIG)))


def refused_and_unread(session):
    """A PORT to somebody else, one that is no PORT, two EPSV of which one is overtaken and the other never used."""
    for command in ("PORT 192,0,2,1,100,100", "PORT 1,2,3"):
        try:
            session.sendcmd(command)
            raise AssertionError(f"{command} was accepted")
        except ftplib.error_perm:
            pass
    session.announce("EPSV")
    session.announce("EPSV")


def unexpected(net):
    try:
        socket.create_connection((net.vip, RANGES["disjoint"][0][0]), timeout=0.5).close()
        raise AssertionError("an unexpected data connection was accepted")
    except TimeoutError:
        pass


def believable(counted, forwarding):
    poll(lambda: all(steps(counted.now(), server) for server in ("rs1", "rs2")), what="the first health check of each server")
    metrics = counted.now()
    for family, labels in FAMILIES.items():
        found = [set(dict(pairs)) for (name, pairs) in metrics if name == f"ftpdirector_{family}"]
        assert found, f"there is no ftpdirector_{family}"
        assert all(names == set(labels.split()) for names in found), f"ftpdirector_{family}: {found}"
    nat = forwarding == "nat"
    assert counted.of("sessions") == SERVERS
    assert counted.of("control_connections_total") == SERVERS
    # Six transfers, of which storbinary is a passive one.
    for verb, count in (("RETR", 5), ("STOR", 1), ("EPRT", 1), ("USER", 1)):
        assert counted.of("commands_total", verb=verb) == count * SERVERS, verb
    counted.reaches(4 * SERVERS, "expectations_total", mode="passive", result="used")
    counted.reaches(2 * SERVERS, "expectations_total", mode="active", result="used")
    counted.reaches(1, "expectations_total", mode="passive", result="superseded")
    counted.reaches(1, "expectations_total", mode="passive", result="expired")
    counted.reaches(1, "expectations_total", mode="active", result="refused")
    for server in ("rs1", "rs2"):
        # A SYN that had to be repeated counts twice.
        assert 6 <= counted.of("data_connections_total", server=server, result="landed") < 9
        assert counted.of("server_up", server=server) == counted.of("server_weight", server=server) == 1
        assert {"connect", "banner"} <= steps(counted.now(), server)
    assert counted.of("data_connections_total", result="misdirected") == 0
    assert counted.of("unexpected_data_total") >= 1
    assert counted.of("unparsed_total", reason="malformed") == 1
    assert counted.of("replies_rewritten_total") == (2 * SERVERS if nat else 0), counted.now()
    assert counted.of("blind_sessions_total") == counted.of("queue_dropped_total") == 0
    assert counted.of("config_reload_success") == 1 and counted.of("kernel_drift_total") == 0
    traffic(counted, nat)


def traffic(counted, nat):
    """IPVS's own numbers: active connections in NAT are the connection tracking's."""
    counted.reaches(SERVERS, "ipvs_connections_total", connection="control")
    counted.reaches((4 if nat else 6) * SERVERS, "ipvs_connections_total", connection="data")
    for server in ("rs1", "rs2"):
        of = {"server": server, "connection": "data"}
        # The upload, headers and all; its acknowledgements are a small part of it.
        poll(lambda: counted.of("ipvs_bytes_total", direction="in", **of) >= BIG, what=f"an upload in the bytes of {server}")
        assert counted.of("ipvs_bytes_total", direction="in", **of) < 1.5 * BIG
        assert counted.of("ipvs_packets_total", direction="in", **of) > BIG / 65536
        directions = {dict(pairs)["direction"] for (name, pairs) in counted.now() if name == "ftpdirector_ipvs_bytes_total"}
        assert directions == ({"in", "out"} if nat else {"in"}), directions
        if nat:
            poll(lambda: counted.of("ipvs_bytes_total", direction="out", **of) >= BIG, what=f"a download of {server}")
            assert counted.of("ipvs_bytes_total", direction="out", **of) < 1.5 * BIG
        control = counted.of("ipvs_bytes_total", direction="in", server=server, connection="control")
        assert 500 < control < BIG / 100, control


def steps(metrics, server):
    wanted = ("server", server)
    found = [dict(pairs) for (name, pairs) in metrics if name == "ftpdirector_health_check_seconds" and wanted in pairs]
    return {labels["step"] for labels in found}


def begin_again(net):
    """Someone zeroes all counters, and deletes a real server from the control service, which the daemon puts back."""
    server = f"{net.servers[0].address}:21"
    net.director.run(["ipvsadm", "-Z"])
    net.director.run(["ipvsadm", "-d", "-t", f"{net.vip}:21", "-r", server])
    poll(lambda: server in net.director.run(["ipvsadm", "-Ln"]).stdout, what="the real server put back")
