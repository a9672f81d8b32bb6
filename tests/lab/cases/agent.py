"""`health_check.agent`: a program on the server says how much work it wants, as HAProxy's agents do."""

import contextlib
import json
import socket
import socketserver
import threading

from daemon import ftpdirector
from ftpload import MODES, load, session_at
from health import banner, kill, reload, revive, wait_up, weights
from hosts import poll
from topology import Topology

PORT = 9999
CHECK = f"interval: 500ms, timeout: 3s, agent: {PORT}"
UP = "ftpdirector_server_up"
ANSWERS = "ftpdirector_agent_answers"
UNKNOWN = "ftpdirector_agent_unknown_words_total"
DRIFT = "ftpdirector_kernel_drift_total"


def test_an_agent_sets_the_weight_and_drains():
    with Topology("nat") as net, agents(net) as (first, *_):
        daemon = net.start_daemon(asked(net)).wait_ready()
        wait_up(daemon, 3)
        first.says = "40%\n"
        poll(lambda: weights(net)["10.0.0.11"] == 40, what="40 %")
        assert [weights(net)[f"10.0.0.1{number}"] for number in (2, 3)] == [100, 100]
        assert daemon.metrics().sum("ftpdirector_server_weight", server="rs1") == 40
        with net.client1.enter():
            ours = session_at(net.vip, "rs1")

        first.says = "drain # backup\r\n"
        poll(lambda: weights(net)["10.0.0.11"] == 0, what="the drain")
        report = load(net.client2, net.vip, sessions=4, rounds=1)
        assert report.right == report.total == 16 and report.sessions_per_server == {"rs2": 2, "rs3": 2}, report
        with net.client1.enter():
            for mode in MODES:
                assert ours.fetch(ours.announce(mode)).decode().strip() == "rs1", mode
        assert daemon.metrics().sum(UP) == 3
        said = status(net, daemon)
        assert "rs1: drained by its agent\n" in said and "agent: says \"drain # backup\"" in said, said
        # Whose drain it is: an administrator's is another one, and both must end.
        assert ftpdirector(net.director, "drain", "lab/rs2", "--config", daemon.config).returncode == 0
        found = servers(net, daemon)
        drains = {name: server["drained_by"] for name, server in found.items()}
        assert drains == {"rs1": "agent", "rs2": "administrator", "rs3": None}, drains
        assert ftpdirector(net.director, "undrain", "lab/rs2", "--config", daemon.config).returncode == 0

        first.says = "ready 100%\n"
        poll(lambda: weights(net)["10.0.0.11"] == 100, what="the end of the drain")
        log = daemon.log()
        assert log.count("drained by its agent: live sessions go on") == log.count("no longer drained by its agent") == 1, log
        assert daemon.metrics().sum(DRIFT) == 0, log


def test_an_agent_and_the_health_checks_must_agree():
    """Either takes a server out; when all are out, the cluster does what it does then."""
    with Topology("nat", servers=3) as net, agents(net) as (first, second, _):
        *ours, sorry = net.servers
        text = asked(net, more=[f"sorry_server: {sorry.address}"])
        text = "".join(line for line in text.splitlines(keepends=True) if "name: rs3," not in line)
        daemon = net.start_daemon(text).wait_ready()
        wait_up(daemon, 2)
        first.says = "down#disk full\n"
        poll(lambda: weights(net)["10.0.0.11"] == 0, what="the first server's end")
        poll(lambda: daemon.metrics().sum(UP, server="rs1") == 0, what="the metric")
        assert any("WARN" in line and "rs1" in line and "disk full" in line for line in daemon.log().splitlines()), daemon.log()
        assert servers(net, daemon)["rs1"]["state"] == "down"
        kill(ours[0])
        first.says = "up\n"
        # Its agent likes it, and nobody gets through to it.
        poll(lambda: servers(net, daemon)["rs1"]["health"]["state"] == "down", what="the health check's word")
        poll(lambda: weights(net)["10.0.0.11"] == 0, what="the health check's weight")
        second.says = "stopped\n"
        poll(lambda: weights(net).get(sorry.address) == 1, what="the sorry server")
        assert banner(net) == "rs3"
        revive(ours[0])
        poll(lambda: weights(net)["10.0.0.11"] == 100, what="the first server back")
        second.says = "up\n"
        poll(lambda: weights(net)["10.0.0.12"] == 100, what="the second server back")
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()


