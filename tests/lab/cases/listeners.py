"""Who connects and says nothing: neither the kernel's rows nor the health checks lack a descriptor for it."""

import os
import resource
import socket
import subprocess
import threading

from daemon import ftpdirector
from ftpload import load
from hosts import poll
from selection import long
from topology import Topology

PORT = 9786
CROWD = 1100


def closed(connection):
    """Whether the other side has ended it."""
    try:
        return connection.recv(1, socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def scraped(host, address, path="metrics"):
    done = host.run(["curl", "-sf", "--max-time", "10", f"http://{address}:{PORT}/{path}"], check=False)
    return done.returncode == 0


def crowd(net, address, count):
    """So many idle connections to the metrics port, made anew as they are closed, until the event is set."""
    over, held = threading.Event(), []

    def press():
        with net.client1.enter():
            while not over.is_set():
                held[:] = [one for one in held if not closed(one)]
                while len(held) < count and not over.is_set():
                    try:
                        held.append(socket.create_connection((address, PORT), timeout=5))
                    except OSError:
                        break

    worker = threading.Thread(target=press)
    worker.start()
    return over, worker, held


@long
def test_idle_connections_take_no_descriptors():
    """1,100 at a time against 1,024 descriptors: rows are put right, servers that fail are noticed, scrapers are served."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    more = ("health_check: {kind: banner, interval: 1s, timeout: 1s, fall: 2, rise: 1}",)
    with Topology("dr", servers=2) as net:
        text = net.config(more=more) + f"metrics:\n  listen: 0.0.0.0:{PORT}\n"
        # Not even by raising its limit could it have more.
        daemon = net.start_daemon(text, prefix=["prlimit", "--nofile=1024:1024"]).wait_ready()
        director = net.director
        descriptors = f"/proc/{daemon.process.pid}/fd"
        poll(lambda: daemon.metrics().sum("ftpdirector_server_up") == 2, what="both servers up")
        quiet = len(os.listdir(descriptors))
        over, worker, held = crowd(net, director.address, CROWD)
        most = 0
        try:
            poll(lambda: "a connection was closed" in daemon.log(), what="the limit")

            def watched(condition, what):
                def look():
                    nonlocal most
                    most = max(most, len(os.listdir(descriptors)))
                    return condition()

                poll(look, what=what)

            services = director.run(["ipvsadm", "-Sn"]).stdout
            director.run(["ipvsadm", "-C"])
            watched(lambda: sorted(director.run(["ipvsadm", "-Sn"]).stdout.splitlines()) == sorted(services.splitlines()), "the services")
            director.run(["nft", "flush", "table", "inet", "ftpdirector"])
            chain = ["nft", "list", "chain", "inet", "ftpdirector", "prerouting"]
            watched(lambda: director.run(chain).stdout.count("goto") >= 4, "the rules")
            net.servers[0].kill()
            weight = f"-r {net.servers[0].address}:21 -g -w 0"
            watched(lambda: weight in director.run(["ipvsadm", "-Sn"]).stdout, "the end of a server")
            net.servers[0].start()
            watched(lambda: weight not in director.run(["ipvsadm", "-Sn"]).stdout, "the server again")
            # Others are served: from another address, and on this machine, in every way.
            watched(lambda: scraped(net.client2, director.address), "a scrape from elsewhere")
            assert scraped(director, "127.0.0.1") and scraped(director, "127.0.0.1", "readyz")
            for words in (["status"], ["drain", "lab/rs1"], ["undrain", "lab/rs1"], ["reload"]):
                done = ftpdirector(director, *words, "--config", daemon.config)
                assert done.returncode == 0, done
            report = load(net.client2, net.vip, sessions=4, rounds=1)
            assert report.right == report.total == 16, report
        finally:
            over.set()
            worker.join()
            for one in held:
                one.close()
        # 16 places, 8 on their way out, a probe and nft.
        assert most < quiet + 64, f"{most} descriptors, {quiet} before"
        lines = [line for line in daemon.log().splitlines() if "a connection was closed" in line]
        assert len(lines) <= 5, f"{len(lines)} warnings"
        poll(lambda: len(os.listdir(descriptors)) <= quiet + 2, what="the connections' end")


def test_the_limit_of_descriptors_is_raised():
    with Topology("dr", servers=1) as net:
        daemon = net.start_daemon(prefix=["prlimit", "--nofile=256:4096"]).wait_ready()
        shown = net.director.run(["prlimit", "--noheadings", "--output=SOFT,HARD", "--nofile", "--pid", daemon.process.pid]).stdout
        assert shown.split() == ["4096", "4096"], shown


def test_a_scraper_keeps_its_connection():
    """Prometheus scrapes on one connection for as long as it is there, and makes another when it is not; three more are let in."""
    with Topology("dr", servers=1) as net:
        net.start_daemon().wait_ready()
        urls = [f"http://127.0.0.1:{PORT}/metrics"] * 20
        with net.director.enter():
            others = [socket.create_connection(("127.0.0.1", PORT), timeout=5) for _ in range(3)]
            command = ["curl", "-sf", "-w", "%{stderr}%{num_connects}\n", *urls]
            done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0 and sum(int(count) for count in done.stderr.split()) == 1, done
        for one in others:
            poll(lambda: closed(one), what="the end of an idle connection")


def test_without_the_metrics_endpoint():
    """`metrics.listen: null`: nobody listens, and everything else goes on."""
    with Topology("nat", servers=2) as net:
        daemon = net.start_daemon(net.config() + "metrics:\n  listen: null\n").wait_ready()
        assert "metrics.listen is null" in daemon.log(), daemon.log()
        assert not scraped(net.director, "127.0.0.1"), daemon.log()
        report = load(net.client1, net.vip, sessions=4, rounds=1)
        assert report.right == report.total == 16, report
        status = ftpdirector(net.director, "status", "--json", "--config", daemon.config)
        assert status.returncode == 0, status.stderr
        assert daemon.term() == 0, daemon.log()
