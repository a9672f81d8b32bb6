"""Prints benches/RESULTS.md from the figures in benches/results."""

import json
from pathlib import Path
from statistics import median

from bigtables import big_numbers

HEAD = """\
# What steering costs

Measured by `tests/run bench`, which also writes this page: every director below in turn, in one boot of the lab's machine, {rounds}
rounds of {seconds:g} s for each figure; the medians are here, all rounds in `benches/results`. {clients}
Everything (clients, router, director, three servers) shares the machine's processors, so a ratio means more than a rate: who costs less leaves more to the others.
A router and the recipe do less: the one balances nothing, the other knows a client's address only, and sends all who share one to the same
server. "Our rules" are ours without the daemon: nothing is queued, so what is missing there to the peers is the rules', and what is
missing between the two is the price of reading commands in user space. nginx and our rules alone have nobody called (PORT). mod_proxy
has a process for each session: under emulation most of them do not come up in a round.
"""
CLIENTS = "32 sessions at once, of an address each; files of 1 KiB; in bulk 8 sessions, 10 MiB."
# Whom each of ours is compared with.
RIVALS = {
    "ours, NAT": ("router only", "ip_vs_ftp, NAT", "nginx stream", "our rules, NAT"),
    "ours, DR": ("router only", "recipe, DR", "our rules, DR"),
}


RESULTS = Path("/repo/benches/results")


def main():
    newest, *older = read("[0-9]*.json")
    print(HEAD.format(rounds=newest["rounds"], seconds=newest["seconds"], clients=CLIENTS))
    one_run(newest)
    for earlier in older:
        one_run(earlier)
    # Of many connections only the newest.
    for run in read("numbers-*.json")[:1]:
        big_numbers(run)


def read(names):
    """The figures of each day, the newest first."""
    return [json.loads(path.read_text()) for path in sorted(RESULTS.glob(names), reverse=True)]


def one_run(run):
    versions = "; ".join(f"{name} {version}" for name, version in run["versions"].items())
    directors = run["directors"]
    works = list(directors["router only"])
    print(f"## {run['date']}\n")
    if "note" in run:
        print(run["note"] + "\n")
    print(f"{versions}.\n")
    table("a second (in bulk: MB)", works, directors, rate)
    for ours, rivals in RIVALS.items():
        print(f"{ours}, as a multiple of\n")
        # Earlier runs did not measure all of them.
        ratios = {rival: {work: [ours_to(directors, ours, rival, work)] for work in works} for rival in rivals if rival in directors}
        table("", works, ratios, lambda work, rounds: "–" if rounds[0] is None else f"{rounds[0]:.2f}")
    table("processor time each, ms (all hosts)", works, directors, lambda _, rounds: f"{middle(rounds, 'cpu_ms'):.2f}")
    table("switches between processes each", works, directors, lambda _, rounds: f"{middle(rounds, 'switches'):.1f}")
    own = {name: rounds for name, rounds in directors.items() if name.startswith("ours")}
    table("packets queued each", works, own, lambda _, rounds: f"{middle(rounds, 'queued'):.1f}")
    # Earlier runs did not measure it.
    if all("thread_ms" in one for works_of in own.values() for rounds in works_of.values() for one in rounds):
        table("packet thread, ms each (share of one processor)", works, own, thread)
    bad(directors)


def table(title, works, rows, cell):
    print(f"| {title} | " + " | ".join(works) + " |\n|---|" + "---|" * len(works))
    for name, found in rows.items():
        cells = (cell(work, found[work]) if found.get(work) else "–" for work in works)
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def rate(work, rounds):
    return f"{middle(rounds, 'megabytes'):.0f}" if work == "bulk" else f"{middle(rounds, 'rate'):,.0f}"


def thread(_, rounds):
    return f"{middle(rounds, 'thread_ms'):.2f} ({middle(rounds, 'thread_share') * 100:.0f} %)"


def middle(rounds, what):
    return median(one[what] for one in rounds)


def ours_to(directors, ours, rival, work):
    theirs = directors[rival].get(work)
    return middle(directors[ours][work], "rate") / middle(theirs, "rate") if theirs and middle(theirs, "rate") else None


def bad(directors):
    lines = [
        f"{name}, {work}: {sum(one['wrong'] for one in rounds)} from the wrong server, {sum(one['bad'] for one in rounds)} without success"
        for name, works in directors.items()
        for work, rounds in works.items()
        if sum(one["bad"] for one in rounds)
    ]
    print("Not right: " + ("; ".join(lines) or "none") + ".\n")


if __name__ == "__main__":
    main()
