"""What steering costs, beside what people would use instead, in one boot. In the guest: bench.py [ROUNDS [SECONDS]]

Each round sets up every director in turn, so that what changes over time changes all of them alike. Prints what it does, and at the
end one line `results: ` and JSON: for each director and each work its rounds.
"""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import peers
from guest import prepare_kernel
from topology import Topology

CLIENT = "/repo/target/lab/bin/ftp"
SESSIONS = 32
SOURCES = [f"10.1.0.{100 + n}" for n in range(SESSIONS)]
SMALL, BULK = 1, 10240
# What is done, and with how many sessions and KiB.
WORKS = {
    "PASV": ("PASV", SESSIONS, SMALL),
    "EPSV": ("EPSV", SESSIONS, SMALL),
    "PORT": ("PORT", SESSIONS, SMALL),
    "log-in": ("LOGIN", SESSIONS, SMALL),
    "NOOP": ("NOOP", SESSIONS, SMALL),
    "bulk": ("EPSV", 8, BULK),
}
# Who directs: its name, how servers are reached, how it is set up, what it cannot do.
DIRECTORS = {
    "router only": ("nat", peers.router_only, ()),
    "ip_vs_ftp, NAT": ("nat", peers.ip_vs_ftp, ()),
    "nginx stream": ("nat", peers.nginx, ("PORT",)),
    "ProFTPD mod_proxy": ("nat", peers.mod_proxy, ()),
    "ours, NAT": ("nat", peers.ours, ()),
    "our rules, NAT": ("nat", peers.rules_only, ("PORT",)),
    "recipe, DR": ("dr", peers.recipe, ()),
    "ours, DR": ("dr", peers.ours, ()),
    "our rules, DR": ("dr", peers.rules_only, ("PORT",)),
}
# Columns of /proc/stat: user, nice, system; irq, softirq.
BUSY = (1, 2, 3, 6, 7)


def main(rounds=3, seconds=6.0):
    prepare_kernel()
    results = {name: {work: [] for work in WORKS if work not in cannot} for name, (_, _, cannot) in DIRECTORS.items()}
    for number in range(1, rounds + 1):
        for name, works in results.items():
            one_round(name, works, seconds, number)
    told = {"date": time.strftime("%Y-%m-%d"), "versions": versions(), "rounds": rounds, "seconds": seconds, "directors": results}
    print("results: " + json.dumps(told), flush=True)


def one_round(name, works, seconds, number):
    forwarding, set_up, _ = DIRECTORS[name]
    with Topology(forwarding, kinds=("cheap",)) as net:
        net.client1.ip(*(f"address add {source}/24 dev eth0" for source in SOURCES))
        try:
            target = set_up(net)
            for work, rates in works.items():
                rates.append(measure(net, target, work, seconds))
                print(f"# round {number}, {name}, {work}: {rates[-1]}", flush=True)
        finally:
            # It would handle our sessions a second time.
            subprocess.run(["modprobe", "-qr", "ip_vs_ftp"], check=False)


def measure(net, target, work, seconds, sessions=None):
    """What was done a second, what else went, and what one of them cost: processor time of the whole machine (all hosts are on it) and
    of our packet thread, switches between processes, packets that waited in the queue."""
    mode, usual, kib = WORKS[work]
    words = [CLIENT, target, 21, sessions or usual, seconds, mode, kib, ",".join(SOURCES)]
    before = busy(), switches(), queued(net), packet_thread()
    said = json.loads(net.client1.run(words, timeout=seconds + 60).stdout)
    after = busy(), switches(), queued(net), packet_thread()
    milliseconds, changes, packets, thread = (last - first for first, last in zip(before, after))
    done = max(said["right"], 1)
    found = {
        "rate": round(said["right"] / said["seconds"], 1),
        "bad": said["wrong"] + said["failed"] + said["late"],
        "wrong": said["wrong"],
        "cpu_ms": round(milliseconds / done, 3),
        "switches": round(changes / done, 2),
        "queued": round(packets / done, 2),
        "thread_ms": round(thread / done, 3),
        "thread_share": round(thread / 1000 / said["seconds"], 3),
        "p99_ms": said["p99"],
    }
    if kib == BULK:
        found["megabytes"] = round(said["bytes"] / said["seconds"] / 1e6, 1)
    return found


def busy():
    ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return sum(int(ticks[column]) for column in BUSY) * 1000 / os.sysconf("SC_CLK_TCK")


def switches():
    return int(next(line.split()[1] for line in Path("/proc/stat").read_text().splitlines() if line.startswith("ctxt ")))


def queued(net):
    """Packets that were ever queued: the number of the last one."""
    found = net.director.run(["cat", "/proc/net/netfilter/nfnetlink_queue"], check=False).stdout.split()
    return int(found[7]) if len(found) > 7 else 0


def packet_thread():
    """Processor time of ours, user and system, in milliseconds; 0 if there is none."""
    for name in Path("/proc").glob("[0-9]*/task/[0-9]*/comm"):
        try:
            if name.read_text() == "packets\n":
                fields = name.with_name("stat").read_text().rpartition(")")[2].split()
                return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")
        except OSError:
            # Gone meanwhile.
            continue
    return 0


def versions():
    packages = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "nftables"], check=True, capture_output=True, text=True).stdout
    daemon = subprocess.run(["/repo/target/lab/bin/ftpdirector", "--version"], check=True, capture_output=True, text=True).stdout
    nginx = subprocess.run(["nginx", "-v"], check=True, capture_output=True, text=True).stderr
    return {
        "Linux": platform.release(),
        "nft": packages,
        "nginx": nginx.strip().rpartition("/")[2],
        "ftpdirector": daemon.split()[-1],
        "processor": processor(),
    }


def processor():
    """Under emulation it says so."""
    text = Path("/proc/cpuinfo").read_text()
    model = next(line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name"))
    return f"{os.cpu_count()} × {model}"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
