"""Commands for face sets: ``data check``, ``data fetch`` and ``data make``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrface.cli.console import app, console, problems
from lrface.errors import UsageError

if TYPE_CHECKING:  # torch takes seconds to import
    from lrface.data import FaceSet

data_app = typer.Typer(no_args_is_help=True, help="Check, fetch and make face sets.")
app.add_typer(data_app, name="data")


@data_app.command("check")
def check(
    name: Annotated[
        str,
        typer.Argument(
            help="synthetic, celeba, lfw, ytf, tinyface, tufs, ijbc, folder:PATH, video:PATH or "
            "synthetic:PATH."
        ),
    ],
) -> None:
    """Read every image of a set once; name unusable files; show splits, crop, fingerprint, and what
    the set is not fit for, with and without networks from elsewhere."""
    from lrface import data

    faces = data.load(name)
    counts = faces.manifest["counts"]
    identities = faces.table["identity"].nunique()
    console.print(f"{name}: {len(faces)} usable faces of {identities} identities")
    for split in ("train", "val", "test"):
        if split in counts:
            images, people = counts[split]["images"], counts[split]["identities"]
            console.print(f"  {split}: {images} images, {people} identities")
    console.print(f"  splits by {faces.split_rule}, manifest {faces.manifest['sha256'][:16]}")
    if "role" in faces.table:
        roles = faces.table["role"].value_counts().sort_index()
        listed = ", ".join(f"{n} {role}" for role, n in roles.items())
        console.print(f"  1:N search: {listed}")
    size = f"{faces.crop.size}x{faces.crop.size}"
    console.print(f"  crop {_crop_rule(faces)} to {size}, fingerprint {faces.fingerprint}")
    reasons = data.cannot(name)
    for what, reason in reasons.items():
        console.print(f"  not for {what}: {reason}")
    if any(what in reasons for what in ("training", "testing", "verification")):
        there = data.cannot(name, elsewhere=True)
        good = " and ".join(what for what in ("testing", "verification") if what not in there)
        if "testing" not in there:
            console.print(
                f"  with trained_on=synthetic all its people are test people: fit for {good}"
            )
    for key, reason in faces.skipped.items():
        problems.print(f"  skipped {key}: {reason}")
    raise typer.Exit(1 if faces.skipped else 0)


def _crop_rule(faces: FaceSet) -> str:
    if faces.crop.pad:
        return "the whole picture, made square,"
    if faces.crop.box:
        return str(faces.crop.box)
    return "a square around each face" if "side" in faces.table else "largest centred square"


@data_app.command("fetch")
def fetch(
    name: Annotated[str, typer.Argument(help="celeba, lfw or wider; of others the address.")],
    yes: Annotated[bool, typer.Option("--yes", help="Agree to the terms that are shown.")] = False,
) -> None:
    """Fetch a set into LRFACE_DATA after showing its terms; an interrupted command goes on."""
    from lrface import data
    from lrface.data import fetch as sets

    console.print(sets.terms(name))
    root = data.data_root()
    if not yes and not (sys.stdin.isatty() and typer.confirm("Do you agree?")):
        raise UsageError(f"nothing was fetched: agree to the terms of {name} with --yes")
    todo = sets.fetch(name, root)
    console.print(
        f"{name}: {todo}" if todo else f"{name} is in {root}; check it: data check {name}"
    )


@data_app.command("make")
def make(
    target: Annotated[
        Path, typer.Argument(help="Folder for the Parquet files, lists and manifest.")
    ],
    identities: Annotated[int, typer.Option(min=1)] = 400,
    per_identity: Annotated[int, typer.Option(min=1)] = 12,
    clips: Annotated[int, typer.Option(min=0, help="Clips of seven frames.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    generation: Annotated[
        int, typer.Option(min=1, max=2, help="1: as the embedded faces; 2: more like photographs.")
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; default: all cores. Changes only the time."),
    ] = None,
) -> None:
    """Render synthetic faces with their exact ground truth; an interrupted command goes on."""
    from lrface.data import synthetic

    how = {"seed": seed, "clips": clips, "generation": generation, "workers": workers}
    manifest = synthetic.make(target, identities, per_identity, **how)
    files = ", ".join(manifest["files"])
    console.print(f"{identities} identities x {per_identity} faces in {target}: {files}")
