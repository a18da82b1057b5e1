"""Whether a user's own faces are enough for a study: asked before a kernel starts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lrface import data
from lrface.errors import UsageError

OWN = ("folder:", "video:")
"""Sets that nobody has tried before; the published ones are known to be fit, or say so."""
STUDIES = ("01", "02", "03", "04", "05")


class Unfit(UsageError):
    """A study cannot be made of a set; others may."""


def check(study: str, values: dict[str, Any]) -> None:
    """Raise one sentence if a study cannot be made of a set, or of the user's own faces.

    ``lrface data check`` says the same: both ask :func:`lrface.data.cannot`.

    Parameters
    ----------
    study : str
        The notebook's name.
    values : dict
        Its parameters, checked.

    Raises
    ------
    Unfit
        Too few people, no labels, no native faces; no scenes.
    UsageError
        ``trained_on`` is no set and no run.
    """
    scenes = ("synthetic", *data.SCENES)
    if study[:2] == "08" and values["data"] not in scenes:
        raise Unfit(
            f"{study}: it finds faces in whole pictures, and those of {values['data']} are cut "
            f"out: choose {', '.join(scenes[:-1])} or {scenes[-1]}"
        )
    if study[:2] not in STUDIES:
        return
    learnt = ""
    if values.get("trained_on"):
        from lrface.training import trained_on  # torch takes seconds to import

        learnt = trained_on.learnt_set(values["trained_on"])
    for name, needs, elsewhere in _asked(study[:2], values, learnt):
        if not name.startswith(OWN):
            continue
        reasons = data.cannot(name, elsewhere)
        if what := next((need for need in needs if need in reasons), None):
            advice = ""
            if "trained_on" in values and not elsewhere and what not in data.cannot(name, True):
                advice = " (with -p trained_on=synthetic all its people are test people)"
            raise Unfit(f"{study}: {name} is not for {what}: {reasons[what]}{advice}")


def _asked(
    study: str, values: dict[str, Any], learnt: str
) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """A set, what is needed of it, and whether all its people are test people."""
    name = values["data"]
    trained = () if learnt else ("training",)
    elsewhere = bool(learnt) and name != learnt
    if study == "03":
        yield name, trained, elsewhere
        for one in values.get("tests") or ([name] if learnt else []):
            yield one, ("verification",), one != (learnt or name)
        return
    yield name, (*trained, "testing", *(("attributes",) if study == "04" else ())), elsewhere
    if study == "05":
        yield values.get("native") or name, ("native faces",), elsewhere
