"""`ftpdirector doctor` finds what breaks FTP on this director, and names the cure."""

import json
import re
import socket
import subprocess

from daemon import config_file, ftpdirector
from ftpload import load
from topology import VIP, Topology


def doctor(net, *arguments, file=None):
    """Runs it; returns its exit status and its findings by check."""
    done = ftpdirector(net.director, "doctor", "--json", "--config", file or config_file(net.config()), *arguments)
    assert done.returncode in (0, 1), f"{done.returncode}\n{done.stdout}{done.stderr}"
    findings = {}
    for line in done.stdout.splitlines():
        finding = json.loads(line)
        findings.setdefault(finding["check"], []).append(finding)
    return done.returncode, findings


def fatal(findings):
    return {check for check, found in findings.items() if any(finding["severity"] == "fatal" for finding in found)}


def only(net, check):
    """The one fatal finding, of this check."""
    status, findings = doctor(net)
    assert status == 1 and fatal(findings) == {check}, f"{status} {fatal(findings)}\n{findings}"
    (found,) = [finding for finding in findings[check] if finding["severity"] == "fatal"]
    assert all(found[key] for key in ("what", "evidence", "consequence", "cure")), found
    return found


def cure(net, finding):
    """Does what the finding says, to the letter, and looks again."""
    script = "\n".join(line for line in finding["cure"].splitlines() if not line.startswith("("))
    net.director.run(["sh", "-ec", script])
    status, findings = doctor(net)
    assert status == 0, f"after {script}: {fatal(findings)}\n{findings}"


def test_a_clean_director_has_nothing_fatal():
    for forwarding in ("nat", "dr"):
        with Topology(forwarding) as net:
            status, findings = doctor(net)
            assert status == 0 and not fatal(findings), findings
            assert {finding["severity"] for finding in findings["firewall"]} == {"good"}, findings
            assert net.director.run(["nft", "list", "ruleset"]).stdout == "", "it changed the ruleset"
            net.start_daemon().wait_ready()
            status, findings = doctor(net)
            assert status == 0 and not fatal(findings), findings


def test_forwarding_off():
    with Topology("nat") as net:
        net.director.sysctl(ipv4__ip_forward=0)
        # The kernel switches redirects on with it.
        net.director.sysctl(ipv4__conf__all__send_redirects=0, ipv4__conf__eth0__send_redirects=0)
        found = only(net, "ip-forward")
        assert "net.ipv4.ip_forward = 0" in found["evidence"], found
        net.director.sysctl(ipv4__ip_forward=1, ipv4__conf__all__send_redirects=0, ipv4__conf__eth0__send_redirects=0)
        assert doctor(net)[0] == 0


def test_redirects_on_one_interface():
    with Topology("nat") as net:
        net.director.sysctl(ipv4__conf__eth0__send_redirects=1)
        found = only(net, "redirects")
        assert "net.ipv4.conf.eth0.send_redirects = 1" in found["evidence"], found
        cure(net, found)


def test_redirects_do_not_matter_in_dr():
    with Topology("dr") as net:
        net.director.sysctl(ipv4__conf__all__send_redirects=1)
        assert doctor(net)[0] == 0


def test_helper_on_our_port():
    with Topology("nat") as net:
        subprocess.run(["modprobe", "ip_vs_ftp"], check=True)
        try:
            # The helper is bound to its ports in a namespace with IPVS.
            net.ipvs(f"-A -t {VIP}:2121 -s rr")
            found = only(net, "ip-vs-ftp")
            assert "modprobe -r ip_vs_ftp" in found["cure"], found
        finally:
            subprocess.run(["modprobe", "-r", "ip_vs_ftp"], check=True)
        assert doctor(net)[0] == 0


def test_input_drop_and_its_cure():
    """The rules that the finding gives are enough, and they work: a transfer in every mode."""
    with Topology("dr") as net:
        net.director.nft("""
            table inet filter {
              chain input { type filter hook input priority 0; policy drop
                ct state invalid drop
                iifname "lo" accept
                ip protocol icmp accept
                meta l4proto ipv6-icmp accept
                tcp dport 22 accept
              }
            }""")
        status, findings = doctor(net)
        assert status == 1 and fatal(findings) == {"firewall"}, findings
        for found in findings["firewall"]:
            script = "\n".join(line for line in found["cure"].splitlines() if line.startswith("nft "))
            net.director.run(["sh", "-ec", script])
        status, findings = doctor(net)
        assert status == 0, findings
        net.start_daemon().wait_ready()
        report = load(net.client1, net.vip, sessions=3, rounds=1)
        assert report.right == report.total == 12, report


def test_invalid_drop_in_nat():
    with Topology("nat") as net:
        net.director.nft("""
            table inet filter {
              chain forward { type filter hook forward priority 0; policy accept
                ct state invalid counter drop
              }
            }""")
        found = only(net, "firewall")
        assert "ct state invalid" in found["evidence"], found
        cure(net, found)


def test_missing_vip():
    with Topology("nat") as net:
        net.director.ip(f"address delete {VIP}/32 dev eth0")
        cure(net, only(net, "vip"))


def test_foreign_service():
    with Topology("nat") as net:
        net.plain_ipvs()
        cure(net, only(net, "services"))