def test_an_agent_that_dies_is_as_good_as_its_last_word():
    with Topology("nat") as net, agents(net) as (first, second, third):
        daemon = net.start_daemon(asked(net)).wait_ready()
        wait_up(daemon, 3)
        first.says, second.says = "maint\n", "maxconn:30 50%\n"
        poll(lambda: weights(net) == {"10.0.0.11": 0, "10.0.0.12": 50, "10.0.0.13": 100}, what="what they ask for")
        poll(lambda: daemon.metrics().sum(UNKNOWN, server="rs2") >= 3, what="words that mean nothing")
        assert daemon.log().count("means nothing here") == 1, daemon.log()
        for agent in (first, second):
            agent.stop()
        # One that says nothing is no better than one that is not there.
        third.says = ""
        poll(lambda: daemon.metrics().sum(ANSWERS) == 0, what="three silent agents")
        assert weights(net) == {"10.0.0.11": 0, "10.0.0.12": 50, "10.0.0.13": 100}
        assert "agent: does not answer" in status(net, daemon), status(net, daemon)
        assert daemon.metrics().sum(UP) == 3
        # The way out.
        reload(daemon, asked(net).replace(f", agent: {PORT}", ""), 1)
        assert weights(net) == {server.address: 100 for server in net.servers}
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()


def test_a_drained_server_stays_drained_over_a_restart():
    with Topology("nat") as net, agents(net) as (first, *_):
        daemon = net.start_daemon(asked(net, kind="none")).wait_ready()
        first.says = "drain\n"
        poll(lambda: weights(net)["10.0.0.11"] == 0, what="the drain")
        daemon.kill9()
        daemon = net.start_daemon(asked(net, kind="none")).wait_ready()
        assert weights(net)["10.0.0.11"] == 0
        poll(lambda: servers(net, daemon)["rs1"]["agent"]["said"] == "drain", what="its agent's word")
        poll(lambda: daemon.metrics().sum(ANSWERS) == 3, what="all agents")
        assert "-w 100" not in "".join(line for line in daemon.log().splitlines() if "10.0.0.11" in line), daemon.log()
        first.says = "ready\n"
        poll(lambda: weights(net)["10.0.0.11"] == 100, what="the end of the drain")


def asked(net, kind="banner", more=()):
    """The topology's configuration with agents, and weights of which a part can be taken."""
    text = net.config(more=[f"health_check: {{kind: {kind}, {CHECK}}}", *more]).replace("scheduler: rr", "scheduler: wrr")
    return text.replace("name: rs", "weight: 100, name: rs")


@contextlib.contextmanager
def agents(net):
    """An agent on every server, which says `up` to begin with."""
    running = []
    try:
        for server in net.servers:
            with server.enter():
                agent = _Agent((server.address, PORT), _Line)
                # Its threads are born where it is.
                threading.Thread(target=agent.serve_forever, daemon=True).start()
            running.append(agent)
        yield running
    finally:
        for agent in running:
            agent.stop()


class _Agent(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    says = "up\n"
    stopped = False

    def stop(self):
        if not self.stopped:
            self.stopped = True
            self.shutdown()
            self.server_close()


class _Line(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(self.server.says.encode())


def status(net, daemon):
    return ftpdirector(net.director, "status", "--config", daemon.config).stdout


def servers(net, daemon):
    answer = json.loads(ftpdirector(net.director, "status", "--json", "--config", daemon.config).stdout)
    return {server["name"]: server for server in answer["clusters"][0]["servers"]}
