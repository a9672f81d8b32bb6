"""What others do to the director, and what is left of the transfers: flushed rows, edited rules, floods, a full map, a jumping clock."""

import collections
import contextlib
import ftplib
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from daemon import BINARY, config_file, ftpdirector
from ftpload import MODES, Load, Session, load
from hosts import poll
from selection import long
from topology import VIP, Topology

SOCKET = "/run/ftpdirector/admin.sock"
DATA = "ftpdirector_data_connections_total"
DRIFT = "ftpdirector_kernel_drift_total"
SETS = re.compile(r"^\t(set|map) .*?^\t}$", re.MULTILINE | re.DOTALL)


def rules(net):
    """The chains of every table, without counters and handles, in whatever order they were made. (Sets change under load.)"""
    listing = net.director.run(["nft", "--stateless", "list", "ruleset"]).stdout
    return sorted(SETS.sub("", listing).splitlines())


def drift(daemon):
    return daemon.metrics().sum(DRIFT)


@contextlib.contextmanager
def explained(daemon, session):
    """What the daemon knows of a session, and its last lines, where something fails."""
    address, port, *_ = session.sock.getsockname()
    try:
        yield
    except BaseException:
        print(ftpdirector(daemon.director, "explain", f"{address}:{port}", "--socket", SOCKET).stdout[-6000:])
        print(*daemon.log().splitlines()[-60:], sep="\n")
        raise


def serves(client, session, modes=MODES, opening=None):
    """New data connections of a client's session, each from its own server."""
    with client.enter():
        for mode in modes:
            content = session.fetch(opening or session.announce(mode)).decode().strip()
            assert content == session.server, f"{mode}: {content}, not {session.server}"


def warned(daemon, text):
    return any("WARN" in line and text in line for line in daemon.log().splitlines())


def handle(net, chain, text):
    """The number of the rule in a chain that contains `text`."""
    listing = net.director.run(["nft", "-a", "list", "chain", "inet", "ftpdirector", chain]).stdout
    return next(line.split("# handle ")[1] for line in listing.splitlines() if text in line)


def test_rules_that_someone_changed_are_put_right():
    """Each way to break our table by hand: put right in place, counted, and said chain by chain."""
    table = "inet ftpdirector"
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        before = rules(net)
        edits = [
            (lambda: f"flush table {table}", "chain guard has 0 rules, not 2"),
            (lambda: f"delete rule {table} guard handle {handle(net, 'guard', 'ip6 daddr')}", "chain guard has 1 rules, not 2"),
            (lambda: f"insert rule {table} control tcp dport 21 drop", "chain control has 3 rules, not 2"),
            (
                lambda: f"replace rule {table} guard handle {handle(net, 'guard', 'ip daddr')} ip daddr 192.0.2.1 drop",
                "chain guard has other rules",
            ),
            (lambda: f"delete chain {table} guard", "chain guard is gone"),
            (lambda: f"add table {table} {{ flags dormant; }}", "the table's flags are 0x1, not 0x0"),
        ]
        for edit, said in edits:
            counted = drift(daemon)
            net.director.nft(edit() + "\n")
            poll(lambda: warned(daemon, said), what=f"`{said}` noticed")
            poll(lambda: rules(net) == before, what=lambda: f"`{said}` put right: {rules(net)}")
            poll(lambda: drift(daemon) > counted, what="the drift counted")
        counted = drift(daemon)
        report = load(net.client1, net.vip, sessions=6)
        assert report.right == report.total == 48, report
        # Nobody's edits but its own concern it, and its own do not.
        for number in range(30):
            net.director.nft(f"table inet other {{\n chain c{number} {{\n type filter hook input priority 0; accept\n }}\n}}\n")
        daemon.config.write_text(daemon.config.read_text().replace("forwarding: nat", "pinhole_timeout: 9s\n    forwarding: nat"))
        assert ftpdirector(net.director, "reload", "--config", daemon.config).returncode == 0
        done = ftpdirector(net.director, "plan", "--config", daemon.config)
        assert (done.returncode, done.stdout) == (0, ""), done
        # It looks at everything at once: when it notices this edit, it has seen those, and this one is all it counts.
        ours = rules(net)
        net.director.nft(f"delete rule {table} guard handle {handle(net, 'guard', 'ip6 daddr')}\n")
        poll(lambda: drift(daemon) > counted, what="the next look")
        poll(lambda: rules(net) == ours, what=lambda: f"the rules as before: {rules(net)}")
        assert drift(daemon) == counted + 1, daemon.log()

        # While nobody looks: `plan` says so, and the next start puts it right.
        before = rules(net)
        assert daemon.term() == 0
        net.director.nft(f"flush chain {table} opening\n")
        done = ftpdirector(net.director, "plan", "--config", daemon.config)
        assert done.returncode == 1 and f"table {table} {{" in done.stdout, done
        net.start_daemon(daemon.config.read_text()).wait_ready()
        assert rules(net) == before