def test_a_program_in_a_passive_range():
    """Nobody is told of what listens elsewhere: at another address, or outside of the range."""
    with Topology("nat", servers=2) as net:
        server = net.servers[1]
        low, high = server.passive_ports
        with net.director.enter():
            sockets = [socket.create_server(at) for at in ((VIP, low), ("127.0.0.1", low), (VIP, high + 1))]
        status, findings = doctor(net)
        (found,) = findings["occupied"]
        assert status == 0 and found["severity"] == "warning", findings
        assert f"{VIP}:{low}; {server.name}: passive_ports {low}-{high}" in found["evidence"], found
        command = found["cure"].splitlines()[0]
        assert f"{VIP}:{low}" in net.director.run(["sh", "-c", command]).stdout, command
        for each in sockets:
            each.close()
        assert doctor(net)[1]["occupied"][0]["severity"] == "good"


def test_dr_server_behind_a_router():
    with Topology("dr") as net:
        server = net.servers[0]
        net.director.ip(f"route add {server.address}/32 via 10.0.0.1")
        found = only(net, "routes")
        assert "via 10.0.0.1" in found["evidence"], found


def test_without_privileges_it_says_so():
    with Topology("nat", servers=1) as net:
        without = ("setpriv", "--inh-caps=-net_admin", "--bounding-set=-net_admin")
        path = config_file(net.config())
        done = ftpdirector(net.director, "doctor", "--config", path, prefix=without)
        assert done.returncode == 0 and "could not examine: nft list ruleset" in done.stdout, done.stdout + done.stderr


def test_nothing_is_good_that_an_ordinary_user_cannot_read():
    """As nobody, beside a running daemon: what could not be read is unknown, and named in the list of what was not."""
    with Topology("nat", servers=1) as net:
        net.start_daemon().wait_ready()
        path = config_file(net.config())
        path.chmod(0o644)
        nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all")
        done = ftpdirector(net.director, "doctor", "--json", "--config", path, prefix=nobody)
        assert done.returncode == 0, done.stdout + done.stderr
        findings = [json.loads(line) for line in done.stdout.splitlines()]
        severities = {finding["check"]: finding["severity"] for finding in findings}
        needs_root = ("services", "other-director", "occupied", "sync", "firewall", "firewall-programs", "notrack", "ct-helper", "marks")
        good = [check for check in needs_root if severities[check] == "good"]
        assert not good, f"called good, and not read: {good}\n{done.stdout}"
        unread = {finding["what"] for finding in findings if finding["check"] == "unseen"}
        assert {"could not examine: nft list ruleset", "could not examine: ipvsadm -L -n"} <= unread, unread
        # What everyone can read is examined all the same.
        assert severities["versions"] == severities["vip"] == severities["routes"] == "good", done.stdout
        # As root nothing is left to read.
        _, findings = doctor(net, file=path)
        unknown = [check for check, found in findings.items() if found[0]["severity"] == "unknown"]
        assert not unknown and findings["other-director"][0]["severity"] == "good", f"{unknown}\n{findings}"


def test_another_director_in_this_namespace():
    """A file with another admin socket: the daemon that runs is named, and nobody answers."""
    with Topology("nat", servers=1) as net:
        daemon = net.start_daemon().wait_ready()
        assert doctor(net, file=daemon.config)[1]["other-director"][0]["severity"] == "good"
        other = config_file(daemon.config.read_text() + "\nadmin: {socket: /run/ftpdirector-other.sock}\n")
        (found,) = doctor(net, file=other)[1]["other-director"]
        assert found["severity"] == "warning" and str(daemon.config) in found["evidence"], found


def test_dockers_and_firewallds_rules_are_named():
    """The cure is in the words of the program whose rules they are: it undoes any other."""
    with Topology("nat") as net:
        net.director.nft("""
            table ip filter {
              chain DOCKER-USER { }
              chain DOCKER { }
              chain FORWARD { type filter hook forward priority 0; policy drop
                jump DOCKER-USER
              }
            }""")
        found = only(net, "firewall")
        assert found["what"].startswith("a rule of Docker drops") and "-I DOCKER-USER -p tcp" in found["cure"], found
        assert doctor(net)[1]["firewall-programs"][0]["severity"] == "note"
        net.director.run(["nft", "delete", "table", "ip", "filter"])
        net.director.nft("""
            table inet firewalld {
              chain filter_INPUT { type filter hook input priority 10; policy accept
                ct state invalid drop
                reject with icmpx admin-prohibited
              }
            }""")
        status, findings = doctor(net)
        assert status == 1 and fatal(findings) == {"firewall"}, findings
        cures = [found["cure"] for found in findings["firewall"]]
        assert all("firewall-cmd --permanent --add-rich-rule=" in cure for cure in cures), cures


def test_directors_that_do_not_hear_of_each_other():
    """A file for several directors, and neither daemon of the kernel; then one, with the kernel's periods."""
    with Topology("dr", servers=2) as net:
        for number, server in enumerate(net.servers, 1):
            server.active_port = 2020 + number
        text = net.config(["unexpected_data: pass"])
        file = config_file(re.sub(r"name: rs(\d)", r"name: rs\1, mark: \1", text))
        _, findings = doctor(net, file=file)
        (found,) = findings["sync"]
        assert found["severity"] == "warning", found
        net.director.run(["sh", "-ec", found["cure"].split("\n(")[0].replace("eth1", "eth0")])
        _, findings = doctor(net, file=file)
        assert findings["sync"][0]["severity"] == "good", findings["sync"]
        (found,) = findings["sync-period"]
        assert found["severity"] == "warning", found
        cure(net, found)
        _, findings = doctor(net, file=file)
        assert findings["sync-period"][0]["severity"] == "good", findings["sync-period"]
        # The same daemons, and a file that leaves the marks to each director.
        assert findings["sync-marks"][0]["severity"] == "good", findings["sync-marks"]
        _, findings = doctor(net, file=config_file(text))
        assert findings["sync-marks"][0]["severity"] == "warning", findings["sync-marks"]
