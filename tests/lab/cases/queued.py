"""How many packets wait for the daemon, for each thing that a client does: more of them, and steering costs more."""

from bench import SOURCES, measure
from peers import ours
from topology import Topology

# Client's half; in NAT the server's too: a greeting, a reply to each command, the two that a transfer has, and each end's FIN.
NAT = {"log-in": 7.5, "PASV": 5, "EPSV": 5, "PORT": 5, "NOOP": 2}
DR = {"log-in": 3, "PASV": 2, "EPSV": 2, "PORT": 2, "NOOP": 1}


def test_nat_packets_that_wait():
    packets_that_wait("nat", NAT)


def test_dr_packets_that_wait():
    packets_that_wait("dr", DR)


def packets_that_wait(forwarding, most):
    with Topology(forwarding, kinds=("cheap",)) as net:
        net.client1.ip(*(f"address add {source}/24 dev eth0" for source in SOURCES))
        target = ours(net)
        for work, number in most.items():
            # Few, so that the log-ins of those that transfer hardly count.
            found = measure(net, target, work, seconds=1, sessions=2)
            print(f"# {forwarding}, {work}: {found['queued']} packets wait for the daemon", flush=True)
            assert found["bad"] == 0, found
            assert number - 1 < found["queued"] < number + 1, f"{work}: {found}"