@long
def test_clock_jumps():
    """Forward a day, back two: what is expected stays expected, and no longer."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        ahead = time.time() - time.monotonic()
        with net.client1.enter():
            sessions = [Session(net.vip) for _ in net.servers]
            running = Load(net.vip, sessions=6, rounds=None)
        try:
            for days in (1, -2):
                with net.client1.enter():
                    openings = [session.announce(mode) for session, mode in zip(sessions, ("EPSV", "PORT", "PASV"))]
                time.clock_settime(time.CLOCK_REALTIME, time.time() + days * 86400)
                for session, opening in zip(sessions, openings):
                    serves(net.client1, session, (f"{days} days",), opening)
                goal = running.report.total + 24
                poll(lambda: running.report.total >= goal, what="24 more transfers")
            report = running.stop()
        finally:
            time.clock_settime(time.CLOCK_REALTIME, ahead + time.monotonic())
        assert report.right == report.total, report
        # A pinhole closes after its ten seconds, not after a day.
        with net.client1.enter():
            sessions[0].announce("EPSV")
        listing = ["nft", "list", "set", "inet", "ftpdirector", "open4"]
        poll(lambda: "expires" not in net.director.run(listing).stdout, what="the pinholes closed")
        assert daemon.metrics().sum("ftpdirector_server_up") == 3, daemon.log()
        assert drift(daemon) == 0, daemon.log()


def test_full_disk_and_read_only_run():
    """No line of its log can be written, and there is no place for its socket: it works all the same."""
    read_only = Path("/mnt/read-only")
    read_only.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", read_only], check=True)
    try:
        with Topology("nat") as net:
            config = config_file(net.config() + f"admin: {{socket: {read_only}/admin.sock}}\nlog: {{level: debug}}\n")
            with open("/dev/full", "w") as full:
                process = net.director.popen([BINARY, "run", "--config", config], stdout=full, stderr=full)

            def ready():
                assert process.poll() is None, process.poll()
                try:
                    return "200" in net.director.run(["curl", "-sI", "-XGET", "http://127.0.0.1:9786/readyz"], check=False).stdout
                except OSError:
                    return False

            poll(ready, what="readiness")
            report = load(net.client1, net.vip, sessions=6, rounds=1)
            assert report.right == report.total == 24, report
            # A bad file, and then a good one that makes it warn.
            good = config.read_text()
            for text in ("clusters: []\n", good.replace("scheduler: rr", "scheduler: rr\n    ports: [21, 990]")):
                config.write_text(text)
                process.send_signal(signal.SIGHUP)
            poll(lambda: f"{VIP}:990" in net.director.run(["ipvsadm", "-Sn"]).stdout, what="the good file in force")
            report = load(net.client1, net.vip, sessions=6, rounds=1)
            assert report.right == report.total == 24, report
            assert process.poll() is None, process.poll()
            process.terminate()
            assert process.wait(timeout=30) == 0
    finally:
        subprocess.run(["umount", read_only], check=True)


@long
def test_nat_flushed_rulesets():
    flushed_rulesets("nat")


@long
def test_dr_flushed_rulesets():
    flushed_rulesets("dr")


def flushed_rulesets(forwarding):
    """`nft flush ruleset`, twice, as a restart of nftables.service does it: for how long transfers fail that begin after
    it, and how many of ten sessions are hit."""
    with Topology(forwarding) as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            running = Load(net.vip, sessions=10, rounds=None, modes=("EPSV", "PASV"), think=0.2, timeout=10.0)

        def each_transfers(since):
            return len({one.session for one in list(running.report.transfers) if one.right and one.began > since}) == 10

        spans, lost = [], []
        for _ in range(2):
            begins = time.monotonic()
            poll(lambda: each_transfers(begins), what="every session at work")
            counted, began = drift(daemon), time.monotonic()
            net.director.nft("flush ruleset")
            poll(lambda: drift(daemon) > counted, what="the flush noticed")
            poll(lambda: each_transfers(began), what="every session at work again")
            failed = [one for one in running.report.transfers if not one.right and one.began + one.seconds > began]
            spans.append(max([0.0, *(one.began - began for one in failed)]))
            lost.append(len(failed))
        report = running.stop()
        print(f"# {forwarding}: after a flush transfers fail for {sum(spans) / len(spans):.2f} s on average, {max(spans):.2f} at most")
        print(f"# {forwarding}: transfers that failed at each flush: {lost} of {report.total} in all; {report}")
        assert daemon.metrics().sum(DATA, result="misdirected") == 0
        assert not warned(daemon, "cannot be put right"), daemon.log()


def test_a_reload_that_finds_the_flush_first():
    """What is expected lives through `nft flush ruleset` also when a reload, and not a look, writes the table again."""
    with Topology("nat") as net:
        daemon = net.start_daemon(net.config(more=["pinhole_timeout: 2m"])).wait_ready()
        good = daemon.config.read_text()
        for mode, scheduler in (("EPSV", "wrr"), ("PORT", "lc"), ("PASV", "wlc")):
            with net.client1.enter():
                session = Session(net.vip, timeout=60.0)
                opening = session.announce(mode)
            daemon.config.write_text(good.replace("scheduler: rr", f"scheduler: {scheduler}"))
            # What is asked for while it stands still it finds together, and mostly does the reload first.
            os.kill(daemon.process.pid, signal.SIGSTOP)
            try:
                net.director.nft("flush ruleset")
                os.kill(daemon.process.pid, signal.SIGHUP)
            finally:
                os.kill(daemon.process.pid, signal.SIGCONT)
            poll(lambda: what_is_in_force(daemon)[0] == scheduler, what=f"{scheduler} in force")
            serves(net.client1, session, (mode,), opening)


def test_nat_a_call_that_nothing_translated():
    """Connection tracking keeps what was decided of a server's call while there were no rules, for every later call of these ports."""
    with Topology("nat", servers=1) as net:
        daemon = net.start_daemon().wait_ready()
        with net.client1.enter():
            session = Session(net.vip, timeout=60.0)
        os.kill(daemon.process.pid, signal.SIGSTOP)
        try:
            net.director.nft("flush ruleset")
            with net.client1.enter(), contextlib.suppress(ftplib.error_temp):
                session.fetch(session.announce("PORT", port=50000))
                raise AssertionError("something translates it")
        finally:
            os.kill(daemon.process.pid, signal.SIGCONT)
        poll(lambda: drift(daemon) > 0, what="the rules to be back")
        with net.client1.enter():
            content = session.fetch(session.announce("PORT", port=50000)).decode().strip()
        assert content == session.server
        assert "calls of servers that nothing had translated are forgotten: conntrack -D count=1" in daemon.log(), daemon.log()


