"""What an operator asks of the running daemon, and tells it: over the admin socket."""

import json
import os
import shutil
import stat
import urllib.error
import urllib.request

from daemon import BINARY, ftpdirector
from ftpload import Load, Session, load
from hosts import poll
from selection import long
from topology import Topology

SOCKET = "/run/ftpdirector/admin.sock"


def ask(daemon, *words):
    """Runs a command for people; returns what it prints."""
    done = ftpdirector(daemon.director, *words, "--config", daemon.config)
    assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def ask_json(daemon, *words):
    return json.loads(ask(daemon, *words, "--json"))


def servers(daemon):
    """`status` by server."""
    (cluster,) = ask_json(daemon, "status")["clusters"]
    return {server["name"]: server for server in cluster["servers"]}


def test_nat_status():
    status("nat")


def test_dr_status():
    status("dr")


def status(forwarding):
    """Belief and kernel side by side: sessions, IPVS's connections of both services, landings."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, sessions=3, rounds=1)
        assert report.right == report.total == 12, report
        with net.client1.enter():
            sessions = [Session(net.vip) for _ in range(3)]
        found = ask_json(daemon, "status")
        assert found["config"] == {"file": str(daemon.config), "reload_good": True} | {
            "read_at": found["config"]["read_at"]
        }, found
        assert found["kernel_error"] is None, found
        (cluster,) = found["clusters"]
        assert (cluster["name"], cluster["vips"], cluster["ports"]) == ("lab", [net.vip], [21]), cluster
        assert cluster["forwarding"] == forwarding, cluster
        poll(
            lambda: all(server["landed"] == 4 for server in servers(daemon).values()),
            what="four data connections landed on each server",
        )
        for name, server in servers(daemon).items():
            assert server["state"] == "up" and server["weight"] == server["effective_weight"] == 1, server
            own = [session for session in sessions if session.server == name]
            assert server["sessions"] >= len(own) == 1, server
            assert server["control"]["active"] >= 1, server
            assert server["misdirected"] == 0, server
            assert name in ask(daemon, "status")


def test_sessions_and_pinholes():
    """A PORT and an EPSV that nobody has used yet, and the rows that make them true."""
    for forwarding, active in (("nat", "active_nat4"), ("dr", "active4")):
        with Topology(forwarding) as net:
            daemon = net.start_daemon().wait_ready()
            with net.client1.enter():
                calls, waits = Session(net.vip), Session(net.vip)
                calls.announce("PORT")
                waits.announce("EPSV")
            ends = {session: "{}:{}".format(*session.sock.getsockname()) for session in (calls, waits)}
            found = ask_json(daemon, "sessions")
            assert found["total"] == len(found["sessions"]) == 2, found
            by_end = {session["client"]: session for session in found["sessions"]}
            for session, mode in ((calls, "active"), (waits, "passive")):
                listed = by_end[ends[session]]
                assert listed["server"] == session.server and listed["blind"] is None, listed
                assert listed["expectation"]["mode"] == mode and not listed["expectation"]["used"], listed
            rows = ask_json(daemon, "pinholes")["pinholes"]
            (row,) = [row for row in rows if row["set"] == active]
            assert row["server"] == calls.server and row["sessions"] == [ends[calls]], row
            assert 0 < row["remaining_seconds"] <= 30, row
            (pinhole,) = [row for row in rows if row["set"] == "open4"]
            assert pinhole["server"] == waits.server and pinhole["sessions"] == [ends[waits]], pinhole
            for command in ("sessions", "pinholes"):
                assert ends[calls] in ask(daemon, command)


def test_nat_trace():
    trace("nat")


def test_dr_trace():
    trace("dr")


def trace(forwarding):
    """A transfer in each direction as it happens, one client's only, and never a login."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon().wait_ready()
        path = daemon.config.with_suffix(".trace")
        with open(path, "w") as lines:
            listener = net.director.popen(
                [BINARY, "trace", "--config", daemon.config, "--client", net.client1.address, "--json"], stdout=lines
            )
        def traced():
            return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]

        # It listens from the first line on; until then nobody can know.
        def heard():
            with net.client1.enter():
                Session(net.vip).close()
            return traced()

        poll(heard, what="the first line of the trace")
        with net.client2.enter():
            Session(net.vip).close()
        with net.client1.enter():
            session = Session(net.vip)
            own = "{}:{}>".format(*session.sock.getsockname())
            for mode in ("EPSV", "PORT"):
                session.fetch(session.announce(mode))
            session.quit()

        def mine():
            return [line for line in traced() if line["session"].startswith(own)]

        poll(lambda: mine() and mine()[-1]["event"] == "closed", what="the end of the session in the trace")
        events = mine()
        verbs = [event["verb"] for event in events if event["event"] == "command"]
        # The servers ask nobody for a password.
        assert verbs == ["USER", "TYPE", "EPSV", "RETR", "PORT", "RETR", "QUIT"], verbs
        assert all(event["server"] == session.server for event in events), events
        assert all(event["seq"] > 0 for event in events if event["event"] == "command"), events
        rows = {(event["set"], event["change"]) for event in events if event["event"] == "row"}
        active = "active_nat4" if forwarding == "nat" else "active4"
        assert {("open4", "opened"), (active, "added")} <= rows, rows
        assert [event["mode"] for event in events if event["event"] == "used"] == ["passive", "active"], events
        replies = {event["code"]: event.get("text") for event in events if event["event"] == "reply"}
        if forwarding == "nat":
            assert replies[229].startswith("229 Entering Extended Passive Mode"), replies
            assert replies[230] is None, replies
        else:
            assert not replies, replies
        text = path.read_text()
        assert "anonymous" not in text and net.client2.address not in text, text
        listener.terminate()
        listener.wait(timeout=10)
        poll(lambda: load(net.client1, net.vip, sessions=3, rounds=1).right == 12, what="a load that nobody hears")


