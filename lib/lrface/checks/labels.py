"""Are the words true that say where a list of pairs comes from? The loader is asked."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator

from lrface import data
from lrface.checks.compare import Drift, read
from lrface.checks.study_results import StudyResults
from lrface.errors import LrfaceError

OWN, MADE = "the set's own", "made here"


def check(one: StudyResults) -> Iterator[Drift]:
    """Lists of pairs that are called the set's own and are made here, or the other way round.

    Sets that are not at hand are left out.
    """
    file = one.results / "tests.csv"
    frame = read(file) if file.is_file() else None
    if frame is None or not {"test", "list"} <= {*frame}:
        return
    for row in frame.itertuples():
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # that pairs are made is no news here
                pairs = data.pairs(row.test)
        except LrfaceError:
            continue
        said = MADE if (pairs["protocol"] == "made").any() else OWN
        if row.list != said:
            name = f"results/{one.name}/tests.csv"
            yield Drift(name, "as the loader says", row.test, "list", said, row.list)
