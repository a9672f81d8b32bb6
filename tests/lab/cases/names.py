"""Real servers that stand in the file by name: the name's address comes, changes, goes, and is refused."""

import json

from daemon import ftpdirector
from ftpload import MODES, Session, load
from hosts import poll
from nameserver import name_server, written
from selection import long
from topology import VIP, Topology

NAME = "ftp.example.net"
DRIFT = "ftpdirector_kernel_drift_total"
RESOLVED = "ftpdirector_server_name_resolved"
FAILURES = "ftpdirector_server_name_failures_total"
# A failed look-up is repeated after ten seconds, an answer of one second is kept for five.
SOON = 60


def file(net):
    """rs1 by its address, and the server by name, which may be rs2 or rs3: its range is that of both."""
    return f"""clusters:
  - name: lab
    vips: ['{net.vip}']
    forwarding: nat
    scheduler: rr
    real_servers:
      - {{name: rs1, address: 10.0.0.11, passive_ports: 31000-31999}}
      - {{name: named, address: {NAME}, passive_ports: 32000-33999}}
"""


def cluster(daemon):
    found = ftpdirector(daemon.director, "status", "--json", "--config", daemon.config)
    assert found.returncode == 0, found
    return json.loads(found.stdout)["clusters"][0]


def named(daemon):
    """Address and trouble of the server by name."""
    servers = {server["name"]: server for server in cluster(daemon)["servers"]}
    server = servers.get("named", {})
    return server.get("address"), server.get("host_error")


def serves(client, session, modes=MODES):
    for mode in modes:
        with client.enter():
            content = session.fetch(session.announce(mode)).decode().strip()
        assert content == session.server, f"{mode}: {content}, not {session.server}"


def session_on(net, server):
    """A session on this server; those on others end."""
    with net.client1.enter():
        for _ in range(10):
            session = Session(net.vip)
            if session.server == server:
                return session
            session.close()
    raise AssertionError(f"ten sessions, and none on {server}")


def spread(net):
    """Where new sessions go."""
    report = load(net.client2, net.vip, sessions=4, rounds=1)
    assert report.right == report.total == 16, report
    return report.sessions_per_server


def spreads(net, servers):
    """Where a name has moved to a check comes first."""
    poll(lambda: spread(net) == servers, deadline=SOON, what=lambda: f"new sessions to go to {servers}: {spread(net)}")


def command(daemon, *arguments):
    return ftpdirector(daemon.director, *arguments, "--config", daemon.config)


def test_a_server_follows_its_name():
    """Left out until its name has an address; with another one new sessions go there and live ones end where they are."""
    with Topology("nat") as net, name_server(net.director) as names:
        daemon = net.start_daemon(file(net)).wait_ready()
        poll(lambda: cluster(daemon)["unresolved"][0]["error"] == "SERVFAIL", what="the server to be left out")
        (left_out,) = cluster(daemon)["unresolved"]
        assert (left_out["name"], left_out["host"]) == ("named", NAME), left_out
        assert daemon.metrics().sum(RESOLVED, server="named") == 0, daemon.metrics()
        poll(lambda: daemon.metrics().sum(FAILURES, server="named") >= 2, deadline=SOON, what="another look-up")
        assert spread(net) == {"rs1": 4}
        checked = command(daemon, "check")
        assert checked.returncode == 0 and "1 cluster, 2 real servers" in checked.stdout, checked
        assert f"warning: lab/named: {NAME} has no usable address: SERVFAIL" in checked.stderr, checked
        planned = command(daemon, "plan")
        assert planned.returncode == 0 and not planned.stdout, planned
        assert daemon.log().count("until it has one the server is left out") == 1, daemon.log()
        drained = command(daemon, "drain", "lab/named")
        assert drained.returncode != 0 and "has no address" in drained.stderr, drained

        names.address = "10.0.0.12"
        poll(lambda: named(daemon) == ("10.0.0.12", None), deadline=SOON, what="the server to be there")
        assert cluster(daemon)["unresolved"] == [] and spread(net) == {"rs1": 2, "rs2": 2}
        assert daemon.metrics().sum(RESOLVED, server="named") == 1, daemon.metrics()
        assert command(daemon, "plan").returncode == 0
        old = session_on(net, "rs2")

        # By TTL.
        names.address = "10.0.0.13"
        poll(lambda: named(daemon) == ("10.0.0.13", None), deadline=SOON, what="the other address")
        serves(net.client1, old)
        spreads(net, {"rs1": 2, "rs3": 2})
        (leaving,) = [server for server in cluster(daemon)["servers"] if server["address"] == "10.0.0.12"]
        assert (leaving["name"], leaving["sessions"], leaving["effective_weight"]) == ("10.0.0.12", 1, 0), leaving
        assert "the name has another address" in daemon.log(), daemon.log()

        # Without an answer, or with one that cannot be, the last address goes on.
        for address, why in ((None, "SERVFAIL"), (VIP, f"{VIP} is a VIP"), ("127.0.0.1", "127.0.0.1 is a loopback address"), ("10.0.0.11", "10.0.0.11 is the address of the server rs1")):
            names.address = address
            poll(lambda: named(daemon) == ("10.0.0.13", why), deadline=SOON, what=lambda: f"{why}: {named(daemon)}")
            assert spread(net) == {"rs1": 2, "rs3": 2}
        serves(net.client1, old)

        # /etc/hosts comes first.
        with written("/etc/hosts", f"127.0.0.1 localhost\n10.0.0.12 elsewhere {NAME}\n"):
            poll(lambda: named(daemon) == ("10.0.0.12", None), deadline=SOON, what="the address of /etc/hosts")
            serves(net.client1, old)
            spreads(net, {"rs1": 2, "rs2": 2})
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()


