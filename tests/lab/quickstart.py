"""The guest's half of examples/quickstart: real clients, real servers, real IPVS, and where every transfer landed."""

import ftplib
import sys
import time
from pathlib import Path

from ftpload import MODES, Load, Session
from hosts import poll
from topology import Topology

TITLES = {"nat": "NAT (masquerading)", "dr": "DR (direct routing)"}
SHOWN = (
    "ftpdirector_control_connections_total",
    "ftpdirector_data_connections_total",
    "ftpdirector_replies_rewritten_total",
    "ftpdirector_unexpected_data_total",
)
LANDED = "ftpdirector_data_connections_total"


class Paint:
    """Colours, if the host's terminal wants them."""

    def __init__(self, enabled):
        self.enabled = enabled

    def __call__(self, code, text):
        return f"\033[{code}m{text}\033[0m" if self.enabled else text

    def title(self, text):
        return self("1", text)

    def faint(self, text):
        return self("2", text)

    def verdict(self, right):
        return self("32", "✓") if right else self("31", "✗")


def show(forwarding, paint):
    """Runs one cluster and prints what its clients got; true if all of it was right."""
    started = time.monotonic()
    print("\n" + paint.title(f"{TITLES[forwarding]}  ·  examples/{forwarding}.yaml"))
    without = plain(forwarding)
    with Topology(forwarding) as net:
        daemon = net.start_daemon(Path(f"/repo/examples/{forwarding}.yaml").read_text()).wait_ready()
        print(paint.faint(f"  {'client':<20} {'mode':<6} {'control on':<12} {'data on':<12} {'time':>7}"))
        rights = [row(client, mode, net.vip, paint) for client in net.clients for mode in MODES]
        # The kernel counts a landing when it happens; the daemon reads the count when it is asked.
        try:
            poll(lambda: daemon.metrics().sum(LANDED, result="landed") >= sum(rights))
        except AssertionError:
            rights.append(False)
        metrics = daemon.metrics()
        misdirected = metrics.sum(LANDED, result="misdirected")
        print(paint.faint("  what the director counted"))
        for (name, labels), value in sorted(metrics.items(), key=lambda sample: (sample[0][0], sorted(sample[0][1]))):
            if name in SHOWN:
                shown = ",".join(f'{key}="{label}"' for key, label in sorted(labels))
                print(f"    {name}{{{shown}}} {value:g}")
    right = all(rights) and misdirected == 0
    print(
        f"  {paint.verdict(right)} {sum(rights)} of {len(MODES) * 2} transfers from the right server, {misdirected:g} misdirected;"
        f" plain IPVS without us: {without} of 8" + paint.faint(f"  ({time.monotonic() - started:.1f} s)")
    )
    return right


def attempt(forwarding, paint):
    """`show`, with a failure of the cluster itself told in a line."""
    try:
        return show(forwarding, paint)
    except AssertionError as error:
        print(f"  {paint.verdict(False)} {error}")
        return False


def row(client, mode, vip, paint):
    """Does one transfer in a session of its own and prints it."""
    started = time.monotonic()
    control, data, problem = "–", "–", ""
    try:
        with client.enter():
            session = Session(vip)
            control = session.server
            data = session.fetch(session.announce(mode)).decode().strip()
            session.quit()
    except (OSError, EOFError, ftplib.Error) as error:
        problem = f"  {error}"
    right = control == data != "–"
    seconds = time.monotonic() - started
    print(
        f"  {client.name + ' ' + client.address:<20} {mode:<6} {control:<12} {data:<12} {seconds * 1000:>4.0f} ms  {paint.verdict(right)}{problem}",
        flush=True,
    )
    return right


def plain(forwarding):
    """The same transfers with `ipvsadm` services on port 21 alone: how many get through."""
    with Topology(forwarding) as net:
        net.plain_ipvs()
        loads = []
        for client in net.clients:
            with client.enter():
                loads.append(Load(net.vip, sessions=1, rounds=1, timeout=2))
        return sum(running.wait().right for running in loads)


def main(color):
    paint = Paint(color == "always")
    print(paint.faint(f"The lab is up: Linux {Path('/proc/sys/kernel/osrelease').read_text().strip()}, IPVS, vsftpd on three real servers"))
    # Both are shown, also when the first went wrong.
    return 0 if all([attempt(forwarding, paint) for forwarding in TITLES]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