def test_second_daemon_on_the_same_queue():
    """With a socket and a port of its own it gets as far as the queue, and has changed nothing by then."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        before = rules(net)
        own = "metrics: {listen: 127.0.0.1:9787}\nadmin: {socket: /run/second.sock}\n"
        second = net.start_daemon(without_server(net.config()) + own)
        assert second.process.wait(timeout=30) == 69, second.log()
        assert "NFQUEUE 2100" in second.log(), second.log()
        assert rules(net) == before
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report
        assert drift(daemon) == 0, daemon.log()


def without_server(text):
    return "".join(line for line in text.splitlines(keepends=True) if "name: rs3" not in line)


COPIES = 24


def test_a_flood_at_a_stopped_daemon():
    """More control packets than the queue holds: lost, counted, repeated by TCP, none astray. Of the landings few are told, so
    that the log loses none."""
    with Topology("nat") as net:
        daemon = net.start_daemon(net.config(more=["pinhole_timeout: 2m"])).wait_ready()
        with net.client1.enter():
            victim, pinhole = Session(net.vip, timeout=120.0), Session(net.vip, timeout=120.0)
            opening = pinhole.announce("EPSV")
        with net.client2.enter():
            running = Load(net.vip, sessions=6, rounds=2, timeout=120.0)
        poll(lambda: running.report.total >= 6, what="6 transfers done")
        (port, *_) = [server.passive_ports[0] for server in net.servers if server.name == pinhole.server]
        os.kill(daemon.process.pid, signal.SIGSTOP)
        try:
            copy_what_comes_from(net, 4444, victim.sock.getsockname()[1])

            def overflown():
                with net.client1.enter():
                    own = victim.sock.getsockname()[1]
                    forge(net, 100, (own, 21), flags=0x18, payload=b"NOOP\r\n")
                    forge(net, 100, (4444, port), flags=0x02)
                return lost(net) > 0

            poll(overflown, what="a packet lost by the queue")
            with net.client1.enter():
                # Told one by one they would be far more than the megabyte that the log holds.
                forge(net, 400, (4444, port), flags=0x02)
        finally:
            os.kill(daemon.process.pid, signal.SIGCONT)
        report = running.wait()
        print(f"{lost(net)} packets lost\n{report}")
        assert report.misdirected == 0, report
        assert report.right == report.total == 48, report
        metrics = daemon.metrics()
        assert metrics.sum("ftpdirector_queue_dropped_total") == lost(net) > 0, metrics
        assert metrics.sum("ftpdirector_log_overruns_total") == 0, metrics
        assert 0 < metrics.sum("ftpdirector_landings_logged_total") < metrics.sum(DATA, result="landed") / 10, metrics
        assert metrics.sum(DATA, result="misdirected") == 0, metrics
        serves(net.client1, pinhole, ("EPSV",), opening)
        serves(net.client1, victim)


def lost(net):
    """What the kernel says that the queue and its socket have lost."""
    table = net.director.run(["cat", "/proc/net/netfilter/nfnetlink_queue"]).stdout
    (columns,) = [line.split() for line in table.splitlines() if line.split()[0] == "2100"]
    return int(columns[5]) + int(columns[6])


def copy_what_comes_from(net, *ports):
    """The router sends each packet from these ports of a client on many times: a flood at the kernel's speed."""
    copies = "\n".join([f'tcp sport {{ {", ".join(map(str, ports))} }} dup to {net.director.address} device "eth1"'] * COPIES)
    net.router.nft(f"table ip flood {{ chain forward {{ type filter hook forward priority -10\n{copies}\n}}\n}}\n")


