"""What came out of a study: sentences at the top of its notebook, whose numbers the last cell fills
in, so that they cannot go stale."""

from __future__ import annotations

import string
import textwrap

from IPython.display import DisplayHandle, Markdown, display

from lrface.errors import UsageError
from lrface.metrics.intervals import Estimate


class Summary:
    """Sentences with ``{placeholders}``, shown at once with dashes and again when they are filled.

    Parameters
    ----------
    text : Markdown. A placeholder may have a format: ``{gain:+.2f}``. An
        :class:`~lrface.metrics.Estimate` shows its interval, too.

    Raises
    ------
    UsageError : a placeholder is left without a value, or a value without a placeholder.

    Examples
    --------
    >>> summary = Summary("EDSR gains {gain:+.2f} dB.")  # doctest: +ELLIPSIS
    <...Markdown object>
    >>> summary.fill(gain=Estimate(0.66, 0.5, 0.8, 100))
    >>> summary.text
    'EDSR gains +0.66 [+0.50, +0.80] dB.'
    """

    def __init__(self, text: str):
        self.template = textwrap.dedent(text).strip()
        found = {name for _, name, _, _ in string.Formatter().parse(self.template) if name}
        self.names = found
        self.text = string.Formatter().vformat(self.template, (), _Dashes())
        self._handle: DisplayHandle | None = display(Markdown(self.text), display_id=True)

    def fill(self, **values: Estimate | float | int | str) -> None:
        """Show the sentences with these values, in place of the dashes."""
        wrong = [*(self.names - values.keys()), *(values.keys() - self.names)]
        if wrong:
            what = "no value" if wrong[0] in self.names else "no placeholder"
            raise UsageError(
                f"the summary has {what} {wrong[0]!r}: give each placeholder one value"
            )
        self.text = self.template.format(**values)
        if self._handle is not None:
            self._handle.update(Markdown(self.text))


class _Dashes(dict):
    def __missing__(self, name: str) -> _Dash:
        return _Dash()


class _Dash:
    def __format__(self, spec: str) -> str:
        return "–"


def words(
    estimate: Estimate,
    above: str = "above",
    below: str = "below",
    unclear: str = "not distinguishable from",
) -> str:
    """The word that an interval allows: on one side of zero, or on neither.

    Examples
    --------
    >>> words(Estimate(0.2, 0.1, 0.3, 10)), words(Estimate(0.2, -0.1, 0.5, 10))
    ('above', 'not distinguishable from')
    """
    return above if estimate.low > 0 else below if estimate.high < 0 else unclear
