"""A real server of pyftpdlib: pyftpd.py NAME ROOT LOW HIGH"""

import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer


def main(name, root, low, high):
    # Not what it does; what goes wrong.
    logging.basicConfig(level=logging.WARNING)
    handler = FTPHandler
    handler.banner = f"{name} ready"
    handler.passive_ports = range(int(low), int(high) + 1)
    handler.authorizer = DummyAuthorizer()
    handler.authorizer.add_anonymous(root)
    FTPServer(("::", 21), handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
