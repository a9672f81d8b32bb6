"""A few cells of the matrix of servers, clients and roads, such that any two of their values meet: `tests/run matrix` tries all."""

from itertools import combinations

from ftpservers import KINDS
from grid import CLIENTS, FORWARDING, MODES, Cell, Grid, why_not


def possible():
    cells = (
        Cell(server, client, forwarding, family, mode, tls)
        for forwarding in FORWARDING
        for client in CLIENTS
        for server in KINDS
        for family in (4, 6)
        for mode in MODES
        for tls in (False, True)
    )
    # A server that says the VIP in its 227 under TLS says it in the clear too, and nothing is left to rewrite.
    return [cell for cell in cells if why_not(cell) is None and (cell.forwarding, cell.mode, cell.tls) != ("nat", "PASV", True)]


def pairs(cell):
    values = [(name, getattr(cell, name)) for name in ("server", "client", "forwarding", "family", "mode", "tls")]
    return set(combinations(values, 2))


def pairwise():
    """Every pair of values that can meet, in few cells: each time the one with most pairs that are new.

    And every server's words around a 227 that has to be rewritten, for a client that insists on the address; and the one server
    that calls from any port, which has to be counted all the same.
    """
    cells = possible()
    chosen = [Cell(server, "tnftp", "nat", 4, "PASV", tls=False) for server in KINDS]
    chosen.append(Cell("pyftpdlib", "ncftp", "nat", 4, "PORT", tls=False))
    left = set().union(*map(pairs, cells)) - set().union(*map(pairs, chosen))
    while left:
        best = max(cells, key=lambda cell: len(pairs(cell) & left))
        chosen.append(best)
        left -= pairs(best)
    return chosen


def test_matrix_nat():
    subset("nat")


def test_matrix_dr():
    subset("dr")


def test_matrix_tun():
    subset("tun")


def subset(forwarding):
    tried = {}
    with Grid(forwarding, tls=True, advertise=None, report=lambda cell, wrong, _: tried.update({cell: wrong})) as grid:
        cells = [cell for cell in pairwise() if cell.forwarding == forwarding]
        grid.try_all(cells)
        print(f"matrix {forwarding}: {sum(not tried.get(cell, 'not tried') for cell in cells)} of {len(cells)} cells right", flush=True)
        assert not grid.wrong, "\n".join(grid.wrong)
        assert set(tried) == set(cells), tried
        grid.check_counters()
