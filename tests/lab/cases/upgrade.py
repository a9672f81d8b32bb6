"""A daemon starts on the table of another version: it replaces what is declared otherwise, and live sessions go on."""

import re
from pathlib import Path

from daemon import config_file, ftpdirector
from ftpload import MODES, Session, busy, load
from hosts import poll
from selection import long
from topology import Topology

DATA = "ftpdirector_data_connections_total"
TABLE = ["table", "inet", "ftpdirector"]
TABLES = Path(__file__).parents[1] / "tables"
# Rows of sessions, one in each set that the daemon writes; nobody comes by them.
ROWS = """
add element inet ftpdirector exact4 { 192.0.2.9 . 10.0.0.100 . 31005 timeout 10m : 0x0f700000 }
add element inet ftpdirector exact6 { 2001:db8::9 . fd00::100 . 31005 timeout 10m : 0x0f700000 }
add element inet ftpdirector translated4 { 192.0.2.9 . 10.0.0.100 . 31006 timeout 10m : 10.0.0.11 . 31007 }
add element inet ftpdirector active_nat6 { fd00::11 . 2001:db8::9 . 50001 timeout 10m : fd00::100 }
add element inet ftpdirector active_tls4 { 192.0.2.9 . 10.0.0.100 . 20 timeout 10m : 0x0f700000 }
add element inet ftpdirector blind4 { 192.0.2.9 . 50002 . 10.0.0.11 . 21 timeout 10m }
add element inet ftpdirector open6 { 2001:db8::9 . 0x0f730000 timeout 10m }
add element inet ftpdirector tunnel_open4 { 0xc0000209 . 0x0f730000 timeout 10m }
add element inet ftpdirector tunnel_open6 { 0x20010db8000000000000000000000009 . 0x0f730000 timeout 10m }
"""


def listing(net, *options):
    return net.director.run(["nft", *options, "list", *TABLE], check=False).stdout


def declarations(net):
    """Every set and map without its elements."""
    found = re.findall(r"^\t(?:set|map) (\S+) \{\n(.*?)^\t\}$", listing(net, "--stateless"), re.MULTILINE | re.DOTALL)
    return {name: re.sub(r"\s*elements = \{.*?\}", "", text, flags=re.DOTALL).split() for name, text in found}


def chains(net):
    return sorted(line for line in listing(net, "--stateless").split("\tchain ", 1)[1].splitlines())


def elements(net, names):
    """What stands in sets, without the times."""
    blocks = dict(re.findall(r"^\t(?:set|map) (\S+) \{\n(.*?)^\t\}$", listing(net), re.MULTILINE | re.DOTALL))
    found = {name: re.search(r"elements = \{(.*?)\}", blocks[name], re.DOTALL) for name in names}
    rows = {name: found[name].group(1).split(",") if found[name] else [] for name in names}
    return {name: sorted(re.sub(r" (timeout|expires) \S+", "", " ".join(row.split())) for row in rows[name]) for name in names}


def remaining(net, name, key):
    """Seconds that a row still lives."""
    text = net.director.run(["nft", "--json", "list", "map", "inet", "ftpdirector", name]).stdout
    return int(re.search(rf'{re.escape(key)}.*?"expires": (\d+)', text, re.DOTALL).group(1))


def sessions(net, count=3):
    with net.client1.enter():
        return [Session(net.vip) for _ in range(count)]


def serves(client, session, modes=MODES, opening=None):
    with client.enter():
        for mode in modes:
            content = session.fetch(opening or session.announce(mode)).decode().strip()
            assert content == session.server, f"{mode}: {content}, not {session.server}"


def exchanged(net, config):
    """What `plan` says of a start, and the daemon that is started then."""
    planned = ftpdirector(net.director, "plan", "--config", config_file(config))
    assert planned.returncode == 1, planned
    daemon = net.start_daemon(config).wait_ready()
    assert "the table of another version is replaced" in daemon.log(), daemon.log()
    return planned.stdout, daemon


