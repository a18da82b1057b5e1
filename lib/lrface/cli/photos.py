"""Commands for a user's own photos: ``hallucinate`` and ``degrade``."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrface.cli.console import app, console, problems
from lrface.errors import LrfaceError, UsageError

if TYPE_CHECKING:  # torch takes seconds to import
    from torch import Tensor

    from lrface.inference import Done
    from lrface.training.runs import Run


def _show(done: Done, target: Path) -> None:
    for name, reason in (done.failed | done.remarks).items():
        problems.print(f"{name}: {reason}")
    more = f", {len(done.failed)} failed" if done.failed else ""
    console.print(f"{len(done.written)} written to {target}{more}")
    raise typer.Exit(1 if done.failed else 0)


@app.command()
def hallucinate(
    source: Annotated[
        Path,
        typer.Argument(
            help="A photograph or a folder of them; a video or GIF; or, for VidFace, EDVR and "
            "MuCAN, a folder of frames."
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            help="Where the results go: a folder, an image file for one photograph, or an .mp4 or "
            ".gif for a video."
        ),
    ],
    method: Annotated[
        str, typer.Option(help="bicubic, SRCNN, EDSR, RCAN, VidFace, EDVR, ...")
    ] = "EDSR",
    scale: Annotated[
        int | None, typer.Option(help="2, 4 or 8; default: 4, and 8 for videos, their only one.")
    ] = None,
    setting: Annotated[
        str,
        typer.Option(
            help="Degradation that the network was trained for, such as 4x_DN; default: SCALEx."
        ),
    ] = "",
    whole: Annotated[
        bool, typer.Option("--whole", help="Restore whole pictures, not the faces found in them.")
    ] = False,
    trained_on: Annotated[
        str, typer.Option(help="The face set that the network was trained on; default: any.")
    ] = "",
    run: Annotated[
        str, typer.Option(help="The key of the trained network, in place of method and setting.")
    ] = "",
    register: Annotated[
        Path | None, typer.Option(help="A Python file that registers methods of your own.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Also save before and after beside each other.")
    ] = False,
) -> None:
    """Restore the faces in your own pictures with a trained network (see `reproduce`).

    All faces that are found in a photograph are restored and pasted back, the rest is enlarged by
    bicubic interpolation. A picture of one small face is restored as it is. Of a video the face in
    each frame is enlarged from 16x12 to 128x96 pixels.
    """
    from lrface import degrade, inference, models
    from lrface.inference import clips, photos
    from lrface.training import runs

    if register:
        _register(register)
    trained = _named_run(run) if run else None
    method, setting = (trained.config.method, "") if trained else (method, setting)
    models.method(method)
    of_clips = method in models.VIDEO
    moving = clips.is_video(source) or of_clips
    if trained:
        scale = trained.config.degradation.scale
    else:
        scale = scale or (clips.SCALE if moving else _only_scale(method) or 4)
        degradation = degrade.setting(setting) if setting else None
        setting = setting or f"{scale}x"
        if degradation and degradation.scale != scale:
            enlarges = f"--setting {setting} enlarges {degradation.scale}x"
            raise UsageError(f"{enlarges}, --scale says {scale}")
    if moving and scale != clips.SCALE:
        raise UsageError(f"videos are enlarged {clips.SCALE}x, --scale says {scale}")
    if of_clips and source.is_file() and not clips.is_video(source):
        raise UsageError(f"{method} restores clips: give a video, a GIF or a folder of frames")
    files = inference.images_in(source)
    if not trained and models.method(method).trainable:
        from lrface import data

        trained = runs.best_run(method, setting, data.absolute(trained_on) or None)
    if trained:
        console.print(f"{trained.config.label}, {trained.config.steps} steps")
    net = (trained.model() if trained else models.restorer(method, scale)).to(runs.device())
    if moving:
        return _show(clips.apply(source, target, net, of_clips), target)
    framing = photos.Framing.of(method, trained.config.data if trained else "")
    notes: dict[str, str] = {}

    def transform(image: Tensor, position: int) -> Tensor:
        result, notes[files[position].name] = photos.restored(net, image, framing, whole)
        return result

    before_and_after = photos.preview if preview else None
    done = inference.apply(source, target, transform, preview=before_and_after)
    for name, note in notes.items():
        if note and name not in done.failed:
            console.print(f"{name}: {note}")
    _show(done, target)


def _named_run(key: str) -> Run:
    from lrface.training import runs

    run = runs.load_run(key)
    if run is None:
        raise UsageError(f"no run {key} is at hand: a run is named by 16 digits, see runs.csv")
    return run


def _only_scale(method: str) -> int | None:
    """The scale of a method that has a single one, such as a checkpoint."""
    from lrface import models

    scales = models.method(method).scales
    return scales[0] if len(scales) == 1 else None


def _register(file: Path) -> None:
    """Execute a user's file, which registers methods."""
    try:
        runpy.run_path(str(file))
    except LrfaceError:
        raise
    except Exception as error:
        first = (str(error).strip() or "no message").splitlines()[0]
        raise UsageError(f"{file}: {type(error).__name__}: {first}") from None


@app.command("degrade")
def degrade_(
    source: Annotated[Path, typer.Argument(help="A high-resolution face, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help="Where the low-resolution images go.")],
    setting: Annotated[
        str, typer.Option(help="2x, 4x, 4x_BD, 4x_DN or 8x; also 4x_DN10, 4x_JPEG60, ...")
    ] = "4x",
    kernel: Annotated[
        Path | None,
        typer.Option(help="Blur with this kernel first: .npy, numbers as text, or an image."),
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Sigma of the noise, of 255.", min=0, max=255)
    ] = None,
    jpeg: Annotated[
        int | None, typer.Option(help="Save as JPEG of this quality, then as told.", min=1, max=100)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
) -> None:
    """Make low-resolution faces exactly as the studies do.

    Sides are cut to a multiple of the scale. Results are saved without loss.
    """
    import torch

    from lrface import degrade, inference

    given = {"seed": seed, "noise": noise, "jpeg": jpeg}
    changes = {name: value for name, value in given.items() if value is not None}
    degradation = degrade.setting(setting, **changes)
    scale = degradation.scale
    if kernel:
        changes = {"noise": degradation.noise, "jpeg": degradation.jpeg, "seed": seed}
        degradation = degrade.with_kernel(kernel, scale, **changes)

    def transform(image: torch.Tensor, position: int) -> torch.Tensor:
        h, w = (side // scale * scale for side in image.shape[1:])
        if not h or not w:
            size = f"{image.shape[2]}x{image.shape[1]}"
            raise LrfaceError(f"{size} pixels are too few to divide by {scale}")
        hr = image[None, :, :h, :w].float() / 255
        lr = degradation(hr, torch.tensor([position]))[0]
        return lr.mul(255).round().byte()

    _show(inference.apply(source, target, transform, lossless=True), target)
