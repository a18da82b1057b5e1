"""The ``LRFACE_*`` environment variables: one pydantic-settings object, read afresh at every call.

Tests, notebook kernels and worker processes set these variables while the program runs, so
:func:`current` looks at the environment each time and caches by its content.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lrface.errors import UsageError

PREFIX = "LRFACE_"


def _unset(text: str) -> dict[str, str]:
    """What holds while the variable is not set, in words, for the README's table."""
    return {"unset": text}


class Settings(BaseSettings):
    """What the environment says; an empty variable counts as not set."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True
    )

    data: Path | None = Field(
        None,
        description="folder of the face sets (`celeba/`, `lfw/`, ...)",
        json_schema_extra=_unset("none: only `synthetic`, `folder:PATH` and `video:PATH`"),
    )
    cache: Path | None = Field(
        None,
        description="folder of networks, scores and scans; all nodes of a cluster must see it",
        json_schema_extra=_unset("the user's cache folder"),
    )
    out: Path | None = Field(
        None,
        description="folder in which `results/` and `figures/` are written",
        json_schema_extra=_unset("`results/local` and `figures/local` of `LRFACE_ROOT`"),
    )
    root: Path | None = Field(
        None,
        description="the repository: its notebooks and its released networks",
        json_schema_extra=_unset("the checkout that the package lies in"),
    )
    device: Literal["auto", "cpu", "gpu", "cuda", "mps"] = Field(
        "auto", description="where networks run: `auto` takes a GPU if there is one"
    )
    jobs: str = Field(
        "local",
        description="where networks train: `here`, `local` or `slurm:partition=gpu,time=60,...`",
    )
    retrain: bool = Field(
        False, description="`1`: train again instead of using released networks and scores"
    )
    notes: Path | None = Field(
        None,
        description="set by the runner: file in which a notebook notes what it reads and writes",
        json_schema_extra=_unset("no notes"),
    )
    progress: Path | None = Field(
        None,
        description="set by the runner: file for the progress line of a kernel or worker",
        json_schema_extra=_unset("the terminal"),
    )

    @field_validator("data", "cache", "out", "root", "notes", "progress")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path and Path(os.path.abspath(path.expanduser()))

    @field_validator("jobs")
    @classmethod
    def _known_kind(cls, text: str) -> str:
        kind, colon, _ = text.partition(":")
        if kind not in ("here", "local", "slurm") or (colon and kind != "slurm"):
            raise ValueError(
                "choose here, local, or slurm with its options (slurm:partition=gpu,time=60,gpus=1)"
            )
        return text


def current() -> Settings:
    """The settings as the environment has them now.

    A variable that begins with ``LRFACE_`` and is none of them is named on standard error, once a
    process (not in kernels and workers, whose parent has already done so).

    Returns
    -------
    Settings
        Frozen; costs some ten microseconds while nothing has changed.

    Raises
    ------
    UsageError
        A variable has a value that it cannot have.

    Examples
    --------
    >>> with override(device="cpu", retrain="1"):
    ...     current().device, current().retrain
    ('cpu', True)
    """
    return _read(tuple(variables().items()))


def variables() -> dict[str, str]:
    """All ``LRFACE_*`` variables that are set, as texts: what a worker process must be given."""
    return {n: value for n, value in os.environ.items() if n.upper().startswith(PREFIX)}


def fix_paths() -> None:
    """Make the paths in the variables absolute, for processes that run in another folder."""
    paths = {k: v for k, v in current() if isinstance(v, Path)}
    _set({f"{PREFIX}{name.upper()}": path for name, path in paths.items()})


def adopt(given: dict[str, str]) -> None:
    """Take the variables of the process that sent this worker its job, and no others.

    Pools reuse their workers, whose environment is that of an earlier job.
    """
    _set(dict.fromkeys(variables()) | given)


@lru_cache(maxsize=16)
def _read(variables: tuple[tuple[str, str], ...]) -> Settings:
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).upper().removeprefix(PREFIX)
        problem = first["msg"].removeprefix("Value error, ").replace("Input should be", "choose")
        if first["type"].startswith("bool"):
            problem = "choose 1 or 0"
        raise UsageError(f"{PREFIX}{name}={first['input']}: {problem}") from None
    if settings.notes is None and settings.progress is None:
        for name, _ in variables:
            _warn_unknown(name)
    return settings


@lru_cache
def _warn_unknown(name: str) -> None:
    known = [field.upper() for field in Settings.model_fields]
    given = name.upper().removeprefix(PREFIX)
    if given in known:
        return
    close = difflib.get_close_matches(given, known, 1)
    names = ", ".join(f"{PREFIX}{name}" for name in known)
    hint = f"did you mean {PREFIX}{close[0]}?" if close else f"known are {names}"
    print(f"lrface: {name} is no setting and has no effect: {hint}", file=sys.stderr)


@contextmanager
def override(**values: object) -> Iterator[None]:
    """Set variables inside the block, for this process and those that it starts; None unsets."""
    names = {f"{PREFIX}{field.upper()}": value for field, value in values.items()}
    before = {name: os.environ.get(name) for name in names}
    try:
        _set(names)
        yield
    finally:
        _set(before)


def _set(variables: dict[str, object]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = str(value)


def table() -> str:
    """The README's table of all settings, in Markdown."""
    lines = ["| variable | meaning | default |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = {True: "`1`", False: "off", None: ""}.get(field.default, f"`{field.default}`")
        default = (field.json_schema_extra or {}).get("unset", default)
        lines.append(f"| `{PREFIX}{name.upper()}` | {field.description} | {default} |")
    return "\n".join(lines)
