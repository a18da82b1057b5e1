"""The exceptions a user is meant to read."""


class LrfaceError(Exception):
    """One sentence: what is wrong, where, and what to do. The command line prints it without a
    traceback."""


class UsageError(LrfaceError):
    """The request itself is wrong (unknown name, wrong type, out of range): exit code 2, and no
    work was started."""


class Diverged(LrfaceError):
    """A training's loss is not finite. The run is given up, its last good checkpoint is left, and
    other runs may go on."""
