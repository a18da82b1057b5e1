"""What came out of a study: sentences at the top of its notebook, filled in by its last cell."""

from __future__ import annotations

import math
import re
import string
import textwrap
from numbers import Real
from typing import TYPE_CHECKING, Any

from IPython.display import DisplayHandle, Markdown, display

from lrface.errors import UsageError
from lrface.metrics.intervals import Estimate

if TYPE_CHECKING:
    from lrface.report.study import Study

Value = Estimate | float | int | str | None


class Summary:
    """Sentences with ``{placeholders}``, shown with dashes until :meth:`fill` gives the values.

    The first cell of a notebook makes it, the last cell fills it: the sentences in the output of
    the first cell are then replaced, also in a notebook that papermill executes.

    Parameters
    ----------
    text : str
        Markdown; common indentation is removed. A placeholder may have a format,
        ``{gain:+.2f}``; an :class:`~lrface.metrics.Estimate` is followed by its interval.

    Raises
    ------
    UsageError
        A placeholder has no name.

    Examples
    --------
    >>> summary = Summary("EDSR gains {gain:+.2f} dB, {more} than SRCNN.")
    <IPython.core.display.Markdown object>
    >>> summary.text
    'EDSR gains – dB, – than SRCNN.'
    >>> summary.fill(gain=Estimate(0.66, 0.5, 0.8, 100), more="more")
    >>> summary.text
    'EDSR gains +0.66 [+0.50, +0.80] dB, more than SRCNN.'
    """

    def __init__(self, text: str):
        self.template = textwrap.dedent(text).strip()
        fields = [name for _, name, _, _ in string.Formatter().parse(self.template)]
        self.names = [re.split(r"[.\[]", name)[0] for name in fields if name is not None]
        if not all(map(str.isidentifier, self.names)):
            raise UsageError("a placeholder of a summary needs a name: {gain} or {gain:.2f}")
        self.text = self.template.format(**dict.fromkeys(self.names, _Dash()))
        self._handle: DisplayHandle | None = display(Markdown(self.text), display_id=True)

    def fill(self, study: Study | None = None, /, **values: Value) -> None:
        """Show the sentences with these values.

        Parameters
        ----------
        study : Study, optional
            Saves them, too: as ``summary.md`` among its results, with its footer.
        **values : Estimate, number, str or None
            One for each placeholder. None and NaN are shown as a dash, an interval that is NaN is
            left out.

        Raises
        ------
        UsageError
            A placeholder has no value, a value has no placeholder or does not fit its format.
        """
        if missing := [name for name in self.names if name not in values]:
            raise UsageError(f"the summary has no value for {{{missing[0]}}}: give it one")
        if unused := [name for name in values if name not in self.names]:
            raise UsageError(f"the summary has no placeholder {{{unused[0]}}}: leave it out")
        try:
            self.text = self.template.format(**{k: _known(v) for k, v in values.items()})
        except (ValueError, TypeError) as wrong:
            raise UsageError(f"a value of the summary does not fit its format: {wrong}") from None
        shown = self.text if study is None else study.summary(self.text)
        if self._handle is not None:
            self._handle.update(Markdown(shown))


def _known(value: Value) -> Any:
    """The value, or what is shown in its place where it is not a number."""
    if isinstance(value, Estimate) and math.isnan(value.low + value.high):
        value = value.value
    number = value.value if isinstance(value, Estimate) else value
    unknown = number is None or (isinstance(number, Real) and math.isnan(number))
    return _Dash() if unknown else value


class _Dash:
    def __format__(self, spec: str) -> str:
        return "–"

    def __str__(self) -> str:
        return "–"

    def __getattr__(self, name: str) -> _Dash:
        return self

    def __getitem__(self, name: str) -> _Dash:
        return self


def words(
    estimate: Estimate,
    above: str = "above",
    below: str = "below",
    unclear: str = "not distinguishable from",
) -> str:
    """The words that an interval allows: for either side of zero, or for neither.

    Parameters
    ----------
    estimate : Estimate
        Of a difference.
    above, below : str
        If the whole interval is above, or below, zero.
    unclear : str
        If it contains zero, or is NaN.

    Examples
    --------
    >>> words(Estimate(0.2, 0.1, 0.3, 10)), words(Estimate(0.2, -0.1, 0.5, 10))
    ('above', 'not distinguishable from')
    """
    return above if estimate.low > 0 else below if estimate.high < 0 else unclear
