"""When it cannot work it says why, with an exit status that a script can tell apart."""

import contextlib
import json
import subprocess
from pathlib import Path

from daemon import config_file, ftpdirector
from hosts import poll
from topology import Topology

BAD = """\
clusters:
  - name: lab
    vips: [10.0.0.300]
    forwarding: gnat
    colour: red
    real_servers:
      - {address: 10.0.0.11, passive_ports: 31000-30000}
"""


def test_bad_configuration_is_78():
    """Every problem, each with line, column and key path; nothing reaches the kernel."""
    with Topology(servers=1) as net:
        path = config_file(BAD)
        for command in ("check", "run"):
            done = ftpdirector(net.director, command, "--config", path)
            said = done.stdout + done.stderr
            assert done.returncode == 78, f"{command}: {done.returncode}\n{said}"
            for key in ("vips[0]", "forwarding", "colour", "passive_ports"):
                assert f"clusters[0].{key}" in said or f"clusters[0].real_servers[0].{key}" in said, f"{key}:\n{said}"
            assert f"{path}:3:" in said, said
        assert net.director.run(["nft", "list", "ruleset"]).stdout == ""


def test_good_configuration_passes_the_check():
    with Topology() as net:
        done = ftpdirector(net.director, "check", "--config", config_file(net.config()))
        assert done.returncode == 0, done.stdout + done.stderr


def test_without_capability_is_77():
    with Topology(servers=1) as net:
        without = ("setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin")
        done = ftpdirector(net.director, "run", "--config", config_file(net.config()), prefix=without)
        assert done.returncode == 77, f"{done.returncode}\n{done.stderr}"
        assert "CAP_NET_ADMIN" in done.stderr, done.stderr


def test_kernel_without_ipvs_is_69():
    with Topology(servers=1) as net, kernel_without("ip_vs"):
        done = ftpdirector(net.director, "run", "--config", config_file(net.config()))
        assert done.returncode == 69, f"{done.returncode}\n{done.stderr}"
        assert "ip_vs" in done.stderr, done.stderr


def test_kernel_without_queue_is_69():
    with Topology(servers=1) as net, kernel_without("nfnetlink_queue"):
        done = ftpdirector(net.director, "run", "--config", config_file(net.config()))
        assert done.returncode == 69, f"{done.returncode}\n{done.stderr}"
        assert "nfnetlink_queue" in done.stderr, done.stderr


def test_a_part_of_the_rules_that_the_kernel_lacks_is_named():
    """Whatever the kernel's version: by `run`, which changes nothing, and by the doctor."""
    with Topology(servers=1) as net, kernel_without("nft_queue"):
        path = config_file(net.config())
        done = ftpdirector(net.director, "run", "--config", path)
        assert done.returncode == 69, f"{done.returncode}\n{done.stderr}"
        assert "NFQUEUE" in done.stderr and "nft_queue" in done.stderr, done.stderr
        assert done.stderr.count("does not take") == 1, done.stderr
        done = ftpdirector(net.director, "doctor", "--json", "--config", path)
        found = [json.loads(line) for line in done.stdout.splitlines()]
        lacking = [finding for finding in found if finding["check"] == "features"]
        assert [finding["severity"] for finding in lacking] == ["fatal"] and "nft_queue" in lacking[0]["cure"], lacking
        assert net.director.run(["nft", "list", "ruleset"]).stdout == ""


def test_helper_on_our_port_is_refused():
    """ip_vs_ftp would handle the same sessions a second time."""
    with Topology("nat") as net:
        subprocess.run(["modprobe", "ip_vs_ftp"], check=True)
        try:
            daemon = net.start_daemon()
            status = daemon.process.wait(timeout=30)
            assert status not in (0, 70), f"{status}\n{daemon.log()}"
            assert "modprobe -r ip_vs_ftp" in daemon.log(), daemon.log()
        finally:
            subprocess.run(["modprobe", "-r", "ip_vs_ftp"], check=True)


@contextlib.contextmanager
def kernel_without(module):
    """Unloads a module, with those that need it, and hides its file so that it does not come back."""
    file = Path(subprocess.run(["modinfo", "-n", module], check=True, capture_output=True, text=True).stdout.strip())
    hidden = file.with_name(f"hidden-{file.name}")
    # The namespaces of the test before are taken down in the background, and hold their modules until then.
    poll(lambda: unload(module), deadline=240, what=f"unloading {module}")
    file.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(file)


def unload(module):
    """True once it is gone."""
    users = {fields[0]: fields[3] for fields in map(str.split, Path("/proc/modules").read_text().splitlines())}
    if module not in users:
        return True
    for user in filter(None, users[module].strip("-").split(",")):
        unload(user)
    return subprocess.run(["modprobe", "-r", module], capture_output=True).returncode == 0
