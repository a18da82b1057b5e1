"""SceneSet: pictures of any size, read from disk on demand, with boxes around their faces."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lrface.data import packed, splits
from lrface.data.images import BadImage, Crop, Square, read_rgb
from lrface.data.scan import scan
from lrface.errors import LrfaceError, UsageError

BOX = ["x", "y", "w", "h"]
SIZES = {"10-50": (10, 50), "50-300": (50, 300), "over 300": (300, np.inf)}
"""WIDER FACE's groups of heights, in pixels: from the first number, below the second."""
HIDDEN = 0.95
"""A face that is covered to so much cannot be seen."""
LEAST = 30
"""Least height of the faces in WIDER FACE's groups of occlusion and pose, in pixels."""


@dataclass(frozen=True)
class Whole(Crop):
    """The rule that reads a whole image: nothing is cut or resized."""

    def __call__(self, image: np.ndarray, square: Square | None = None) -> np.ndarray:
        return image


@dataclass(frozen=True)
class SceneSet:
    """Photographs of one set and the boxes of the faces in them. Images stay on disk.

    ``images`` has one row an image: ``key, path, split, width, height, digest`` and, where known,
    ``event`` or ``fold``. ``boxes`` has one row a face, in the order of ``images``: ``image`` (a
    key), ``x, y, w, h`` in pixels (a side may be 0), and where known ``blur, expression,
    illumination, invalid, occlusion, pose, event``, bool ``easy, medium, hard``, and an ellipse as
    ``major, minor, angle, cx, cy``.
    """

    name: str
    root: Path
    images: pd.DataFrame
    boxes: pd.DataFrame
    photos: bool = True
    """True if these are photographs of real people, which are never published."""
    list_rule: str = ""
    """Where ``easy``, ``medium`` and ``hard`` come from: ``official``, ``height`` (faces over 50,
    30 and 10 pixels, which is near the official lists), or empty if there are none."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Key of each unusable file -> why it cannot be used."""
    recipe: str = ""
    """Of rendered scenes, what decides their pixels: their fingerprint is a hash of it."""

    def __len__(self) -> int:
        return len(self.images)

    def read(self, row: int) -> np.ndarray:
        """One photograph, uint8 (H, W, 3)."""
        path = self.root / self.images["path"].iat[row]
        try:
            if packed.is_packed(path.name):
                return read_rgb(packed.fetch(self.root, path.name) or b"")
            return read_rgb(path)
        except BadImage as problem:  # it could be read when the set was loaded
            raise LrfaceError(
                f"{path}: {problem}; put the file back, or run the same command again without it"
            ) from None

    def truth(self, columns: Sequence[str] = BOX) -> list[np.ndarray]:
        """The faces of each image: float64 (G_i, 4) as x, y, w, h, one array an image.

        All of them one after the other are the rows of ``boxes``. ``columns`` names others, for
        instance those of an ellipse.
        """
        values = self.boxes[list(columns)].to_numpy(np.float64)
        faces = self.boxes["image"].value_counts().reindex(self.images["key"], fill_value=0)
        return np.split(values, faces.to_numpy().cumsum()[:-1])

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Height and width of each image in pixels."""
        return list(zip(self.images["height"], self.images["width"], strict=True))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when an image or a box does."""
        if self.recipe:
            facts = f"{self.name}\n{self.recipe}\n{sorted(self.images['key'])}"
            return hashlib.sha256(facts.encode()).hexdigest()[:16]
        facts = self.images[["key", "digest"]].to_csv(index=False) + self.boxes.to_csv(index=False)
        return hashlib.sha256(f"{self.name}\n{self.list_rule}\n{facts}".encode()).hexdigest()[:16]

    @property
    def visible(self) -> np.ndarray:
        """Which faces can be seen at all, bool (G,): of rendered ones it is known how much of a
        face others cover, and those that are hidden to 95 % nobody would mark in a photograph."""
        if "covered" not in self.boxes:
            return np.ones(len(self.boxes), bool)
        return (self.boxes["covered"] < HIDDEN).to_numpy()

    def where(self, mask: pd.Series | np.ndarray) -> SceneSet:
        """The images where a mask, bool (N,), is true, with all their boxes."""
        images = self.images[np.asarray(mask)].reset_index(drop=True)
        kept = self.boxes["image"].isin(images["key"])
        return replace(self, images=images, boxes=self.boxes[kept].reset_index(drop=True))


