"""We own what we made and touch nothing else."""

from daemon import ftpdirector
from ftpload import load
from refusals import kernel_without
from selection import long
from topology import Topology, VIP

OPERATORS_RULES = """
table inet operator {
  counter seen {}
  set friends { type ipv4_addr; elements = { 10.1.0.11, 10.1.0.12 } }
  chain input { type filter hook input priority 0; policy accept
    ip saddr @friends tcp dport 2222 counter name seen accept
  }
}
"""


def kernel_state(director):
    """What the operator sees, without the counters that his own traffic moves."""
    return director.run(["nft", "list", "ruleset"]).stdout, director.run(["ipvsadm", "-Sn"]).stdout


def flush_leaves_the_kernel_as_it_was(forwarding, prepare, later=""):
    """`later` is added to the file before it is flushed with."""
    with Topology(forwarding) as net:
        prepare(net)
        before = kernel_state(net.director)
        daemon = net.start_daemon().wait_ready()
        assert kernel_state(net.director) != before
        report = load(net.client1, net.vip, sessions=6, rounds=1)
        assert report.right == report.total == 24, report
        assert daemon.term() == 0, daemon.log()
        daemon.config.write_text(daemon.config.read_text() + later)
        done = ftpdirector(net.director, "flush", "--config", daemon.config)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("removed: ") and "table inet ftpdirector" in done.stdout, done.stdout
        assert kernel_state(net.director) == before
        again = ftpdirector(net.director, "flush", daemon.config)
        assert again.stdout == "nothing to remove: the kernel has no rows of ftpdirector here\n", again


def test_nat_flush_empties_the_kernel():
    flush_leaves_the_kernel_as_it_was("nat", lambda net: None)


def test_dr_flush_spares_the_operators_rows():
    def operator(net):
        net.director.nft(OPERATORS_RULES)
        net.ipvs("-A -t 10.0.0.101:80 -s wlc", "-a -t 10.0.0.101:80 -r 10.0.0.11:80 -g")
        net.ipvs("-A -f 7 -s rr -p 60", "-a -f 7 -r 10.0.0.12:0 -g")

    flush_leaves_the_kernel_as_it_was("dr", operator)


def test_foreign_service_is_refused():
    """Somebody else's VIP:21 is neither taken over nor changed; the message has the cure."""
    with Topology("nat") as net:
        net.plain_ipvs(scheduler="wlc")
        before = kernel_state(net.director)
        daemon = net.start_daemon()
        status = daemon.process.wait(timeout=30)
        assert status not in (0, 70), f"{status}\n{daemon.log()}"
        assert f"ipvsadm -D -t {VIP}:21" in daemon.log(), daemon.log()
        assert kernel_state(net.director) == before


def test_flush_after_another_fwmark_base():
    """The table says which marks it was written with, whatever the file says now."""
    other_base = "kernel: {fwmark_base: 0x1f700000}\n"
    flush_leaves_the_kernel_as_it_was("dr", lambda net: None, other_base)


@long
def test_flush_without_the_modules_of_run():
    """What is not loaded has no rows; the rest is taken away all the same."""
    with Topology("nat") as net:
        daemon = net.start_daemon().wait_ready()
        daemon.kill9()
        net.director.run(["ipvsadm", "-C"])
        with kernel_without("ip_vs"), kernel_without("nfnetlink_queue"):
            done = ftpdirector(net.director, "flush", "--config", daemon.config)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert net.director.run(["nft", "list", "ruleset"]).stdout == ""
