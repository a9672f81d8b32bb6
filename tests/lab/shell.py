"""A shell on the director, with the cluster of examples/nat.yaml or dr.yaml running. In the guest: shell.py nat|dr"""

import os
import subprocess
import sys
from pathlib import Path

from topology import Topology

HINTS = """
You are on the director of examples/{forwarding}.yaml; the virtual IP is {vip}.

  ipvsadm -Ln                                                  the virtual services
  nft list table inet ftpdirector                              our table
  curl -s 127.0.0.1:9786/metrics                               our metrics
  ip netns exec client1 curl -s ftp://{vip}/server.txt  a client (client1, client2)
  ip netns exec rs1 ss -tn                                     a real server (rs1, rs2, rs3)
  tail -f {log}                                   the daemon's log

`exit` ends the lab.
"""


def main(forwarding):
    with Topology(forwarding) as net:
        daemon = net.start_daemon(Path(f"/repo/examples/{forwarding}.yaml").read_text()).wait_ready()
        print(HINTS.format(forwarding=forwarding, vip=net.vip, log=daemon.log_path))
        with net.director.enter():
            subprocess.run(["bash", "--norc", "-i"], env=os.environ | {"PS1": "director# "})


if __name__ == "__main__":
    main(sys.argv[1])