def forge(net, count, ends, flags, payload=b""):
    """Sends TCP packets between these ports of client1 and the VIP, with wrong checksums: no server answers them."""
    source, target = ends
    addresses = socket.inet_aton(net.client1.address) + socket.inet_aton(net.vip)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        for number in range(count):
            header = struct.pack("!BBHHHBBH", 0x45, 0, 0, number, 0, 64, socket.IPPROTO_TCP, 0) + addresses
            tcp = struct.pack("!HHIIBBHHH", source, target, 0x10000000 + number, 1, 5 << 4, flags, 1000, 0, 0)
            raw.sendto(header + tcp + payload, (net.vip, 0))


def test_a_full_set_ends_the_rule_and_not_the_chain():
    """What `ftpdirector_doors_full_total` counts: `update` in a set of the shape of `open4` that has no room left."""
    with Topology("nat", servers=1) as net:
        net.client1.nft("""
            table inet full {
              counter doors_full {}
              set doors { type ipv4_addr . mark; size 2; flags timeout,dynamic; }
              chain open {
                update @doors { ip daddr . meta mark timeout 1m } accept
                counter name doors_full
              }
              chain output { type filter hook output priority 0
                meta l4proto udp goto open
              }
            }""")
        with net.client1.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for last in (1, 2, 1, 3, 2):
                out.sendto(b"", (f"10.0.0.{last}", 9))
        listing = net.client1.run(["nft", "list", "counter", "inet", "full", "doors_full"]).stdout
        assert "packets 1 " in listing, listing


@long
def test_nat_everything_at_once():
    everything_at_once("nat")


@long
def test_dr_everything_at_once():
    everything_at_once("dr")


FOUR = [(31000, 31999), (32000, 32999), (33000, 33999), (34000, 34999)]
BAD = (
    "clusters: []\n",
    "clusters: [{name: lab, vips: [10.0.0.100], forwarding: gnat, real_servers: [{address: 10.0.0.11}]}]\n",
    "clusters:\n  - name: lab\n    name: again\n",
    "no YAML: [\n",
    "\x00\x01\n",
)


class Outages:
    """When the director was not whole, so that a transfer that failed then is explained."""

    def __init__(self):
        self.spans = []

    def begin(self, name):
        self.spans.append([name, time.monotonic(), float("inf")])

    def end(self):
        self.spans[-1][2] = time.monotonic()

    def during(self, transfer):
        """The outage that a transfer fell into, or came after: calls that nobody answers any more go on for a while."""
        end = transfer.began + transfer.seconds
        begun = [(name, over) for name, start, over in self.spans if start <= end]
        if not begun:
            return "reloads"
        name, over = next(((name, over) for name, over in begun if transfer.began <= over), begun[-1])
        return name if transfer.began <= over else f"after {name}"