# What a version with another declaration of a set would leave: the whole table, with all its rows.
DECLARED_OTHERWISE = {
    "size": (r"(set blind4 \{\s+type [^\n]+\s+)size 1048576", r"\1size 65536"),
    "value": (r"(map translated6 \{\s+type [^\n]+) : [^\n]+", r"\1 : ipv6_addr"),
    "flags": (r"(map exact4 \{\s+type [^\n]+\s+size 1048576\s+)flags timeout", r"\1flags dynamic,timeout"),
    "a static set": (r"(set hold \{\s+type mark)", r"\1\n\t\tflags interval"),
    "a set that is no more": (r"(?=\tset hold \{)", "\tset retired4 {\n\t\ttype ipv4_addr\n\t\telements = { 192.0.2.1 }\n\t}\n\n"),
}


@long
def test_sets_declared_otherwise_are_exchanged():
    """Once each: the rows of sessions stay what they are, with their time; counters go on; `plan` says it all beforehand."""
    with Topology("dr", servers=2) as net:
        config = net.config()
        daemon = net.start_daemon(config).wait_ready()
        declared, rules = declarations(net), chains(net)
        live = sessions(net, 2)
        for session in live:
            serves(net.client1, session)
        assert daemon.term() == 0
        net.director.nft(ROWS)
        kept = [*re.findall(r"ftpdirector (\S+) ", ROWS), "landed4", "vips4", "ranges4", "passive4"]
        before = elements(net, kept)
        assert all(before.values()), before
        for what, (pattern, other) in DECLARED_OTHERWISE.items():
            # As a downgrade or an upgrade finds it; the rules' version is another, too.
            text, count = re.subn(pattern, other, listing(net))
            assert count == 1, f"{what}: {text}"
            text = re.sub(r"(set version \{.*?elements = \{)[^}]*", r"\1 0x1", text, flags=re.DOTALL)
            net.director.nft(f"delete {' '.join(TABLE)}\n{text}")
            assert declarations(net) != declared, what
            if what == "a set that is no more":
                # The plain transaction would do; it goes all the same.
                planned = ftpdirector(net.director, "plan", "--config", config_file(config)).stdout
                daemon = net.start_daemon(config).wait_ready()
                assert "delete set inet ftpdirector retired4\n" in planned, planned
            else:
                planned, daemon = exchanged(net, config)
                assert "# the table of another version is replaced" in planned, planned
                assert "delete set inet ftpdirector hold\n" in planned, planned
                # What packets write, and is declared as ours, is not touched: nothing can get lost between look and write.
                assert "delete set inet ftpdirector open4\n" not in planned, planned
            assert declarations(net) == declared, what
            assert chains(net) == rules, what
            after = elements(net, kept)
            assert after == before, f"{what}: {after}, not {before}"
            assert 60 < remaining(net, "exact4", "192.0.2.9") < 600, what
            for session in live:
                serves(net.client1, session)
            # Of what these transfers wrote and counted, the next round starts.
            assert daemon.metrics().sum(DATA, result="misdirected") == 0, daemon.log()
            done = ftpdirector(net.director, "plan", "--config", daemon.config)
            assert (done.returncode, done.stdout) == (0, ""), done
            assert daemon.term() == 0
            before = elements(net, kept)


@long
def test_a_table_of_sets_that_fit_nowhere_is_exchanged():
    """Declarations whose rows nobody can use: they go, the session stays, and what is `owned` is ours still."""
    foreign = {
        "size": "set open4 { type ipv4_addr . mark; size 65536; flags dynamic,timeout; }",
        "key": "set open4 { type ipv4_addr . inet_service . mark; size 1048576; flags dynamic,timeout; elements = { 192.0.2.9 . 21 . 0x1 timeout 10m }; }",
        "type": "set open4 { type ipv4_addr . ipv4_addr; size 1048576; flags dynamic,timeout; elements = { 192.0.2.9 . 192.0.2.8 timeout 10m }; }",
        "flags": "map active4 { type ipv4_addr . inet_service . ipv4_addr : mark; size 1048576; flags dynamic,timeout; }",
    }
    with Topology("dr", servers=1) as net:
        config = net.config()
        daemon = net.start_daemon(config).wait_ready()
        declared, rules = declarations(net), chains(net)
        (session,) = sessions(net, 1)
        for what, declaration in foreign.items():
            assert daemon.term() == 0
            net.director.run(["nft", "delete", *TABLE])
            owned = f"set owned4 {{ type ipv4_addr . inet_service; elements = {{ {net.vip} . 21 }}; }}"
            net.director.nft(f"table inet ftpdirector {{\n{declaration}\n{owned}\n}}\n")
            planned, daemon = exchanged(net, config)
            if what in ("key", "type"):
                assert "1 of open4 are lost" in planned and "1 of open4 are lost" in daemon.log(), planned
            assert declarations(net) == declared, what
            assert chains(net) == rules, what
            serves(net.client1, session)
            assert daemon.metrics().sum(DATA, result="misdirected") == 0, daemon.log()


