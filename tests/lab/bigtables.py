"""The section of benches/RESULTS.md about many control connections and large sets, from the figures of bignumbers.py."""

INTRODUCTION = """\
## Big numbers, {date}

Measured by `tests/run bench numbers` in one boot of the lab's machine, with 8 GiB and `ip_vs conn_tab_bits=17`. {versions}.
A session is a control connection that has said USER and then holds its tongue; they begin one after the other, from 32 addresses. Both ends
of each are in the same machine. A director of a pair that takes over is not measured; a VIP that leaves this director and comes back is,
which goes the same way, with sessions that are known besides.
"""
WHAT_NOOP_IS = """\
One more client says NOOP again and again: the median of its answers, the 99th percentile and the longest, ms. A thing that goes through all sessions where
packets are read would show in the longest. Below each the bucket of `ftpdirector_verdict_seconds` that its slowest verdict fell into.
"""
SETS = """\
### Sets

The daemon's own sets, filled from outside. Transfers are those of eight sessions; an answer to PORT comes when its row has been written, and
the reply to PASV writes its own.
"""
DURING = {"nothing": "nothing else", "/metrics": "`/metrics`", "sessions": "`sessions --limit 100000`", "reload": "reloads"}


def big_numbers(run):
    versions = "; ".join(f"{name} {version}" for name, version in run.get("versions", {}).items() if name not in ("nginx", "nft"))
    print(INTRODUCTION.format(date=run["date"], versions=versions or "Versions unknown"))
    if "note" in run:
        print(run["note"] + "\n")
    stages = sorted(run["sessions"], key=lambda stage: (stage["forwarding"] != "nat", stage["wanted"]))
    if stages:
        titles = [f"{stage['forwarding'].upper()}, {stage['wanted']:,}" for stage in stages]
        table("control connections", titles, [(name, [cell(stage) for stage in stages]) for name, cell in ROWS])
    closely = [stage for stage in stages if stage.get("noop")]
    if closely:
        print(WHAT_NOOP_IS)
        titles = [f"{stage['forwarding'].upper()}, {stage['wanted']:,}" for stage in closely]
        rows = []
        for what, words in DURING.items():
            rows.append((f"NOOP during {words}", [noop(stage["noop"].get(what)) for stage in closely]))
            rows.append(("… slowest verdict, s", [slowest(stage["noop"].get(what)) for stage in closely]))
        table("", titles, rows)
    if run["sets"]:
        print(SETS)
        titles = [f"`{one['set']}` ({one['work']})" for one in run["sets"]]
        table("set", titles, [(name, [cell(one) for one in run["sets"]]) for name, cell in SET_ROWS])
    if start := run.get("start"):
        print(a_start(start))
    print("Not measured: " + ("; ".join(run["left"]) or "nothing was left out") + ".\n")


