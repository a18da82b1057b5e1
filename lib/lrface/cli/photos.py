"""Commands for a user's own photos: ``hallucinate`` and ``degrade``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrface.cli.console import app, console, problems
from lrface.errors import LrfaceError, UsageError


def _show(written: list[Path], failed: dict[str, str], target: Path) -> None:
    for name, reason in failed.items():
        problems.print(f"{name}: {reason}")
    more = f", {len(failed)} failed" if failed else ""
    console.print(f"{len(written)} written to {target}{more}")
    raise typer.Exit(1 if failed else 0)


@app.command()
def hallucinate(
    source: Annotated[Path, typer.Argument(help="A low-resolution face, or a folder of them.")],
    target: Annotated[
        Path,
        typer.Argument(help="Where the results go: a folder, or an image file for one face."),
    ],
    method: Annotated[str, typer.Option(help="bicubic, SRCNN, EDSR, RCAN, ...")] = "EDSR",
    scale: Annotated[int, typer.Option(help="2, 4 or 8.")] = 4,
    setting: Annotated[
        str,
        typer.Option(
            help="Degradation that the network was trained for, such as 4x_DN; default: SCALEx."
        ),
    ] = "",
) -> None:
    """Enlarge your own faces with a trained network (see `reproduce`) or with bicubic."""
    from lrface import degrade, inference, models
    from lrface.training import runs

    setting = setting or f"{scale}x"
    degradation = degrade.setting(setting)
    if degradation.scale != scale:
        raise UsageError(f"--setting {setting} enlarges {degradation.scale}x, --scale says {scale}")
    inference.images_in(source)
    if models.method(method).trainable:
        run = runs.best_run(method, setting)
        console.print(f"{run.config.label}, {run.config.steps} steps")
        net = run.model()
    else:
        net = models.restorer(method, scale)
    done = inference.apply(source, target, lambda image, _: inference.restore(net, image))
    _show(*done, target)


@app.command("degrade")
def degrade_(
    source: Annotated[Path, typer.Argument(help="A high-resolution face, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help="Where the low-resolution images go.")],
    setting: Annotated[str, typer.Option(help="2x, 4x, 4x_BD, 4x_DN or 8x.")] = "4x",
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
) -> None:
    """Make low-resolution faces exactly as the studies do.

    Sides are cut to a multiple of the scale.
    """
    import torch

    from lrface import degrade, inference

    degradation = degrade.setting(setting, seed=seed)
    scale = degradation.scale

    def transform(image: torch.Tensor, position: int) -> torch.Tensor:
        h, w = (side // scale * scale for side in image.shape[1:])
        if not h or not w:
            size = f"{image.shape[2]}x{image.shape[1]}"
            raise LrfaceError(f"{size} pixels are too few to divide by {scale}")
        hr = image[None, :, :h, :w].float() / 255
        lr = degradation(hr, torch.tensor([position]))[0]
        return lr.mul(255).round().byte()

    _show(*inference.apply(source, target, transform), target)