def everything_at_once(forwarding):
    """Thirty sessions of one client go on through 20 reloads, 5 bad files, `ipvsadm -C`, `nft flush ruleset`, 3 kill -9."""
    seed = int(os.environ.get("LAB_SEED", "5"))
    dice = random.Random(seed)
    with Topology(forwarding, servers=4, ranges=FOUR) as net:
        daemon = net.start_daemon(random_config(net, dice)).wait_ready()
        with net.client1.enter():
            quiet = [Session(net.vip, timeout=60.0) for _ in range(4)]
            running = Load(net.vip, rounds=None, think=1.0)
        outages = Outages()

        def on(more=4):
            """So many more transfers are done."""
            goal = running.report.total + more
            poll(lambda: running.report.total >= goal, what=f"{more} more transfers")

        on(30)
        for step in range(25):
            good = daemon.config.read_text()
            bad = step % 5 == 4
            inforce = what_is_in_force(daemon)
            daemon.config.write_text(BAD[step // 5] if bad else random_config(net, dice))
            done = ftpdirector(net.director, "reload", "--socket", SOCKET)
            assert done.returncode == (1 if bad else 0), f"{done.stderr}\n{daemon.config.read_text()}"
            if bad:
                assert daemon.metrics().sum("ftpdirector_config_reload_success") == 0
                assert what_is_in_force(daemon) == inforce
                daemon.config.write_text(good)
            on()
        # A server that is leaving would change the services by itself.
        daemon.config.write_text(random_config(net, dice, whole=True))
        assert ftpdirector(net.director, "reload", "--config", daemon.config).returncode == 0
        before = rules(net)
        services = net.director.run(["ipvsadm", "-Sn"]).stdout
        assert drift(daemon) == 0, daemon.log()

        def whole():
            return rules(net) == before and sorted(net.director.run(["ipvsadm", "-Sn"]).stdout.splitlines()) == sorted(
                services.splitlines()
            )

        for name, command in (("ipvsadm -C", ["ipvsadm", "-C"]), ("nft flush ruleset", ["nft", "flush", "ruleset"])):
            counted = drift(daemon)
            outages.begin(name)
            net.director.run(command)
            poll(lambda: drift(daemon) > counted and whole(), what=f"everything back after {name}")
            on()
            outages.end()
            for session in quiet:
                with explained(daemon, session):
                    serves(net.client1, session)
        text = daemon.config.read_text()
        for _ in range(3):
            outages.begin("kill -9")
            daemon.kill9()
            on(6)
            daemon = net.start_daemon(text).wait_ready()
            on()
            outages.end()
        report = running.stop()
        failed = [transfer for transfer in report.transfers if not transfer.right]
        causes = collections.Counter((outages.during(one), one.mode, one.error) for one in failed)
        print(f"seed {seed}: {report.total} transfers, {len(failed)} failed, {report.misdirected} misdirected")
        for (when, mode, error), count in causes.most_common():
            print(f"  {count} {mode} during {when}: {error}")
        assert report.misdirected == 0, report
        assert not [one for one in failed if outages.during(one) == "reloads"], "a reload cost a transfer"
        assert daemon.metrics().sum(DATA, result="misdirected") == 0
        for session in quiet:
            serves(net.client1, session, ("EPSV",))


def what_is_in_force(daemon):
    (cluster,) = json.loads(ftpdirector(daemon.director, "status", "--json", "--socket", SOCKET).stdout)["clusters"]
    weights = {server["name"]: server["effective_weight"] for server in cluster["servers"]}
    return cluster["scheduler"], {name: weight for name, weight in weights.items() if weight > 0}


def random_config(net, dice, whole=False):
    """A valid file: weights, ranges that hold the servers' own, timeouts, schedulers, three or four servers, one or two ports."""
    lines = [
        "clusters:",
        "  - name: lab",
        f"    vips: ['{net.vip}']",
        f"    forwarding: {net.forwarding}",
        f"    scheduler: {dice.choice(['rr', 'wrr', 'wlc', 'lc'])}",
        "    health_check: {kind: none}",
        f"    pinhole_timeout: {dice.randint(8, 20)}s",
        f"    unexpected_data: {dice.choice(['drop', 'drop', 'reject'])}",
    ]
    nat = net.forwarding == "nat"
    if nat and (whole or dice.random() < 0.5):
        lines.append("    ports: [21, 2121]")
    lines.append("    real_servers:")
    for server in net.servers[: 4 if whole else dice.choice([3, 3, 4])]:
        low, high = server.passive_ports
        low -= dice.choice([0, 0, 200]) if server is net.servers[0] else 0
        port = "port: 21, " if nat else ""
        lines.append(
            f"      - {{name: {server.name}, address: {server.address}, {port}weight: {dice.randint(1, 4)}, passive_ports: {low}-{high}}}"
        )
    return "\n".join(lines) + "\n"