def table(title, columns, rows):
    print(f"| {title} | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for name, cells in rows:
        print(f"| {name} | " + " | ".join(cells) + " |")
    print()


def number(key, scale=1.0, digits=0):
    """A cell: this figure times `scale`, or a dash where there is none."""

    def cell(figures):
        value = figures.get(key)
        return "–" if value is None else f"{value * scale:,.{digits}f}"

    return cell


def begun(stage):
    return f"{stage['more'] / stage['seconds']:,.0f}" if stage.get("seconds") else "–"


def scraped(stage):
    if "scrape" not in stage:
        return "–"
    return f"{stage['scrape'] * 1e3:,.0f} ({stage.get('scrape_bytes', 0) / 1024:,.0f} KiB)"


def again(stage):
    if "answered" not in stage:
        return "–"
    return f"{stage['known_again']:,} in {stage['answered_seconds']:,.0f} s" if "known_again" in stage else f"{stage['answered']:,} answers"


# What is told of each stage, and how.
ROWS = [
    ("held", number("held")),
    ("… begun a second", begun),
    ("followed by the daemon", number("known")),
    ("the daemon's memory (VmRSS), MiB", number("rss_kib", 1 / 1024, 1)),
    ("… at most so far (VmHWM)", number("hwm_kib", 1 / 1024, 1)),
    ("… a session, bytes", number("session_bytes")),
    ("the machine's memory a session, both ends included, KiB", number("guest_kib", 1, 1)),
    ("reading `/proc/net/ip_vs_conn`, ms", number("list", 1e3)),
    ("the keepalive's two looks after a start, processor time, s", number("looks", 1, 2)),
    ("`/metrics`, ms (its size)", scraped),
    ("`status --json`, ms", number("status", 1e3)),
    ("`sessions --limit 10`, ms", number("some", 1e3)),
    ("`sessions --limit 100000 --json`, ms", number("all", 1e3)),
    ("a reload that changes a weight, ms", number("reload", 1e3)),
    ("the VIP comes: pinholes open after, s", number("vip", 1, 2)),
    ("killed (`kill -9`) and started: ready after, s", number("ready", 1, 2)),
    ("… the first transfer of an old session after, s", number("first", 1, 2)),
    ("… transfers of old sessions that landed", lambda stage: stage.get("landed", "–")),
    ("… followed again when each has said NOOP", again),
    ("… the daemon's memory then, MiB", number("rss_again_kib", 1 / 1024, 1)),
]


def noop(found):
    return f"{found['median']:,.1f} / {found['p99']:,.1f} / {found['max']:,.1f}" if found else "–"


def slowest(found):
    if not found or found.get("slowest") is None:
        return "–"
    return "> 2" if found["slowest"] == "more" else f"≤ {found['slowest']:g}"


def filled(one):
    return f"{one['fill']['added']:,} in {one['fill']['seconds']:.1f} s" if "fill" in one else "–"


def full(one):
    if "limit" not in one or "fill" not in one:
        return "–"
    return f"{one['fill']['added'] + one['limit']['added']:,}, then {one['limit']['refused'] or 'nothing was refused'}"


def rate(key):
    def cell(one):
        found = one.get(key)
        return f"{found['rate']:,.0f} ({found['wrong']} wrong, {found['failed'] + found['late']} failed)" if found else "–"

    return cell


def word(key):
    def cell(one):
        found = one.get(key)
        return f"{found['median']:,.1f} / {found['p99']:,.1f}" if found else "–"

    return cell


def counted(one):
    return f"{one['refused']:,} (`{one['counter']}`)" if "refused" in one else "–"


def goes_on(one):
    found = one.get("word_full")
    return "–" if not found else "yes" if found["goes_on"] else "no"


SET_ROWS = [
    ("filled", filled),
    ("memory of an element, bytes", number("element_bytes")),
    ("transfers a second, empty", rate("empty")),
    ("… at a million", rate("many")),
    ("… full", rate("full")),
    ("… when some rows have ended again", rate("after")),
    ("the answer, ms (median / p99), empty", word("word_empty")),
    ("… at a million", word("word_many")),
    ("… full", word("word_full")),
    ("`/metrics` at a million, ms", number("scrape", 1e3)),
    ("no more fit at", full),
    ("refused then, and counted", counted),
    ("… the session goes on", goes_on),
    ("… NOOP of another client, ms (median / p99 / longest)", lambda one: noop(one.get("noop_full"))),
    ("… transfers a second that need the other set", rate("others")),
]


def a_start(start):
    if "seconds" not in start:
        return f"A start of the daemon with {start['rows']:,} rows in one of them was not over within a minute.\n"
    memory = f", and it has {start['rss_kib'] / 1024:,.0f} MiB (at most {start['hwm_kib'] / 1024:,.0f})" if "rss_kib" in start else ""
    return f"A start of the daemon with {start['rows']:,} rows in one of them (the kernel needs four times as long to list twice as many): ready after {start['seconds']:.1f} s{memory}.\n"
