"""Another configuration under live sessions: what keepalived's reload forgets, and what leaves only with its last connection."""

import json
import socket
import struct

from daemon import ftpdirector
from ftpload import MODES, Session, load
from hosts import poll
from selection import long
from topology import VIP, Topology

DRIFT = "ftpdirector_kernel_drift_total"


def reload(daemon, text):
    """Puts another file in force; returns what `plan` said beforehand."""
    daemon.config.write_text(text)
    planned = ftpdirector(daemon.director, "plan", "--config", daemon.config)
    assert planned.returncode in (0, 1), planned
    done = ftpdirector(daemon.director, "reload", "--config", daemon.config)
    assert done.returncode == 0, f"{done.stderr}\n{text}"
    return planned.stdout


def serves(client, session, modes=MODES):
    """New data connections of a client's session in every mode, each from its own server."""
    for mode in modes:
        with client.enter():
            content = session.fetch(session.announce(mode)).decode().strip()
        assert content == session.server, f"{mode}: {content}, not {session.server}"


def hang_up(session):
    """Ends a control connection so that IPVS forgets it in ten seconds, not in two minutes."""
    session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    session.file.close()
    session.sock.close()


def without(text, name):
    return "".join(line for line in text.splitlines(keepends=True) if f"name: {name}," not in line)


def one_on_each(net):
    with net.client1.enter():
        sessions = [Session(net.vip) for _ in net.servers]
    assert sorted(session.server for session in sessions) == ["rs1", "rs2", "rs3"]
    return {session.server: session for session in sessions}


def test_nat_removed_server_serves_its_sessions_to_the_end():
    removed_server("nat")


@long
def test_dr_removed_server_serves_its_sessions_to_the_end():
    removed_server("dr")


def removed_server(forwarding):
    """It takes no new session, its live one goes on in every mode, over a restart too; added again it is as before."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon().wait_ready()
        full = daemon.config.read_text()
        session = one_on_each(net)["rs3"]
        said = reload(daemon, without(full, "rs3"))
        assert "(10.0.0.13) is no longer in the file" in said, said
        assert "-w 0" in said, said
        serves(net.client1, session)
        report = load(net.client2, net.vip, sessions=4, rounds=1)
        assert report.right == report.total == 16 and report.sessions_per_server == {"rs1": 2, "rs2": 2}, report
        found = json.loads(ftpdirector(net.director, "status", "--json", "--config", daemon.config).stdout)
        (leaving,) = [server for server in found["clusters"][0]["servers"] if server["name"] == "rs3"]
        assert leaving["sessions"] == 1 and leaving["effective_weight"] == 0, leaving

        daemon.kill9()
        daemon = net.start_daemon(without(full, "rs3")).wait_ready()
        serves(net.client1, session)
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()
        reload(daemon, full)
        serves(net.client1, session, ("EPSV",))
        weights = services(net).count("-w 1")
        assert weights == 6, services(net)
        if forwarding == "dr":
            goes_with_its_last_connection(net, daemon, session, without(full, "rs3"))
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()


def goes_with_its_last_connection(net, daemon, session, text):
    """Removed once more, and then nobody uses it any longer."""
    reload(daemon, text)
    assert "10.0.0.13:21" in services(net)
    serves(net.client1, session, ("EPSV",))
    hang_up(session)
    poll(lambda: "10.0.0.13:21" not in services(net), what="the removed server's end in the control service")

    def rows():
        return net.director.run(["nft", "list", "map", "inet", "ftpdirector", "server_marks4"]).stdout

    poll(lambda: "10.0.0.13" not in rows(), what="the end of its rows")


def services(net):
    return net.director.run(["ipvsadm", "-Sn"]).stdout


def test_what_a_reload_changes_under_live_sessions():
    """Scheduler, persistence on and off, wider ranges, control ports: live sessions notice nothing."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        text = daemon.config.read_text()
        sessions = one_on_each(net).values()

        def change(new, said=None):
            planned = reload(daemon, new)
            assert said is None or said in planned, planned
            for session in sessions:
                serves(net.client1, session)

        change(text.replace("scheduler: rr", "scheduler: wrr"))
        assert f"-t {VIP}:21 -s wrr" in services(net)
        change(text.replace("scheduler: rr", "scheduler: rr\n    persistence: 5m"))
        assert "-p 300" in services(net)
        change(text.replace("scheduler: rr", "scheduler: rr\n    persistence: 6m"))
        assert "-p 360" in services(net)
        change(text)
        change(text.replace("31000-31999", "30000-31999"))
        # The control port moves: nobody new comes by the old one.
        moved = text.replace("scheduler: rr", "scheduler: rr\n    ports: [2121]").replace("name: rs", "port: 21, name: rs")
        change(moved)
        with net.client2.enter():
            new = Session(net.vip, port=2121)
        serves(net.client2, new)
        with net.client2.enter():
            try:
                Session(net.vip, timeout=2).close()
                raise AssertionError("a new session by the old port")
            except OSError:
                pass
        change(text)
        # The servers' own port moves; what answers on the old one is still read.
        other = text.replace("name: rs", "port: 2100, name: rs").replace("forwarding: nat", "forwarding: nat\n    health_check: {kind: none}")
        change(other)
        change(text)
        # Told beforehand, not tried: the servers of these sessions would not answer.
        daemon.config.write_text(text.replace("31000-31999", "34000-34999").replace("forwarding: nat", "forwarding: dr"))
        said = ftpdirector(net.director, "plan", "--config", daemon.config).stdout
        assert "ports 31000-31999 are its own no longer" in said, said
        assert said.count("keep their forwarding method") == 3, said
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()


def test_a_removed_cluster_serves_its_sessions_to_the_end():
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        text = daemon.config.read_text()
        sessions = one_on_each(net).values()
        reload(daemon, text.replace("name: lab", "name: other").replace(VIP, "10.0.0.101"))
        for session in sessions:
            serves(net.client1, session)
        with net.client2.enter():
            try:
                Session(net.vip, timeout=2).close()
                raise AssertionError("a new session of a removed cluster")
            except OSError:
                pass
        reload(daemon, text)
        report = load(net.client2, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report


def test_what_keepalived_forgets():
    """Weight 0 and back, another persistence, a service deleted by hand, a weight set by hand."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        text = daemon.config.read_text()

        reload(daemon, text.replace("name: rs1,", "name: rs1, weight: 0,"))
        assert f"-r {net.servers[0].address}:21 -m -w 0" in services(net)
        reload(daemon, text)
        before = services(net)
        assert before.count("-m -w 0") == 0, before
        for command in (["-D", "-t", f"{VIP}:21"], ["-e", "-t", f"{VIP}:21", "-r", "10.0.0.12:21", "-m", "-w", "0"]):
            counted = daemon.metrics().sum(DRIFT)
            net.director.run(["ipvsadm", *command])
            poll(lambda: sorted(services(net).splitlines()) == sorted(before.splitlines()), what="the service as it was")
            assert daemon.metrics().sum(DRIFT) > counted
        assert "ftpdirector drain CLUSTER/SERVER" in daemon.log()
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.sessions_per_server == {"rs1": 2, "rs2": 2, "rs3": 2}, report
