"""What was found on every kernel, as a page: kernels.py SUITE…

Reads what the boot of each suite said (target/lab/kernels/SUITE, written by `kernels`) and prints Markdown. A suite that was not
tried, or did not come to its end, is on it as such.
"""

import collections
import json
import platform
import re
import sys
import time
from pathlib import Path

from grid import FORWARDING
from selection import KERNELS
from table import VERSIONS, version

SAID = Path("/repo/target/lab/kernels")
# What decides beside the kernel, and how each says its version.
TOOLS = {
    "nft": ["nft", "--version"],
    "ipvsadm": ["dpkg-query", "-W", "ipvsadm"],
    "iproute2": ["dpkg-query", "-W", "iproute2"],
    "systemd": ["systemctl", "--version"],
    "keepalived": ["keepalived", "--version"],
}

INTRODUCTION = """\
# Kernels

What depends on Linux and on the tools beside it, tried on real IPVS by `tests/run kernels`, which also writes this page: one boot of a
virtual machine (x86-64) with the stock kernel of each suite of Debian. A cell is one client's session through the
director at one server: it is right if control and data connections were that server's, in the mode that was asked for. Few cells are
enough for any two of server, client, road, family, mode and protection to meet; [MATRIX.md](MATRIX.md) has all of them, on one kernel.
"""


def machine(every):
    """What the guest is made of, and the lab's tests that there are; `guest.py --kernels` tells it."""
    tools = {name: version(words) for name, words in (TOOLS | VERSIONS).items()}
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    return {"date": time.strftime("%F"), "linux": platform.release(), "system": system, "tools": tools, "every": every}


class Tried:
    """What the boots of a suite said."""

    def __init__(self, suite):
        said = SAID / suite
        text = said.read_text(errors="replace").replace("\r", "") if said.exists() else ""
        self.suite = suite
        # After a panic it is said again.
        told = re.findall(r"^kernels: (.*)$", text, re.MULTILINE)
        self.machine = json.loads(told[-1]) if told else None
        self.went = {name: how == "ok" for how, name in re.findall(r"^(ok|FAIL) (\w+\.test_\w+)", text, re.MULTILINE)}
        cells = re.findall(r"^matrix (\w+): (\d+) of (\d+) cells right$", text, re.MULTILINE)
        self.cells = {forwarding: (int(right), int(all_of_them)) for forwarding, right, all_of_them in cells}
        self.ended = re.search(r"^lab: \d+ passed, \d+ failed$", text, re.MULTILINE) is not None

    @property
    def failed(self):
        return [name for name, good in self.went.items() if not good]

    def tool(self, name):
        return self.machine["tools"][name] if self.machine else NOT_TRIED

    def of_machine(self, key):
        return self.machine[key] if self.machine else NOT_TRIED

    def right(self, forwarding):
        if forwarding not in self.cells:
            return NOT_TRIED
        right, all_of_them = self.cells[forwarding]
        return f"{right} of {all_of_them}" if right == all_of_them else f"**{right} of {all_of_them}**"

    def mark(self, test):
        if test not in self.went:
            return NOT_TRIED
        return "✓" if self.went[test] else "**failed**"

    def sum(self):
        if not self.machine:
            return NOT_TRIED
        words = f"{sum(self.went.values())} passed, {len(self.failed)} failed"
        return words if self.ended else f"{words}; **did not come to the end**"


NOT_TRIED = "**not tried**"


def row(title, cells):
    print(f"| {title} | " + " | ".join(cells) + " |")


def summary(suites):
    print("| | " + " | ".join(suite.suite for suite in suites) + " |")
    print("|---|" + "---|" * len(suites))
    for title, key in (("date", "date"), ("system", "system"), ("Linux", "linux")):
        row(title, (suite.of_machine(key) for suite in suites))
    for name in TOOLS:
        row(name, (suite.tool(name) for suite in suites))
    for forwarding in FORWARDING:
        row(f"cells right, {forwarding.upper()}", (suite.right(forwarding) for suite in suites))
    row("tests", (suite.sum() for suite in suites))
    print()
    for suite in suites:
        if suite.machine:
            print(f"- Servers and clients, {suite.suite}: " + "; ".join(f"{name} {suite.tool(name)}" for name in VERSIONS) + ".")


def features(suites):
    print("| | " + " | ".join(suite.suite for suite in suites) + " |")
    print("|---|" + ":-:|" * len(suites))
    for feature, tests in KERNELS.items():
        row(f"**{feature}**", [""] * len(suites))
        for test in tests:
            row(f"`{test}`", (suite.mark(test) for suite in suites))


def not_selected(suites):
    """The tests of the lab that are not for this page, by file."""
    selected = {name for tests in KERNELS.values() for name in tests}
    every = next((suite.machine["every"] for suite in reversed(suites) if suite.machine), [])
    if not every:
        print("Nothing was tried.")
        return
    left = collections.Counter(name.split(".")[0] for name in every if name not in selected)
    print(f"Of the {len(every)} tests of the lab {sum(left.values())} were not selected; `tests/run` and `tests/run lab --all` run them on the kernel of")
    print("trixie, `tests/run lab --suite SUITE [--all]` on another. By file: " + ", ".join(f"{file} {count}" for file, count in left.items()) + ".")
    print("\nNor were other architectures, and other distributions' kernels.")


def main(names):
    suites = [Tried(name) for name in names]
    print(INTRODUCTION)
    summary(suites)
    print("\n## What was tried\n")
    features(suites)
    print("\n## What was not\n")
    not_selected(suites)


if __name__ == "__main__":
    main(sys.argv[1:])