def load(
    name: str,
    root: Path,
    tables: tuple[pd.DataFrame, pd.DataFrame, str],
    limit: int | None,
    seed: int,
) -> SceneSet:
    """A set from what its reader gives: images are looked at, and unusable ones left out.

    They are counted and named in one warning on stderr. For ``limit`` and ``seed`` see
    :func:`lrface.data.load_scenes`.
    """
    images, boxes, rule = tables
    if limit is not None:
        order = images["key"].map(lambda key: splits.unit_hash(f"limit:{seed}:{key}"))
        images = images.iloc[order.argsort(kind="stable")]
    scanned = scan(name, root, images["path"].tolist(), Whole(), limit)
    images = images.iloc[: len(scanned)].assign(
        height=scanned["height"].to_numpy(), digest=scanned["digest"].to_numpy()
    )
    problem = scanned["problem"].to_numpy()
    bad = problem != ""
    skipped = dict(zip(images["key"][bad], problem[bad], strict=True))
    images = images[~bad].sort_values("key", ignore_index=True)
    if skipped:
        first = "; ".join(f"{key}: {reason}" for key, reason in list(skipped.items())[:5])
        more = "; ..." if len(skipped) > 5 else ""
        print(f"{name}: skipped {len(skipped)} of {len(bad)} files: {first}{more}", file=sys.stderr)
    if images.empty:
        why = f": {next(iter(skipped.values()))} ({next(iter(skipped))})" if skipped else ""
        raise LrfaceError(f"{name} has no usable image{why}")
    widths = [
        _width(root / path, height)
        for path, height in zip(images["path"], images["height"], strict=True)
    ]
    images.insert(images.columns.get_loc("height"), "width", widths)
    # faces in the order of images, and of the list within an image
    place = boxes["image"].map(pd.Series(images.index, images["key"]))
    boxes = boxes.iloc[place.argsort(kind="stable")]
    boxes = boxes[boxes["image"].isin(images["key"])].reset_index(drop=True)
    return SceneSet(name, root, images, boxes, True, rule, skipped)


def _width(file: Path, height: int) -> int:
    """The width of an image that is known to be sound and of this height, turned as it is read."""
    with Image.open(file) as image:
        return image.width if image.height == height else image.height


def subsets(boxes: pd.DataFrame) -> dict[str, np.ndarray]:
    """The groups of faces that WIDER FACE reports on, as far as the table's columns allow.

    Parameters
    ----------
    boxes : DataFrame
        As in :class:`SceneSet`.

    Returns
    -------
    dict
        Name -> bool (G,). ``height 10-50``, ``50-300`` and ``over 300``: the lower bound belongs
        to the group; only faces without occlusion where that is known. ``occlusion none``,
        ``partial``, ``heavy`` and ``pose typical``, ``atypical``: faces of at least 30 pixels.
        ``blur clear``, ``normal``, ``heavy``, ``expression`` and ``illumination`` are ours: the
        same faces of at least 30 pixels.

    Raises
    ------
    UsageError
        The table has no heights.

    Source
    ------
    WIDER FACE (Yang et al., CVPR 2016), section 3.3. To which group a bound belongs is not stated.

    Examples
    --------
    >>> boxes = pd.DataFrame({"h": [12, 50, 400, 80], "occlusion": [0, 0, 0, 2]})
    >>> {name: mask.tolist().count(True) for name, mask in subsets(boxes).items()}["height 50-300"]
    1
    """
    if "h" not in boxes:
        raise UsageError("the table of boxes has no column h")
    height = boxes["h"].to_numpy()
    free = boxes["occlusion"].to_numpy() == 0 if "occlusion" in boxes else np.ones(len(boxes), bool)
    found = {
        f"height {name}": (height >= low) & (height < high) & free
        for name, (low, high) in SIZES.items()
    }
    levels = {
        "occlusion": ("none", "partial", "heavy"),
        "pose": ("typical", "atypical"),
        "blur": ("clear", "normal", "heavy"),
        "expression": ("typical", "exaggerated"),
        "illumination": ("normal", "extreme"),
    }
    for column, names in levels.items():
        if column in boxes:
            value = boxes[column].to_numpy()
            found |= {
                f"{column} {name}": (height >= LEAST) & (value == level)
                for level, name in enumerate(names)
            }
    return found
