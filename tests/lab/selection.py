"""What a plain run of the lab leaves out, and what runs without another machine beside it."""

# Files whose tests measure, or depend on timers of seconds.
ALONE = {"ecmp", "floods", "idle", "pair", "queued", "restart", "upgrade"}


def long(test):
    """Marks a test that repeats on another road what a shorter one shows, or takes minutes: `tests/run lab --all` runs it."""
    test.long = True
    return test
