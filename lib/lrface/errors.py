"""The exceptions whose messages are written for users."""


class LrfaceError(Exception):
    """One sentence: what is wrong, where, and what to do. The command line shows no traceback."""


class UsageError(LrfaceError):
    """The request itself is wrong: unknown name, wrong type, out of range. Nothing was started."""


class Diverged(LrfaceError):
    """A training's loss is not finite. Its last good checkpoint stays, other runs go on."""
