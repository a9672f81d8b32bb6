"""How many packets wait for the daemon, for each thing that a client does: more of them, and steering costs more."""

from bench import SOURCES, measure
from peers import ours
from topology import Topology

# Client's half; in NAT the server's too, where its answer matters: the greeting, the 227 and 229, and each end's FIN. (Before replies
# were told apart: log-in 7.5, PASV, EPSV and PORT 5, NOOP 2.)
NAT = {"log-in": 5.5, "PASV": 3, "EPSV": 3, "PORT": 2, "NOOP": 1}
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
