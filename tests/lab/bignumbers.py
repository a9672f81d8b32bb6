"""What many control connections cost, and large sets, in one boot. In the guest: bignumbers.py [SESSIONS [MINUTES]]

Sessions are held by a client that logs in (USER) and says nothing more; they begin one after the other, and what there are is measured
when there are a thousand, ten thousand, and all. A step that fails is told as such, and the next ones are made; who is not there when
the time is over is not waited for. Prints what it does, and after each part a line `results: ` and JSON of all so far.
"""

import contextlib
import json
import os
import select
import signal
import socket
import statistics
import subprocess
import sys
import time
import traceback
import urllib.request
from pathlib import Path

from bench import CLIENT, SMALL, SOURCES, versions
from daemon import METRICS, Metrics, ftpdirector
from guest import prepare_kernel
from hosts import poll
from topology import Topology

FILL = "/repo/target/lab/bin/fill"
# Of DR no more than so many, and only these stages are looked at closely: the rest of the time is for NAT.
DR_SESSIONS, CLOSELY = 10_000, 10_000
# Seconds: how long DR and the sets may take, and what is kept for measuring when everyone is there.
DR_TIME, SETS_TIME, KEPT = 100, 150, 120
# For how long a client says NOOP while something else is done.
WHILE = 2.0
# How many elements are many, and how many a set of ours holds; how many a daemon is started with.
MANY, MOST, STANDING = 1_000_000, 1_048_576, 100_000
# Seconds that the million stands, and what fills the set up.
ROWS_LAST, LAST_ROWS_LAST = 1200, 30
# Set, its element, what makes the daemon or its rules write to it, and what counts those that were refused.
SETS = {
    # server . client . client port : VIP, of clients in 100.64.0.0/12.
    "active_nat4": (["0a00000b64400000c3500000", 4, "0a000064"], "PORT", "ftpdirector_rows_failed_total"),
    # client . control mark.
    "open4": (["644000000100730f", 0, "-"], "PASV", "ftpdirector_doors_full_total"),
}


def main(sessions=100_000, minutes=12.0):
    told = {"date": time.strftime("%Y-%m-%d"), "sessions": [], "sets": [], "left": []}
    began = time.monotonic()
    end = began + minutes * 60

    def tell():
        told["seconds"] = round(time.monotonic() - began)
        print("results: " + json.dumps(told), flush=True)

    def part(what, step, *arguments):
        attempt(told, what, lambda: step(*arguments, told, tell))
        tell()

    more_room()
    prepare_kernel()
    attempt(told, "versions", lambda: told.update(versions=versions()))
    part("DR", many, "dr", min(sessions, DR_SESSIONS), min(end, time.monotonic() + DR_TIME))
    part("sets", large_sets, min(end, time.monotonic() + SETS_TIME))
    part("NAT", many, "nat", sessions, end)


def attempt(told, what, step):
    """Makes a step. If it fails, that is told, and the next ones are made."""
    since = time.monotonic()
    try:
        return step()
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        told["left"].append(f"{what}: {reason[:160]}")
        print(f"# not measured: {what}\n    " + traceback.format_exc().strip().replace("\n", "\n    "), flush=True)
        return None
    finally:
        print(f"# {what}: {time.monotonic() - since:.1f} s", flush=True)


def more_room():
    """What a director of so many connections is given: hash tables (ip_vs is not loaded yet), files, tracked connections."""
    Path("/etc/modprobe.d").mkdir(exist_ok=True)
    Path("/etc/modprobe.d/numbers.conf").write_text("options ip_vs conn_tab_bits=17\n")
    subprocess.run(["modprobe", "nf_conntrack"], check=False)
    for path, value in {"fs/file-max": 4_000_000, "fs/nr_open": 1_048_576, "net/netfilter/nf_conntrack_max": MANY}.items():
        with contextlib.suppress(OSError):
            Path("/proc/sys", path).write_text(str(value))


# Sessions.


