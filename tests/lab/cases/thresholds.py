"""`max_sessions`: IPVS gives a full server no new session, and its sessions go on, with new data connections."""

import json
import socket
import struct

from daemon import ftpdirector
from ftpload import MODES, Session
from hosts import poll
from selection import long
from topology import IPVSADM_FLAG, VIP, Topology

FULL = "ftpdirector_server_full"
DRIFT = "ftpdirector_kernel_drift_total"


def test_nat_a_full_server_gets_no_new_session():
    a_full_server_gets_no_new_session("nat")


@long
def test_dr_a_full_server_gets_no_new_session():
    a_full_server_gets_no_new_session("dr")


@long
def test_tun_a_full_server_gets_no_new_session():
    a_full_server_gets_no_new_session("tun")


def a_full_server_gets_no_new_session(forwarding):
    """The others get them; when all are full the client is refused at once, and let in when one session has ended."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon(limited(net, rs1=1, rs2=2, rs3=2)).wait_ready()
        # Data services have no threshold.
        assert thresholds(net) == {"10.0.0.11": [1, 1], "10.0.0.12": [2, 2], "10.0.0.13": [2, 2]}, thresholds(net)
        assert thresholds(net, "FWM") == {server.address: [0, 0] for server in net.servers}, thresholds(net, "FWM")
        assert daemon.metrics().sum(FULL) == 0
        with net.client1.enter():
            sessions = [Session(net.vip) for _ in range(5)]
        assert sorted(session.server for session in sessions) == ["rs1", "rs2", "rs2", "rs3", "rs3"]
        assert refused(net)
        assert daemon.metrics().sum(FULL) == 3
        found = status(net, daemon)
        assert {name: (server["full"], server["max_sessions"]) for name, server in found.items()} == {
            "rs1": (True, 1), "rs2": (True, 2), "rs3": (True, 2),
        }, found
        said = ftpdirector(net.director, "status", "--config", daemon.config).stdout
        assert said.count(" full ") == 3, said
        for session in sessions:
            for mode in MODES:
                with net.client1.enter():
                    assert session.fetch(session.announce(mode)).decode().strip() == session.server, mode

        # The place of one that has ended is free: the whole of it, not only when a quarter is.
        leaving = next(session for session in sessions if session.server == "rs2")
        hang_up(leaving)
        new = poll(lambda: session_or_none(net), what="a place at rs2")
        assert new.server == "rs2", new.server
        assert refused(net)
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()


def test_a_threshold_is_put_right_and_changed_in_place():
    with Topology("nat") as net:
        text = limited(net, rs1=1)
        daemon = net.start_daemon(text).wait_ready()
        with net.client1.enter():
            first = [Session(net.vip) for _ in range(3)]
        assert sorted(session.server for session in first) == ["rs1", "rs2", "rs3"]
        # What another program does: a server without a limit, then one with another.
        for number, options in enumerate((["-x", "0"], ["-x", "7", "-y", "3"]), start=1):
            to = ["-t", f"{VIP}:21", "-r", "10.0.0.11:21", IPVSADM_FLAG["nat"], "-w", "1"]
            net.director.run(["ipvsadm", "-e", *to, *options])
            poll(lambda: daemon.metrics().sum(DRIFT) == number, what="the count of the change")
            assert thresholds(net)["10.0.0.11"] == [1, 1], thresholds(net)
        assert any("put right: ipvsadm -e" in line and "-x 1 -y 1" in line for line in daemon.log().splitlines()), daemon.log()

        for limit in (3, None):
            text = limited(net, rs1=limit) if limit else net.config()
            daemon.config.write_text(text)
            planned = ftpdirector(net.director, "plan", "--config", daemon.config).stdout
            assert (f"-w 1 -x {limit} -y {limit}" if limit else "10.0.0.11:21 -m -w 1\n") in planned, planned
            assert ftpdirector(net.director, "reload", "--config", daemon.config).returncode == 0
            assert thresholds(net)["10.0.0.11"] == [limit or 0] * 2, thresholds(net)
            with net.client1.enter():
                more = [Session(net.vip) for _ in range(3)]
            assert sorted(session.server for session in more) == ["rs1", "rs2", "rs3"]
        for session in first:
            for mode in MODES:
                with net.client1.enter():
                    assert session.fetch(session.announce(mode)).decode().strip() == session.server, mode
        assert daemon.metrics().sum(DRIFT) == 2, daemon.log()
        # There is no series without the key.
        assert not any(name == FULL for name, _ in daemon.metrics())


def test_a_restart_keeps_a_full_server_full():
    with Topology("nat", servers=1) as net:
        text = limited(net, rs1=2)
        daemon = net.start_daemon(text).wait_ready()
        with net.client1.enter():
            sessions = [Session(net.vip) for _ in range(2)]
        daemon.kill9()
        assert refused(net)
        daemon = net.start_daemon(text).wait_ready()
        assert refused(net)
        for session in sessions:
            with net.client1.enter():
                assert session.fetch(session.announce("EPSV")).decode().strip() == "rs1"
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()
        assert daemon.metrics().sum(FULL, server="rs1") == 1


def limited(net, **limits):
    """The topology's configuration with `max_sessions` of these servers."""
    text = net.config()
    for name, limit in limits.items():
        text = text.replace(f"name: {name},", f"max_sessions: {limit}, name: {name},")
    return text


def thresholds(net, kind="TCP"):
    """Upper and lower threshold in the services of this kind, by the servers' addresses."""
    found, service = {}, None
    for words in map(str.split, net.director.run(["ipvsadm", "-Ln", "--thresholds"]).stdout.splitlines()):
        if words[:1] == ["->"] and service == kind and words[2].isdigit():
            found[words[1].rsplit(":", 1)[0]] = [int(word) for word in words[2:4]]
        elif words[:1] in (["TCP"], ["FWM"]):
            service = words[0]
    return found


def session_or_none(net):
    """A new session; `None` where every server is full."""
    try:
        with net.client2.enter():
            return Session(net.vip, timeout=5)
    except ConnectionRefusedError:
        return None


def refused(net):
    """The manual says how: at once, with "Connection refused"."""
    session = session_or_none(net)
    if session is not None:
        session.close()
    return session is None


def status(net, daemon):
    answer = json.loads(ftpdirector(net.director, "status", "--json", "--config", daemon.config).stdout)
    return {server["name"]: server for server in answer["clusters"][0]["servers"]}


def hang_up(session):
    """Ends a control connection so that IPVS forgets it in ten seconds, not in two minutes."""
    session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    session.file.close()
    session.sock.close()