@long
def test_where_a_name_moves_to_a_check_must_be_good_first():
    """A name that moves faster than three checks fail would else never be found out."""
    check = "    health_check: {kind: banner, interval: 2s, timeout: 1s}\n"
    with Topology("nat") as net, name_server(net.director) as names:
        names.address = "10.0.0.12"
        daemon = net.start_daemon(file(net).replace("    real_servers:", f"{check}    real_servers:")).wait_ready()
        assert spread(net) == {"rs1": 2, "rs2": 2}
        for nobody in ("10.0.0.98", "10.0.0.99"):
            names.address = nobody
            poll(lambda: named(daemon) == (nobody, None), deadline=SOON, what=nobody)
            assert spread(net) == {"rs1": 4}
        names.address = "10.0.0.13"
        poll(lambda: named(daemon) == ("10.0.0.13", None), deadline=SOON, what="the other server")
        spreads(net, {"rs1": 2, "rs3": 2})
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()


def test_plan_reload_and_restart_look_names_up():
    """However long the TTL is. `plan` says what another address changes; a restart goes on with what sessions use."""
    with Topology("nat") as net, name_server(net.director) as names:
        names.address, names.ttl = "10.0.0.12", 86_400
        daemon = net.start_daemon(file(net)).wait_ready()
        assert named(daemon) == ("10.0.0.12", None) and command(daemon, "plan").returncode == 0
        old = session_on(net, "rs2")
        names.address = "10.0.0.13"
        planned = command(daemon, "plan")
        assert planned.returncode == 1, planned
        assert "-r 10.0.0.13:21 -m -w 1" in planned.stdout and "-r 10.0.0.12:21 -m -w 0" in planned.stdout, planned
        assert "(10.0.0.12) is no longer in the file, nor the address of a name in it" in planned.stdout, planned
        assert named(daemon) == ("10.0.0.12", None), "nobody asked"
        assert command(daemon, "reload").returncode == 0
        assert named(daemon) == ("10.0.0.13", None) and command(daemon, "plan").returncode == 0
        serves(net.client1, old)
        spreads(net, {"rs1": 2, "rs3": 2})

        daemon.kill9()
        daemon = net.start_daemon(file(net)).wait_ready()
        assert named(daemon) == ("10.0.0.13", None)
        serves(net.client1, old)
        assert command(daemon, "plan").returncode == 0

        # Nobody answers when it is started: live sessions go on, and new ones come when the name is known.
        new = session_on(net, "rs3")
        assert daemon.term() == 0
        names.address = None
        daemon = net.start_daemon(file(net)).wait_ready()
        assert named(daemon) == (None, None) and spread(net) == {"rs1": 4}
        for session in (old, new):
            serves(net.client1, session)
        names.address = "10.0.0.13"
        poll(lambda: named(daemon) == ("10.0.0.13", None), deadline=SOON, what="the server to be back")
        serves(net.client1, new)
        assert spread(net) == {"rs1": 2, "rs3": 2}
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()