def test_nat_drain_under_load():
    drain_under_load("nat")


@long
def test_dr_drain_under_load():
    drain_under_load("dr")


def drain_under_load(forwarding):
    """No new session comes, none is broken, and those it has end by themselves."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            running = Load(net.vip, rounds=10)
        poll(lambda: running.report.total >= 60, what="60 transfers done")
        said = ask(daemon, "drain", "lab/rs1")
        assert "10 sessions" in said and "undrain lab/rs1" in said, said
        drained = running.report.total
        later = load(net.client2, net.vip, sessions=6, rounds=1)
        assert later.right == later.total == 24, later
        assert later.sessions_per_server == {"rs2": 3, "rs3": 3}, later
        report = running.wait()
        print(f"drained after {drained} transfers\n{report}")
        assert report.right == report.total == 1200, report
        assert any(transfer.control == "rs1" for transfer in report.transfers[drained:]), "rs1 had nothing left to do"
        left = poll(
            lambda: (server := servers(daemon)["rs1"])["sessions"] == server["control"]["active"] == 0 and server,
            what="no session left on rs1",
        )
        assert (left["state"], left["weight"], left["effective_weight"]) == ("drained", 1, 0), left
        assert ask_json(daemon, "status")["drift"] == 0


def test_drain_survives():
    """SIGTERM, kill -9 and reloads leave a server drained; `undrain` takes it back."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        ask(daemon, "drain", "lab/rs2")

        def still_drained(daemon):
            found = servers(daemon)
            assert (found["rs2"]["state"], found["rs2"]["effective_weight"]) == ("drained", 0), found
            report = load(net.client1, net.vip, sessions=4, rounds=1)
            assert report.right == report.total == 16, report
            assert report.sessions_per_server == {"rs1": 2, "rs3": 2}, report

        still_drained(daemon)
        ask(daemon, "reload")
        still_drained(daemon)
        assert daemon.term() == 0, daemon.log()
        daemon = net.start_daemon().wait_ready()
        still_drained(daemon)
        daemon.kill9()
        daemon = net.start_daemon().wait_ready()
        still_drained(daemon)
        assert "gets new sessions" in ask(daemon, "undrain", "lab/rs2")
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.sessions_per_server == {"rs1": 2, "rs2": 2, "rs3": 2}, report


def test_drain_of_nobody_is_refused():
    with Topology("nat", servers=2) as net:
        daemon = net.start_daemon().wait_ready()
        done = ftpdirector(net.director, "drain", "lab/rs9", "--config", daemon.config)
        assert done.returncode == 1, done
        assert "lab/rs1, lab/rs2" in done.stderr, done.stderr
        done = ftpdirector(net.director, "drain", "rs1", "--config", daemon.config)
        assert done.returncode == 2 and "CLUSTER/SERVER" in done.stderr, done


