"""What stands in the director's kernel."""

import json
from pathlib import Path


def rows(net, name):
    """The elements of a set or map of our table, `{key: value}`; the value is None in a set. Keys are tuples."""
    listing = json.loads(net.director.run(["nft", "-j", "list", "table", "inet", "ftpdirector"]).stdout)
    for entry in listing["nftables"]:
        found = entry.get("set") or entry.get("map")
        if found and found["name"] == name:
            return dict(_row(element) for element in found.get("elem", []))
    raise AssertionError(f"no {name} in the table")


def _row(element):
    key, value = element if isinstance(element, list) else (element, None)
    if isinstance(key, dict) and "elem" in key:
        key = key["elem"]["val"]
    fields = key["concat"] if isinstance(key, dict) and "concat" in key else [key]
    return tuple(map(str, fields)), str(value) if value is not None else None


def connections(net):
    """The connections that IPVS remembers: (client's port, virtual port) of each."""
    with net.director.enter():
        lines = Path("/proc/thread-self/net/ip_vs_conn").read_text().splitlines()[1:]
    return [(int(words[2], 16), int(words[4], 16)) for words in map(str.split, lines)]


def resident(daemon):
    """The daemon's memory, bytes."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