class Holder:
    """A client that holds so many more sessions."""

    def __init__(self, net, count, seconds):
        words = [CLIENT, net.vip, 21, count, 86_400, "HOLD", max(int(seconds), 1), ",".join(SOURCES)]
        # Without a buffer: `select` would not know of what is in it.
        self.process = net.client1.popen(words, stdout=subprocess.PIPE, bufsize=0)
        self.held = self.answered = 0

    def wait(self, word, deadline):
        """Reads what it says until this word comes, or the time is over."""
        said = ""
        while said != word:
            readable, _, _ = select.select([self.process.stdout], [], [], max(deadline - time.monotonic(), 0))
            line = self.process.stdout.readline().decode().split() if readable else []
            if len(line) != 2:
                return
            said, count = line[0], int(line[1])
            if said in ("held", "ready"):
                self.held = count
            else:
                self.answered = count

    def ask(self, deadline):
        """Has each of its sessions say NOOP; returns how many have been answered until then."""
        self.process.send_signal(signal.SIGUSR1)
        self.wait("answered", deadline)
        return self.answered


class Old:
    """A control connection that was there before."""

    def __init__(self, net):
        self.net = net
        with net.client2.enter():
            self.socket = socket.create_connection((net.vip, 21), timeout=20)
        self.lines = self.socket.makefile("r", newline="\r\n")
        self.server = self.line().split()[1]
        self.say("USER x")

    def line(self):
        return self.lines.readline().strip()

    def say(self, command):
        self.socket.sendall(f"{command}\r\n".encode())
        return self.line()

    def fetch(self):
        """Whether a file comes from this session's own server."""
        port = int(self.say("EPSV").split("|||")[1].split("|")[0])
        with self.net.client2.enter(), socket.create_connection((self.net.vip, port), timeout=20) as data:
            assert self.say(f"RETR {SMALL}").startswith("150")
            found = data.makefile("rb").read().split(b"\n", 1)[0].decode()
        return self.line().startswith("226") and found == self.server


