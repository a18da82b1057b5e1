"""Are a study's pictures its own? PNG, PDF and the picture in the notebook show the same figure."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from lrface.checks.compare import Drift
from lrface.checks.executed import ExecutedNotebook

DOTS, POINTS = 200, 72
"""Dots an inch in the PNG (``report.Study.figure``), points an inch in the PDF."""
SAME_IMAGE = 8.0
"""How far two renderings of one figure may be apart: grey levels of 256, mean over a coarse grid.
Those of one run are below 6 (bars with turned labels; lines and faces below 2.2)."""


BLUR = 9.0
"""Pixels of the notebook's picture by which both are blurred before they are compared place by
place: two resolutions of a figure differ in their texts' places by some pixels."""
PAINTED = 60.0
"""How far they may then be apart anywhere, in grey levels of 256. Those of one run are below 21
(below 55 with many or turned labels); a black patch of 0.4 x 0.3 inches makes 68 or more."""


def between(figures: Path, now: Path, folder: str) -> Iterator[Drift]:
    """Pictures of two runs that show something else; PDFs that differ where the PNGs are the same.

    Pictures that only one of the runs has are left out.
    """
    for file in sorted(figures.glob("*.png")):
        other, name = now / file.name, f"{folder}/{file.name}"
        if not other.is_file():
            continue
        try:
            with Image.open(file) as before, Image.open(other) as after:
                unlike = _distance(_coarse(before), _coarse(after)) > SAME_IMAGE
                apart = 0.0 if unlike else _apart(before, after)
        except (OSError, SyntaxError, ValueError):
            yield Drift(name, "the PNG does not open")
            continue
        if unlike or apart > PAINTED:
            yield Drift(name, "the picture is another one now")
        pdfs = [path.with_suffix(".pdf") for path in (file, other)]
        same_png = file.read_bytes() == other.read_bytes()
        drawn = {pdf.read_bytes() for pdf in pdfs if pdf.is_file()}
        if same_png and len(drawn) > 1:
            why = "another one now, and the PNG beside it is the same"
            yield Drift(f"{folder}/{pdfs[0].name}", why)


def documents(figures: Path, folder: str) -> Iterator[Drift]:
    """PDFs that are not of the PNG's figure: of another size, or with another description."""
    for file in sorted(figures.glob("*.png")):
        pdf = file.with_suffix(".pdf")
        try:
            with Image.open(file) as image:
                size, text = image.size, image.text.get("Description", "")
            content = pdf.read_bytes()
        except (OSError, SyntaxError, ValueError):  # reported elsewhere
            continue
        name = f"{folder}/{pdf.name}"
        box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ([\d.]+) ?\]", content)
        subject = re.search(rb"/Subject \((.*?)(?<!\\)\)", content, re.S)
        if not content.startswith(b"%PDF") or box is None:
            yield Drift(name, "it is no PDF of one page, as a figure is")
            continue
        wide, high = (float(points) / POINTS * DOTS for points in box.groups())
        if max(abs(wide - size[0]), abs(high - size[1])) > 2:
            yield Drift(name, "its page has another size than the PNG beside it")
        elif subject is None or _plain(subject[1]) != _letters(text):
            yield Drift(name, "it is of another figure: its description is not the PNG's")


def _plain(subject: bytes) -> str:
    """The letters of a text in a PDF, which has escapes, or two bytes a letter."""
    text = re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), subject)
    text = re.sub(rb"\\(.)", rb"\1", text)
    wide = text.startswith(b"\xfe\xff")
    return _letters(text[2:].decode("utf-16-be", "replace") if wide else text.decode("latin-1"))


def _letters(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)


def figure_images(figures: Path, folder: str, notebook: ExecutedNotebook | None) -> Iterator[Drift]:
    """Figures without CSV, PNGs that cannot be read, and PNGs unlike those in the notebook."""
    images = notebook.images if notebook else {}
    images = {name: Image.open(io.BytesIO(image)) for name, image in images.items()}
    shown = {name: _coarse(image) for name, image in images.items()}
    for file in sorted(figures.glob("*.png")):
        name = f"{folder}/{file.name}"
        if not file.with_suffix(".csv").is_file():
            yield Drift(name, "the CSV it was drawn from is missing")
        try:
            with Image.open(file) as image:
                drawn, apart = _coarse(image), _apart(image, images.get(file.stem))
        except (OSError, SyntaxError, ValueError):
            yield Drift(name, "the PNG does not open")
            continue
        if file.stem not in shown:
            continue
        # Two grids of faces are much alike: beside the distance to its own image in the notebook,
        # no other image may be nearer.
        distance = {other: _distance(drawn, image) for other, image in shown.items()}
        nearest = min(distance, key=distance.__getitem__)
        other = f"{notebook.name} shows another picture"
        if distance[nearest] > SAME_IMAGE:
            yield Drift(name, f"{other}, and nothing like this one")
        elif nearest != file.stem:
            yield Drift(name, f"{other}: this one is its {nearest}")
        elif apart > PAINTED:
            yield Drift(name, f"{other}: somewhere they are {apart:.0f} of 256 grey levels apart")


def _apart(drawn: Image.Image, shown: Image.Image | None) -> float:
    """How far two renderings of a figure are apart where they differ most."""
    if shown is None:
        return 0.0
    pair = [drawn.convert("RGB").resize(shown.size, Image.Resampling.BOX), shown.convert("RGB")]
    blurred = [image.filter(ImageFilter.GaussianBlur(BLUR)) for image in pair]
    return float(np.asarray(ImageChops.difference(*blurred)).max())


class Coarse(NamedTuple):
    """An image in 64 columns of grey, for comparison with one of another resolution."""

    grey: np.ndarray
    size: tuple[int, int]
    """Width and height of the image itself."""


def _coarse(image: Image.Image) -> Coarse:
    size = (64, max(1, 64 * image.height // image.width))
    grey = image.convert("L").resize(size, Image.Resampling.BOX)
    return Coarse(np.asarray(grey, np.float64), image.size)


def _distance(drawn: Coarse, shown: Coarse) -> float:
    height = drawn.size[1] * shown.size[0] / drawn.size[0]
    if abs(height - shown.size[1]) > 1.5:  # pixels: another aspect ratio
        return math.inf
    return float(np.abs(drawn.grey - shown.grey).mean())
