"""Whether a user's own faces are enough for a study: asked before a kernel starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lrface import data
from lrface.errors import UsageError

OWN = ("folder:", "video:")
"""Sets that nobody has tried before; the published ones are known to be fit, or say so."""
TRAINED = {"01": (), "02": (), "03": (), "04": ("attributes",), "05": ()}
"""What a study needs of the set that it trains and tests on, beside people for both."""


def check(study: str, values: dict[str, Any]) -> None:
    """Raise one sentence if a study cannot be made of the user's own faces.

    ``lrface data check`` says the same: both ask :func:`lrface.data.cannot`.

    Parameters
    ----------
    study : str
        The notebook's name.
    values : dict
        Its parameters, checked.

    Raises
    ------
    UsageError
        Too few people, no labels, no native faces; ``trained_on`` is no set and no run.
    """
    if study[:2] not in TRAINED:
        return
    if taken := bool(values.get("trained_on")):
        from lrface.training import trained_on  # torch takes seconds to import

        trained_on.learnt_set(values["trained_on"])
    for name, needs, elsewhere in _asked(study[:2], values, taken):
        if not name.startswith(OWN):
            continue
        reasons = data.cannot(name, elsewhere)
        if what := next((need for need in needs if need in reasons), None):
            advice = ""
            if "trained_on" in values and not elsewhere and what not in data.cannot(name, True):
                advice = " (with -p trained_on=synthetic all its people are test people)"
            raise UsageError(f"{study}: {name} is not for {what}: {reasons[what]}{advice}")


def _asked(
    study: str, values: dict[str, Any], taken: bool
) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """A set, what is needed of it, and whether all its people are test people."""
    name = values["data"]
    if study == "03":
        if not taken:
            yield name, ("training",), False
        for one in values.get("tests") or ([name] if taken else []):
            yield one, ("verification",), taken or one != name
        return
    yield name, (*(() if taken else ("training",)), "testing", *TRAINED[study]), taken
    if study == "05":
        yield values.get("native") or name, ("native faces",), taken
