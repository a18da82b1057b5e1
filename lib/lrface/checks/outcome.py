"""What a check found: what was checked and how, what was left out, and what differs."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from lrface.checks.compare import NOT_COMPARED, OTHER, TOLERANCE, Drift


@dataclass
class Report:
    """What was checked and how, what was left out and why, and what differs."""

    how: str
    machine: list[str]
    """A line for each machine that the numbers come from."""
    checked: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    computed: str = ""
    """How much was computed again."""
    drifts: list[Drift] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a terminal: a line per difference, then what was checked."""
        count = f"{len(self.drifts)} drifts" if self.drifts else "no drift"
        return [
            *map(str, self.drifts),
            *self._notes(),
            f"{', '.join(self.checked)}: {count} ({self.how})",
        ]

    def _notes(self) -> list[str]:
        computed = [f"computed again: {self.computed}"] if self.computed else []
        return [*(f"not compared: {line}" for line in self.left_out), *computed, *self.machine]

    def markdown(self) -> str:
        """For an issue: the differences as a table, and the tolerances."""
        rows = []
        for d in self.drifts:
            off = ["", ""] if d.off is None else [f"{d.off:.3g}", f"{d.tolerance:.3g}"]
            cells = [d.file, d.row, d.column, d.committed, d.now, *off, d.why]
            rows.append([cell.replace("|", "/") for cell in cells])
        columns = ["file", "row", "column", "committed", "now", "off by", "tolerance", "why"]
        table = pd.DataFrame(rows, columns=columns).to_markdown(index=False, disable_numparse=True)
        parts = [
            f"# {len(self.drifts)} drifts in {len(self.checked)} studies",
            f"{self.how}. Checked: {', '.join(self.checked)}.",
            "\n".join(f"- {line}" for line in self._notes()),
            *([table] if rows else []),
            "## Tolerances",
            _tolerances(),
        ]
        return "\n\n".join(parts) + "\n"


def _tolerances() -> str:
    lines = []
    for name, entry in TOLERANCE.items():
        share = f", or {entry.share:g} of its interval" if entry.share else ""
        lines.append(f"- {name}: {entry.amount:g}{share}; {entry.reason}")
    lines.append(f"- {OTHER}")
    for name, reason in NOT_COMPARED.items():
        lines.append(f"- {name.strip(' (')}: not compared, {reason}")
    return "\n".join(lines)