def test_what_cannot_be_exchanged_stays_and_says_why():
    """A base chain of another kind: the kernel's own words, exit 70, and the table as it was."""
    with Topology("dr", servers=1) as net:
        net.director.nft("table inet ftpdirector {\nset retired4 { type ipv4_addr; }\nchain forward { type nat hook prerouting priority 0; }\n}\n")
        before = listing(net)
        daemon = net.start_daemon()
        assert daemon.process.wait(timeout=30) == 70, daemon.log()
        assert "nft -f -" in daemon.log() and "forward" in daemon.log(), daemon.log()
        assert listing(net) == before


def test_dr_previous_release():
    previous_release("dr")


def test_nat_previous_release():
    previous_release("nat")


def previous_release(forwarding):
    """0.1.0's rows and services, a transfer that runs, one that is announced in each direction, others that begin meanwhile."""
    with Topology(forwarding) as net:
        net.director.run(["sh", "-e"], input=(TABLES / f"0.1.0-{forwarding}.sh").read_text())
        running, passive, active = sessions(net)
        with net.client1.enter():
            openings = {passive: passive.announce("EPSV"), active: active.announce("EPRT")}
            data = running.data(running.announce("EPSV"), "RETR big.bin")
            stream = data.__enter__()
            received = len(stream.recv(65536))
        # What 0.1.0 would have written for the EPRT.
        server = next(server for server in net.servers if server.name == active.server)
        port = openings[active].listener.getsockname()[1]
        if forwarding == "nat":
            row = f"active_nat4 {{ {server.address} . {net.client1.address} . {port} timeout 10m : {net.vip} }}"
        else:
            row = f"active4 {{ {net.client1.address} . {port} . {net.vip} timeout 10m : {0x0F700000 + net.servers.index(server):#010x} }}"
        net.director.nft(f"add element inet ftpdirector {row}\n")
        with busy(net.client2, net.vip, sessions=2, rounds=1, modes=("EPSV",)) as reports:
            poll(lambda: reports, what="a load under 0.1.0")
            daemon = net.start_daemon().wait_ready()
            count = len(reports)
            poll(lambda: len(reports) > count + 1, what="a load under this version")
        assert all(report.right == report.total == 2 for report in reports), "\n".join(str(report) for report in reports)
        for session, opening in openings.items():
            serves(net.client1, session, ("as announced",), opening)
        with net.client1.enter():
            while chunk := stream.recv(1 << 20):
                received += len(chunk)
            data.__exit__(None, None, None)
            running.voidresp()
        assert received == 10 * 1024 * 1024, received
        for session in (running, passive, active):
            serves(net.client1, session)
        report = load(net.client2, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report
        assert daemon.metrics().sum(DATA, result="misdirected") == 0, daemon.log()
        assert daemon.metrics().sum("ftpdirector_kernel_drift_total") == 0, daemon.log()
        # The same in the end as on an empty kernel.
        declared, rules = declarations(net), chains(net)
        assert daemon.term() == 0
        assert ftpdirector(net.director, "flush", "--config", daemon.config).returncode == 0
        net.start_daemon().wait_ready()
        assert (declarations(net), chains(net)) == (declared, rules)
