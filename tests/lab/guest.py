"""Runs the lab's tests, in the guest: guest.py [--all | --kernels | NAME-SUBSTRING…]

A test is a function `test_…` in cases/*.py; its name for the selection is `file.test_…`. Without a name all but those marked `long`
are selected; --kernels selects those of selection.KERNELS, and tells what kernels.py writes its page of.
"""

import importlib
import inspect
import json
import subprocess
import sys
import time
import traceback
from pathlib import Path

from daemon import BINARY
from selection import KERNELS
from topology import leftovers

# Loaded one by one, when a rule first needs them, they would cost the first test seconds under emulation.
MODULES = "ip_vs_rr ip_vs_wlc nft_ct nft_nat nft_chain_nat nft_queue nft_log nft_reject_inet nfnetlink_queue nfnetlink_log"
# The first and the last netfilter hook of a kind, in whatever namespace, patch the kernel's code. Under emulation a packet on the
# other processor was seen to trap on that: int3 in __ip_local_out, a panic (6.12, QEMU TCG). So one of each stands from the start.
HOOKS = "prerouting input forward output postrouting"
CASES = Path(__file__).parent / "cases"
# What the boots before this one told, a line for each test: the machine died in the one after them.
WENT = Path("/repo/target/lab/went")


def tests():
    """Every test as (name, function), in the order they are written in."""
    sys.path.insert(0, str(CASES))
    for path in sorted(CASES.glob("*.py")):
        module = importlib.import_module(path.stem)
        for name, function in vars(module).items():
            if name.startswith("test_") and inspect.isfunction(function):
                yield f"{path.stem}.{name}", function


def run(name, test):
    """Runs one test and says how it went; true if it passed."""
    started = time.monotonic()
    try:
        test()
        assert not leftovers(), f"left behind: {leftovers()}"
        failed = None
    except Exception:
        failed = traceback.format_exc()
    seconds = time.monotonic() - started
    print(f"{'FAIL' if failed else 'ok'} {name} {seconds:.1f}s", flush=True)
    if failed:
        print("    " + failed.replace("\n", "\n    ").rstrip(), flush=True)
    return not failed


def died(selected):
    """The tests of earlier boots, and those that failed among them: also the one in which the machine died."""
    told = {line.split()[1]: line.split()[0] for line in WENT.read_text().splitlines()}
    if not told:
        return [], []
    names = [name for name, _ in selected]
    next_one = max(names.index(name) for name in told) + 1
    bad = [name for name, how in told.items() if how == "FAIL"]
    for last in names[next_one : next_one + 1]:
        print(f"FAIL {last}\n    the machine died while it ran", flush=True)
        told[last] = "FAIL"
        bad.append(last)
    return list(told), bad


def prepare_kernel():
    subprocess.run(["modprobe", "-a", *MODULES.split()], check=True)
    chains = "\n".join(f"chain {hook} {{ type filter hook {hook} priority 0\n}}" for hook in HOOKS.split())
    subprocess.run(["nft", "-f", "-"], input=f"table inet steady {{\n{chains}\n}}\n", text=True, check=True)


def select(every, wanted):
    """The tests that are wanted, in their order."""
    if wanted == ["--kernels"]:
        names = {name for tests in KERNELS.values() for name in tests}
        if unknown := names - {name for name, _ in every}:
            sys.exit(f"selection.KERNELS names tests that there are not: {', '.join(sorted(unknown))}")
        return [(name, test) for name, test in every if name in names]
    if wanted and wanted != ["--all"]:
        return [(name, test) for name, test in every if any(part in name for part in wanted)]
    if left := [name for name, test in every if not wanted and hasattr(test, "long")]:
        print(f"lab: not selected, because they are long: {', '.join(left)}", flush=True)
    return [(name, test) for name, test in every if wanted or not hasattr(test, "long")]


def runs_here():
    """Tries the daemon once: it is built on another machine."""
    tried = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        sys.exit(f"{BINARY} does not run here: {tried.stderr.strip()}\nLinked statically it does: LAB_TARGET=x86_64-unknown-linux-musl (tests/lab/prepare)")


def main(wanted):
    runs_here()
    every = list(tests())
    selected = select(every, wanted)
    if not selected:
        sys.exit(f"no test's name contains {' or '.join(wanted)}")
    if wanted == ["--kernels"]:
        # Only here: the page needs the servers and clients of the matrix.
        from kernels import machine

        print("kernels: " + json.dumps(machine([name for name, _ in every])), flush=True)
    earlier, bad = died(selected)
    prepare_kernel()
    bad += [name for name, test in selected if name not in earlier and not run(name, test)]
    # Once more at the end, where who reads only the end sees them.
    if bad:
        print(f"lab: failed: {', '.join(bad)}")
    print(f"lab: {len(selected) - len(bad)} passed, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
