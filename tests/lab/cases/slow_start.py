"""`slow_start`: a server that comes back gets its weight in steps, and nobody takes that for another program's work."""

import json

from daemon import ftpdirector
from ftpload import Session
from health import kill, reload, revive, wait_up, weights
from hosts import poll
from selection import long
from topology import Topology

CHECK = "health_check: {kind: banner, interval: 500ms, timeout: 3s}"
WEIGHT = "ftpdirector_server_weight"
DRIFT = "ftpdirector_kernel_drift_total"
# Long enough for a look at the steps between, on a machine under emulation too.
OVER = "slow_start: 20s"


def test_a_server_that_comes_back_gets_its_weight_in_steps():
    with Topology("nat") as net:
        daemon = net.start_daemon(weighted(net)).wait_ready()
        wait_up(daemon, 3)
        # Nobody starts slowly when the daemon does.
        assert weights(net) == {server.address: 100 for server in net.servers}
        assert "starts slowly" not in daemon.log(), daemon.log()
        back = net.servers[0]
        kill(back)
        poll(lambda: weights(net)[back.address] == 0, what="weight 0")
        revive(back)
        seen = climb(net, daemon, back)
        assert seen[0] <= 25, seen
        # 20 steps of a second; a busy machine may miss some.
        assert len(seen) > 5, seen
        assert seen == sorted(seen), seen
        others = [server.address for server in net.servers[1:]]
        assert [weights(net)[address] for address in others] == [100, 100]
        poll(lambda: "the slow start is over" in daemon.log(), what="the end in the log")
        steps = [line for line in daemon.log().splitlines() if "ipvsadm -e" in line and "10.0.0.11" in line]
        assert len(steps) <= 3, steps
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()


@long
def test_a_drain_that_ends_and_a_server_that_is_added():
    with Topology("nat") as net:
        daemon = net.start_daemon(weighted(net)).wait_ready()
        wait_up(daemon, 3)
        for command, allowed in (("drain", [0]), ("undrain", range(1, 50))):
            done = ftpdirector(net.director, command, "lab/rs2", "--config", daemon.config)
            assert done.returncode == 0, done.stderr
            assert weights(net)["10.0.0.12"] in allowed, weights(net)
        assert climb(net, daemon, net.servers[1])[-1] == 100

        # One that leaves, and is added again.
        text = weighted(net)
        reload(daemon, "".join(line for line in text.splitlines(keepends=True) if "name: rs3," not in line), 1)
        poll(lambda: "10.0.0.13" not in weights(net), what="the end of rs3")
        reload(daemon, text, 2)
        # The health checks begin anew; it gets sessions before.
        seen = climb(net, daemon, net.servers[2])
        assert seen[0] <= 25, seen
        # A reload that takes the key away ends a start.
        assert ftpdirector(net.director, "drain", "lab/rs2", "--config", daemon.config).returncode == 0
        assert ftpdirector(net.director, "undrain", "lab/rs2", "--config", daemon.config).returncode == 0
        assert weights(net)["10.0.0.12"] < 100, weights(net)
        reload(daemon, text.replace(OVER, "slow_start: 0s"), 3)
        assert weights(net)["10.0.0.12"] == 100, weights(net)
        assert daemon.metrics().sum(DRIFT) == 0, daemon.log()


def test_wlc_does_not_drown_a_server_that_comes_back():
    """Without it all of these sessions would go to the server that has none."""
    with Topology("nat") as net:
        text = weighted(net, over="slow_start: 10m").replace("wrr", "wlc")
        daemon = net.start_daemon(text).wait_ready()
        wait_up(daemon, 3)
        back = net.servers[0]
        kill(back)
        poll(lambda: weights(net)[back.address] == 0, what="weight 0")
        with net.client1.enter():
            sessions = [Session(net.vip) for _ in range(20)]
        assert {session.server for session in sessions} == {"rs2", "rs3"}
        revive(back)
        poll(lambda: 0 < weights(net)[back.address] < 100, what="the first step")
        with net.client1.enter():
            more = [Session(net.vip) for _ in range(10)]
        assert sum(session.server == back.name for session in more) <= 3, [session.server for session in more]
        for session in sessions + more:
            session.close()


@long
def test_another_program_s_weight_is_counted_during_a_start():
    """A step does not hide what others do, and is not taken for it."""
    with Topology("nat") as net:
        daemon = net.start_daemon(weighted(net)).wait_ready()
        wait_up(daemon, 3)
        for command in ("drain", "undrain"):
            assert ftpdirector(net.director, command, "lab/rs1", "--config", daemon.config).returncode == 0
        net.director.run(["ipvsadm", "-e", "-t", f"{net.vip}:21", "-r", "10.0.0.12:21", "-m", "-w", "3"])
        poll(lambda: weights(net)["10.0.0.12"] == 100, what="the weight put right")
        assert weights(net)["10.0.0.11"] < 100, "the start was over before"
        poll(lambda: daemon.metrics().sum(DRIFT) == 1, what="the count")
        climb(net, daemon, net.servers[0])
        assert daemon.metrics().sum(DRIFT) == 1, daemon.log()


def test_a_restart_gives_everyone_the_whole_weight():
    with Topology("nat") as net:
        daemon = net.start_daemon(weighted(net, over="slow_start: 10m")).wait_ready()
        wait_up(daemon, 3)
        for command in ("drain", "undrain"):
            assert ftpdirector(net.director, command, "lab/rs1", "--config", daemon.config).returncode == 0
        assert weights(net)["10.0.0.11"] == 1, weights(net)
        daemon.kill9()
        daemon = net.start_daemon(weighted(net, over="slow_start: 10m")).wait_ready()
        assert weights(net) == {server.address: 100 for server in net.servers}
        wait_up(daemon, 3)
        assert "starts slowly" not in daemon.log(), daemon.log()


def weighted(net, over=OVER):
    """The topology's configuration with weights that have room to grow."""
    text = net.config(more=[over, CHECK]).replace("scheduler: rr", "scheduler: wrr")
    return text.replace("name: rs", "weight: 100, name: rs")


def climb(net, daemon, server):
    """Waits until the server has its whole weight; the weights on the way, which metrics and status show too."""
    seen, shown = [], set()

    def whole():
        weight = weights(net).get(server.address, 0)
        if weight and (not seen or seen[-1] != weight):
            seen.append(weight)
            told = daemon.metrics().sum(WEIGHT, server=server.name)
            answer = ftpdirector(net.director, "status", "--json", "--config", daemon.config).stdout
            found = {of["name"]: of for of in json.loads(answer)["clusters"][0]["servers"]}[server.name]
            shown.update({told, found["effective_weight"]})
            assert found["weight"] == 100 and found["state"] == "up", found
        return weight == 100

    poll(whole, deadline=120, what=lambda: f"the whole weight of {server.name}: {seen}")
    # Each was looked at a moment after the other: the next step may have come between.
    assert len(shown & {float(weight) for weight in seen}) >= len(seen) // 2, (shown, seen)
    return seen