class Director:
    """The daemon, and what it is asked."""

    def __init__(self, net):
        self.net, self.changed = net, False
        self.daemon = net.start_daemon().wait_ready()
        self.first = self.memory("VmRSS")

    def memory(self, what):
        """VmRSS or VmHWM, in KiB."""
        status = Path(f"/proc/{self.daemon.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(what))

    def processor(self, thread):
        """The time that its threads of this name have had, in seconds."""
        ticks = 0
        for task in Path(f"/proc/{self.daemon.process.pid}/task").iterdir():
            name, rest = task.joinpath("stat").read_text().split("(", 1)[1].rsplit(")", 1)
            words = rest.split()
            ticks += int(words[11]) + int(words[12]) if name == thread else 0
        return ticks / os.sysconf("SC_CLK_TCK")

    def scrape(self):
        with self.net.director.enter(), urllib.request.urlopen(METRICS, timeout=60) as answer:
            return answer.read()

    def metrics(self):
        return Metrics(self.scrape().decode())

    def command(self, *words):
        done = ftpdirector(self.net.director, *words, "--config", self.daemon.config, timeout=120)
        assert done.returncode == 0, f"{words}: {done.returncode} {done.stderr}"
        return done.stdout

    def reload(self):
        """With another weight than before."""
        self.changed = not self.changed
        text = self.net.config()
        self.daemon.config.write_text(text.replace("name: rs1,", "name: rs1, weight: 2,") if self.changed else text)
        self.command("reload")

    def restart(self):
        """Kills it, and starts another; returns the seconds until that is ready."""
        self.daemon.kill9()
        since = time.monotonic()
        self.daemon, self.changed = self.net.start_daemon().wait_ready(), False
        return time.monotonic() - since

    def said(self, words):
        """How often its log says this."""
        return self.daemon.log().count(words)


def many(forwarding, most, end, told, tell):
    """Holds more and more sessions, and measures what there are."""
    with Topology(forwarding, kinds=("cheap",)) as net:
        net.client1.ip(*(f"address add {source}/24 dev eth0" for source in SOURCES))
        director, free, holders = Director(net), available(), []
        for wanted in sorted({count for count in (1_000, 10_000, most) if count <= most}):
            name = f"{forwarding.upper()}, {wanted:,}"
            left = end - time.monotonic() - KEPT / (1 if wanted > DR_SESSIONS else 3)
            if left <= 0:
                told["left"].append(f"{name}: the time was over")
                break
            figures = {"forwarding": forwarding, "wanted": wanted} | hold(net, holders, wanted, left)
            figures["guest_kib"] = round((free - available()) / max(figures["held"], 1), 2)
            told["sessions"].append(figures)
            print(f"# {name}: {figures['held']} are there after {figures['seconds']} s", flush=True)
            quick(director, figures, told, name)
            if wanted >= CLOSELY or wanted == most:
                tell()
                closely(director, figures, told, name)
                restarted(director, holders, end, figures, told, name)
            print(f"# {figures}", flush=True)
            tell()
        if most > DR_SESSIONS:
            # Nobody says goodbye to so many: the guest ends with them.
            tell()
            os._exit(0)
        # Without a cable nobody waits for their last words.
        net.client1.ip("link set eth0 down")
        for holder in holders:
            holder.process.kill()
            holder.process.wait()


def hold(net, holders, wanted, seconds):
    """Holds as many sessions as come within so many seconds."""
    began, before = time.monotonic(), sum(holder.held for holder in holders)
    holders.append(Holder(net, wanted - before, seconds))
    # Whoever is late is not waited for.
    holders[-1].wait("ready", began + seconds + 20)
    return {"held": sum(holder.held for holder in holders), "more": holders[-1].held, "seconds": round(time.monotonic() - began, 1)}


def available():
    """Memory of the guest that is free or can be made so, in KiB."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))


def timed(step, times=3):
    """The median of so many times, in seconds."""
    took = []
    for _ in range(times):
        since = time.monotonic()
        step()
        took.append(time.monotonic() - since)
    return round(statistics.median(took), 4)


def quick(director, figures, told, name):
    """What takes little time itself."""

    def memory():
        figures["known"] = round(director.metrics().sum("ftpdirector_sessions"))
        figures["rss_kib"], figures["hwm_kib"] = director.memory("VmRSS"), director.memory("VmHWM")
        figures["session_bytes"] = round((figures["rss_kib"] - director.first) * 1024 / max(figures["known"], 1))

    def listing():
        figures["list"] = timed(lambda: figures.update(listed=connections(director.net)), times=1)

    def scrape():
        figures["scrape"] = timed(lambda: figures.update(scrape_bytes=len(director.scrape())))

    commands = {
        "status": ["status", "--json"],
        "some": ["sessions", "--limit", "10"],
        "all": ["sessions", "--limit", "100000", "--json"],
    }
    attempt(told, f"{name}: memory", memory)
    attempt(told, f"{name}: the list of IPVS's connections", listing)
    attempt(told, f"{name}: /metrics", scrape)
    for key, words in commands.items():
        times = 1 if key == "all" else 3
        attempt(told, f"{name}: {' '.join(words)}", lambda: figures.update({key: timed(lambda: director.command(*words), times)}))
    attempt(told, f"{name}: reload", lambda: figures.update(reload=timed(director.reload)))


def connections(net):
    """How many lines the list of IPVS's connections has, read as the daemon reads it."""
    with net.director.enter(), open("/proc/thread-self/net/ip_vs_conn", "rb", buffering=1 << 16) as listing:
        return sum(1 for _ in listing) - 1


def closely(director, figures, told, name):
    """What a client that works notices of the others, and of what the daemon is asked meanwhile."""
    actions = {
        "nothing": None,
        "/metrics": director.scrape,
        "sessions": lambda: director.command("sessions", "--limit", "100000", "--json"),
        "reload": director.reload,
    }
    figures["noop"] = {}

    def noop(what, action):
        before = director.metrics()
        figures["noop"][what] = noops(director.net, action)
        figures["noop"][what]["slowest"] = slowest(before, director.metrics())

    for what, action in actions.items():
        attempt(told, f"{name}: NOOP during {what}", lambda: noop(what, action))


def noops(net, action):
    """One client says NOOP again and again, while something is done again and again; its times in milliseconds."""
    words = [CLIENT, net.vip, 21, 1, WHILE, "NOOP", SMALL, net.client2.address]
    client = net.client2.popen(words, stdout=subprocess.PIPE, text=True)
    done = 0
    while action and client.poll() is None:
        action()
        done += 1
    said = json.loads(client.communicate(timeout=WHILE + 60)[0])
    return {"done": done} | {key: said[key] for key in ("right", "median", "p99", "max", "failed", "late")}


def slowest(before, after):
    """The bound of the histogram's last bucket that a verdict fell into meanwhile, in seconds; None without a verdict."""
    bucket = "ftpdirector_verdict_seconds_bucket"
    counts = {}
    for (name, labels), count in after.items():
        if name == bucket:
            counts[float(dict(labels)["le"].replace("+Inf", "inf"))] = count - before.get((name, labels), 0)
    if not counts or not counts[float("inf")]:
        return None
    bound = min(bound for bound, count in counts.items() if count == counts[float("inf")])
    return "more" if bound == float("inf") else bound


def restarted(director, holders, end, figures, told, name):
    """A VIP that leaves and comes back, and a daemon that is killed: what knows the sessions then."""
    net = director.net

    def vip():
        left, came = director.said("VIPs have left"), director.said("VIPs are here")
        net.director.ip(f"address delete {net.vip}/32 dev eth0")
        try:
            poll(lambda: director.said("VIPs have left") > left, what="the VIP's leaving")
        finally:
            net.director.ip(f"address add {net.vip}/32 dev eth0")
        since = time.monotonic()
        poll(lambda: director.said("VIPs are here") > came, what="the VIP's coming")
        figures["vip"] = round(time.monotonic() - since, 2)

    def restart():
        old = [Old(net) for _ in range(6)]
        assert all(session.fetch() for session in old), "a transfer failed before the restart"
        since = time.monotonic()
        figures["ready"] = round(director.restart(), 2)
        landed = [old[0].fetch()]
        figures["first"] = round(time.monotonic() - since, 2)
        landed += [session.fetch() for session in old[1:]]
        figures["landed"] = f"{sum(landed)} of {len(landed)}"

    def again():
        since = time.monotonic()
        answered = sum(holder.ask(end - 5) for holder in holders)
        figures.update(answered=answered, answered_seconds=round(time.monotonic() - since, 1))
        figures["known_again"] = round(director.metrics().sum("ftpdirector_sessions"))
        figures["rss_again_kib"] = director.memory("VmRSS")

    attempt(told, f"{name}: the VIP leaves and comes", vip)
    attempt(told, f"{name}: killed and started", restart)
    # At the start it has listed IPVS's connections twice: for the VIPs, and for the keepalives.
    attempt(told, f"{name}: the keepalive's looks", lambda: figures.update(looks=looks(director)))
    if net.forwarding == "nat" and end - time.monotonic() > 10:
        attempt(told, f"{name}: everyone speaks", again)


def looks(director):
    """The processor time of the first two looks at IPVS's connections, in seconds."""
    poll(lambda: director.said("VIPs are here"), what="the first look")
    spent, since = director.processor("keepalive"), time.monotonic()
    # The second is over when nothing more is spent for a while.
    while time.monotonic() - since < 3:
        poll(lambda: time.monotonic() - since >= 3 or director.processor("keepalive") > spent, 10, what="a rest")
        if director.processor("keepalive") > spent:
            spent, since = director.processor("keepalive"), time.monotonic()
    return spent


# Sets.


def large_sets(end, told, tell):
    """The daemon's own sets, filled from outside: what a million rows cost, and what happens when not one more fits."""
    with Topology("nat", kinds=("cheap",)) as net:
        net.client1.ip(*(f"address add {source}/24 dev eth0" for source in SOURCES))
        director = Director(net)
        for name in SETS:
            if end - time.monotonic() < 40:
                told["left"].append(f"{name}: the time was over")
                continue
            figures = {"set": name, "work": SETS[name][1]}
            told["sets"].append(figures)
            attempt(told, name, lambda: one_set(director, name, figures, told))
            print(f"# {figures}", flush=True)
            tell()


def one_set(director, name, figures, told):
    net, (_, work, refused) = director.net, SETS[name]
    figures["empty"] = rate(net, work)
    attempt(told, f"{name}: {work} while it is empty", lambda: figures.update(word_empty=answers(net, work)))
    free = available()
    figures["fill"] = fill(net, name, STANDING, 0, ROWS_LAST)
    if "start" not in told:
        attempt(told, f"a start with {STANDING:,} rows", lambda: start(director, told))
    more = fill(net, name, MANY - STANDING, STANDING, ROWS_LAST)
    figures["fill"] = {key: figures["fill"][key] + more[key] for key in ("added", "seconds")}
    figures["element_bytes"] = round((free - available()) * 1024 / max(figures["fill"]["added"], 1))
    figures["many"] = rate(net, work)
    attempt(told, f"{name}: {work} at a million", lambda: figures.update(word_many=answers(net, work)))
    attempt(told, f"{name}: /metrics at a million", lambda: figures.update(scrape=timed(director.scrape)))
    # One more than fits.
    figures["limit"] = fill(net, name, MOST - MANY + 1, MANY, LAST_ROWS_LAST)
    ended = time.monotonic() + LAST_ROWS_LAST + 3
    before = director.metrics().sum(refused)
    attempt(told, f"{name}: {work} at the limit", lambda: figures.update(word_full=answers(net, work, 20)))
    figures["full"] = rate(net, work)
    figures["refused"] = round(director.metrics().sum(refused) - before)
    figures["counter"] = refused
    # Who needs no row, or one in another set, notices nothing.
    figures["others"] = rate(net, next(work for other, (_, work, _) in SETS.items() if other != name))
    figures["noop_full"] = noops(net, None)
    figures["warned"] = director.said("pinholes were refused")
    poll(lambda: time.monotonic() > ended, LAST_ROWS_LAST + 60, what="the end of the last rows")
    figures["after"] = rate(net, work)


def fill(net, name, count, first, seconds):
    """Puts so many elements into a set, for so many seconds; the first of them is this far from the set's first."""
    key, offset, value = SETS[name][0]
    at = 2 * offset
    key = key[:at] + f"{int(key[at:at + 8], 16) + first:08x}" + key[at + 8 :]
    said = net.director.run([FILL, name, key, offset, value, count, seconds], timeout=180).stdout
    return json.loads(said)


def rate(net, work, seconds=2.0):
    """Transfers of a second, of eight sessions."""
    words = [CLIENT, net.vip, 21, 8, seconds, work, SMALL, ",".join(SOURCES[:8])]
    said = json.loads(net.client1.run(words, timeout=seconds + 60).stdout)
    return {"rate": round(said["right"] / said["seconds"], 1)} | {key: said[key] for key in ("wrong", "failed", "late", "p99")}


def answers(net, work, count=100):
    """How long the answer to PORT or PASV takes, milliseconds: to PORT its row has been written then. None follows it."""
    session, took = Old(net), []
    code = "200" if work == "PORT" else "227"
    own = net.client2.address.replace(".", ",")
    for number in range(count):
        since = time.monotonic()
        said = session.say(f"PORT {own},200,{number}" if work == "PORT" else work)
        took.append((time.monotonic() - since) * 1e3)
        assert said.startswith(code), said
    took.sort()
    goes_on = session.say("NOOP").startswith("200")
    return {"median": round(statistics.median(took), 2), "p99": round(took[len(took) * 99 // 100], 2), "goes_on": goes_on}


def start(director, told):
    """A daemon reads the rows that it finds. (The kernel lists a set in time that grows with the square of its size.)"""
    told["start"] = {"rows": STANDING}
    told["start"]["seconds"] = round(director.restart(), 2)
    told["start"] |= {"rss_kib": director.memory("VmRSS"), "hwm_kib": director.memory("VmHWM")}


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(*(int(word) for word in arguments[:1]), *(float(word) for word in arguments[1:2]))
