"""A real server of pyftpdlib: pyftpd.py CLASS NAME ROOT LOW HIGH ADVERTISE CERTIFICATE (the last two may be empty)"""

import logging
import sys
import warnings

from pyftpdlib import handlers, servers
from pyftpdlib.authorizers import DummyAuthorizer


def main(kind, name, root, low, high, advertise, certificate):
    # Not what it does; what goes wrong.
    logging.basicConfig(level=logging.WARNING)
    handler = handlers.TLS_FTPHandler if certificate else handlers.FTPHandler
    handler.certfile = certificate or None
    handler.banner = f"{name} ready"
    handler.masquerade_address = advertise or None
    handler.passive_ports = range(int(low), int(high) + 1)
    handler.authorizer = DummyAuthorizer()
    # That anonymous users may write.
    warnings.simplefilter("ignore")
    handler.authorizer.add_anonymous(root, perm="elrw")
    getattr(servers, kind)(("::", 21), handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