def test_reload():
    """A good file is in force at once, a bad one is named and changes nothing."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            session = Session(net.vip)
        good = daemon.config.read_text()
        daemon.config.write_text(good.replace("name: rs1,", "name: rs1, weight: 7,"))
        ask(daemon, "reload")
        assert servers(daemon)["rs1"]["effective_weight"] == 7
        daemon.config.write_text(good.replace("forwarding: nat", "forwarding: gnat"))
        done = ftpdirector(net.director, "reload", "--socket", SOCKET)
        assert done.returncode == 1 and "clusters[0].forwarding" in done.stderr, done
        done = ftpdirector(net.director, "reload", "--config", daemon.config)
        assert done.returncode == 78 and "--socket" in done.stderr, done
        found = json.loads(ftpdirector(net.director, "status", "--socket", SOCKET, "--json").stdout)
        assert found["config"]["reload_good"] is False, found
        assert found["clusters"][0]["servers"][0]["effective_weight"] == 7, found
        with net.client1.enter():
            assert session.fetch(session.announce("PASV")).decode().strip() == session.server


def test_a_file_for_each_cluster():
    """What the daemon has is in all files together; a reload reads each of them again, and one that is bad changes nothing."""
    with Topology("nat") as net:
        text = net.config()
        main = f"include: [{net.director.name}.d/*.yaml]\n"
        daemon = net.start_daemon(main + text).wait_ready()
        folder = daemon.config.parent / f"{net.director.name}.d"
        folder.mkdir()
        try:
            with net.client1.enter():
                session = Session(net.vip)
            file = folder / "lab.yaml"
            file.write_text(text.replace("name: rs1,", "name: rs1, weight: 7,"))
            daemon.config.write_text(f"{main}defaults: {{idle: 2h}}\n")
            ask(daemon, "reload")
            found = ask_json(daemon, "status")
            assert servers(daemon)["rs1"]["effective_weight"] == 7, found
            # The daemon reads what `config` prints.
            printed = folder / "printed"
            printed.write_text(ask(daemon, "config", "--effective"))
            assert "idle: 2h" in printed.read_text(), printed.read_text()
            done = ftpdirector(net.director, "plan", "--config", printed)
            assert done.returncode == 0, done
            file.write_text(text.replace("forwarding: nat", "forwarding: gnat"))
            done = ftpdirector(net.director, "reload", "--socket", SOCKET)
            assert done.returncode == 1 and f"{file}:4:" in done.stderr, done
            file.unlink()
            os.mkfifo(file)
            done = ftpdirector(net.director, "reload", "--socket", SOCKET)
            assert done.returncode == 1 and "not a regular file" in done.stderr, done
            assert ask_json_at_socket(net)["clusters"][0]["servers"][0]["effective_weight"] == 7
            with net.client1.enter():
                assert session.fetch(session.announce("PASV")).decode().strip() == session.server
        finally:
            shutil.rmtree(folder)


def ask_json_at_socket(net):
    return json.loads(ftpdirector(net.director, "status", "--socket", SOCKET, "--json").stdout)


def test_socket_of_the_group_and_of_one_daemon():
    """Mode 0660; a second daemon is refused; a dead one's socket is replaced; it goes with the daemon."""
    with Topology("nat", servers=1) as net:
        done = ftpdirector(net.director, "status", "--socket", SOCKET)
        assert done.returncode == 69 and "systemctl start ftpdirector" in done.stderr, done
        daemon = net.start_daemon().wait_ready()
        assert stat.S_IMODE(os.stat(SOCKET).st_mode) == 0o660
        second = net.start_daemon(net.config() + "metrics: {listen: 127.0.0.1:9787}\nkernel: {queue: 2101}\n")
        assert second.process.wait(timeout=20) == 69, second.log()
        assert "another ftpdirector is running" in second.log(), second.log()
        ask(daemon, "status")
        daemon.kill9()
        assert os.path.exists(SOCKET)
        daemon = net.start_daemon().wait_ready()
        ask(daemon, "status")
        assert daemon.term() == 0, daemon.log()
        assert not os.path.exists(SOCKET)


def test_without_a_place_for_the_socket_it_still_works():
    with Topology("nat") as net:
        daemon = net.start_daemon(net.config() + "admin: {socket: /proc/ftpdirector/admin.sock}\n").wait_ready()
        assert "no admin socket" in daemon.log(), daemon.log()
        report = load(net.client1, net.vip, sessions=3, rounds=1)
        assert report.right == report.total == 12, report


def test_health_and_readiness():
    """Ready again after somebody took every row away, and the drift is counted."""
    with Topology("nat", servers=2) as net:
        daemon = net.start_daemon().wait_ready()
        assert page(daemon, "healthz") == (200, "alive\n")
        assert page(daemon, "readyz") == (200, "ready\n")
        # In this order: without its table the daemon cannot tell that the service at VIP:21 is its own.
        net.director.nft("flush ruleset")
        net.director.run(["ipvsadm", "-C"])
        poll(lambda: ask_json(daemon, "status")["drift"] > 0, what="the rows put right")
        poll(lambda: page(daemon, "readyz") == (200, "ready\n"), what="readiness")
        assert page(daemon, "healthz") == (200, "alive\n")


def page(daemon, name):
    with daemon.director.enter():
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:9786/{name}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
