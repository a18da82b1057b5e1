"""Commands for a user's own photos: ``hallucinate`` and ``degrade``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrface.cli.console import app, console, problems
from lrface.errors import LrfaceError, UsageError

if TYPE_CHECKING:  # torch takes seconds to import
    from lrface.inference import Done


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
            help="A low-resolution face or a folder of them; a video or GIF; or, for VidFace, EDVR "
            "and MuCAN, a folder of frames."
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            help="Where the results go: a folder, an image file for one face, or an .mp4 or .gif "
            "for a video."
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
) -> None:
    """Enlarge your own faces with a trained network (see `reproduce`) or with bicubic.

    Of a video the face in each frame is enlarged from 16x12 to 128x96 pixels.
    """
    from lrface import degrade, inference, models
    from lrface.inference import clips
    from lrface.training import runs

    models.method(method)
    of_clips = method in models.VIDEO
    moving = clips.is_video(source) or of_clips
    scale = scale or (clips.SCALE if moving else 4)
    setting = setting or f"{scale}x"
    degradation = degrade.setting(setting)
    if degradation.scale != scale:
        raise UsageError(f"--setting {setting} enlarges {degradation.scale}x, --scale says {scale}")
    if moving and scale != clips.SCALE:
        raise UsageError(f"videos are enlarged {clips.SCALE}x, --scale says {scale}")
    if of_clips and source.is_file() and not clips.is_video(source):
        raise UsageError(f"{method} restores clips: give a video, a GIF or a folder of frames")
    inference.images_in(source)
    if models.method(method).trainable:
        run = runs.best_run(method, setting)
        console.print(f"{run.config.label}, {run.config.steps} steps")
        net = run.model()
    else:
        net = models.restorer(method, scale)
    if moving:
        done = clips.apply(source, target, net, of_clips)
    else:
        done = inference.apply(source, target, lambda image, _: inference.restore(net, image))
    _show(done, target)


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
