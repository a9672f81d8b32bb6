"""What a plain run of the lab leaves out."""


def long(test):
    """Marks a test that repeats on another road what a shorter one shows, or takes minutes: `tests/run lab --all` runs it."""
    test.long = True
    return test
