"""The matrix as a page: reads the lines that grid.py printed, from standard input, and prints Markdown."""

import json
import platform
import re
import subprocess
import sys

from ftpload import MODES
from ftpservers import KINDS
from grid import CLIENTS, FORWARDING, HUGE, IMPOSSIBLE, LONG, PARTS, SMALL, Cell, sessions, why_not

NAMES = {"vsftpd": "vsftpd", "proftpd": "ProFTPD", "pureftpd": "Pure-FTPd", "pyftpdlib": "pyftpdlib"}
FORWARDINGS = {"nat": "NAT", "dr": "DR", "tun": "TUN"}
# How each says its version; only unpacked, some are not known to dpkg.
VERSIONS = {
    "vsftpd": ["dpkg-query", "-W", "vsftpd"],
    "ProFTPD": ["proftpd", "--version"],
    "Pure-FTPd": ["pure-ftpd", "--help"],
    "pyftpdlib": ["python3", "-c", "import pyftpdlib; print(pyftpdlib.__ver__)"],
    "curl": ["curl", "--version"],
    "lftp": ["lftp", "--version"],
    "ncftp": ["dpkg-query", "-W", "ncftp"],
    "tnftp": ["dpkg-query", "-W", "tnftp"],
    "wget": ["wget", "--version"],
    "Python's ftplib": ["python3", "--version"],
}

INTRODUCTION = """\
# Servers × clients × roads

Tried on real IPVS by `tests/run matrix`, which also writes this page. Four real servers, one of each kind, are in
one cluster; a file, a listing and an upload's place say whose they are, the banner says whose the control connection is, and a cell is
right (✓) if all of them are the same server's, in the mode that was asked for. The kernel's counters must agree: of {landed} data connections
none was misdirected. `wget` cannot upload. Numbers are reasons why nobody could do it (below).
"""


def main():
    lines = [json.loads(line.removeprefix("matrix: ")) for line in sys.stdin if line.startswith("matrix: ")]
    cells = {Cell(**{key: line[key] for key in Cell.__dataclass_fields__}): line["wrong"] for line in lines if line["kind"] == "cell"}
    counters = {line["part"]: line["landed"] for line in lines if line["kind"] == "counters"}
    mirrors = {(line["forwarding"], line["mode"]): line["wrong"] for line in lines if line["kind"] == "mirror"}
    missing = [part for part in PARTS if part not in counters]
    print(INTRODUCTION.format(landed=f"{sum(counters.values()):,}"))
    if missing:
        print(f"**Not finished when this page was written: {', '.join(missing)}.**\n")
    print(f"Linux {platform.release()}; {'; '.join(f'{name} {version(words)}' for name, words in VERSIONS.items())}.\n")
    for title, tls in (("Clear", False), ("TLS (AUTH TLS, PROT P)", True)):
        print(f"## {title}\n")
        grid(cells, tls)
    print("## Long tasks, clear\n")
    long(cells, mirrors)
    print("## Impossible\n")
    for number, (reason, _) in enumerate(IMPOSSIBLE, 1):
        print(f"{number}. {reason}.")


def head(first):
    columns = [f"{NAMES[server]} {FORWARDINGS[forwarding]}" for server in KINDS for forwarding in FORWARDING]
    print(f"| {first} | " + " | ".join(columns) + " |")
    print("|---|" + ":-:|" * len(columns))


def grid(cells, tls):
    head("client")
    nowhere = {}
    for client, family, mode in dict.fromkeys((c.client, c.family, c.mode) for c in sessions("nat", tls)):
        row = [Cell(server, client, forwarding, family, mode, tls) for server in KINDS for forwarding in FORWARDING]
        reasons = {why_not(cell) for cell in row}
        if len(reasons) == 1 and None not in reasons:
            nowhere.setdefault(reasons.pop(), []).append(f"{client} IPv{family} {mode}")
        else:
            print(f"| {client} IPv{family} {mode} | " + " | ".join(mark(cells, cell) for cell in row) + " |")
    print("\nImpossible with every server:\n")
    for number, rows in sorted(nowhere.items()):
        print(f"- {number}: {', '.join(rows)}")
    print()


NOT_TRIED = "**not tried**"
WHAT = {
    "huge": f"{HUGE} MiB down, SHA-256",
    "huge upload": f"{HUGE} MiB up, SHA-256",
    "abort": "ABOR in mid-transfer, then another file",
    "small": f"{SMALL} files in one session",
}


def long(cells, mirrors):
    head("task")
    for task, client, family, mode in LONG:
        row = [Cell(server, client, forwarding, family, mode, False, task) for server in KINDS for forwarding in FORWARDING]
        print(f"| {WHAT[task]}: {client} IPv{family} {mode} | " + " | ".join(mark(cells, cell) for cell in row) + " |")
    print(f"\n| {SMALL} files by lftp's `mirror`, four control connections at once | " + " | ".join(FORWARDINGS.values()) + " |")
    print("|---|" + ":-:|" * len(FORWARDINGS))
    for mode in MODES:
        row = [mirrors.get((forwarding, mode), NOT_TRIED) for forwarding in FORWARDING]
        if row != [NOT_TRIED] * len(row):
            print(f"| IPv4 {mode} | " + " | ".join(word(wrong) for wrong in row) + " |")
    print()


def mark(cells, cell):
    if reason := why_not(cell):
        return str(reason)
    return word(cells.get(cell, NOT_TRIED))


def word(wrong):
    if wrong == NOT_TRIED:
        return NOT_TRIED
    return "**wrong**" if wrong else "✓"


def version(command):
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return re.search(r"\d[\d.]+\w*", said.stdout + said.stderr).group()


if __name__ == "__main__":
    main()
