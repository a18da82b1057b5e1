"""ClipSet: clips of one person each, as frames that are read from disk on demand."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lrface.data.faceset import FaceSet
from lrface.data.splits import manifest
from lrface.errors import LrfaceError

if TYPE_CHECKING:
    from torch import Tensor

FRAMES = 7
"""Frames of a clip, as in VidFace."""
HEIGHT, WIDTH = 128, 96
"""Rows and columns of a frame, as in VidFace: the middle columns of a face crop."""


@dataclass(frozen=True)
class ClipSet:
    """Clips of a set: so many frames of one person each, in the order of the video.

    Made by :func:`lrface.data.load_clips`. Frames stay on disk, and of a set that is rendered on
    demand even the list of them is made when it is first needed.

    A clip with more frames gives ``frames`` of them at equal distances (one: the middle one), one
    with fewer repeats its own from the first on; :attr:`details` says how many there were.
    """

    name: str
    open: Callable[[], FaceSet]
    """Gives all frames, as a FaceSet whose table has the columns ``clip`` and ``frame``."""
    frames: int = FRAMES
    captured: bool = False
    """Whether small frames are native captures by the poor camera (:meth:`native`)."""
    recipe: str | None = None
    """What a set that is rendered on demand is made by: its fingerprint is a hash of this."""
    listed: pd.DataFrame | None = None
    """The ``table`` of such a set, which is known before it is rendered."""
    attributes: tuple[str, ...] = ()

    @cached_property
    def faces(self) -> FaceSet:
        """The frames, a row each, sorted by clip and frame."""
        found = self.open()
        order = found.table.sort_values(["identity", "clip", "frame"], kind="stable").index
        return replace(found, table=found.table.loc[order].reset_index(drop=True))

    @cached_property
    def rows(self) -> np.ndarray:
        """The rows of ``faces`` that make up each clip, int64 (N, T)."""
        groups = self._groups.indices
        return np.stack([_chosen(groups[key], self.frames) for key in self.table.index])

    @property
    def _groups(self):
        table = self.faces.table
        return table.groupby([table["identity"], table["clip"].astype(str)], sort=True)

    @cached_property
    def table(self) -> pd.DataFrame:
        """``key`` (identity/clip), ``identity`` and ``split`` of each clip, in order."""
        if self.listed is not None:
            return self.listed
        table = self._groups[["identity", "split"]].first()
        table.insert(0, "key", [key_of(*index) for index in table.index])
        return table

    @property
    def details(self) -> pd.DataFrame:
        """What is known of each clip beside its ``table``, in its order.

        ``found`` (frames that the set has of it), and where the set knows the poses ``yaw_span``
        and ``pitch_span``: largest minus smallest, in degrees.
        """
        groups = self._groups
        found = {"found": groups.size()}
        for angle in ("yaw", "pitch"):
            if angle in self.faces.table:
                found[f"{angle}_span"] = groups[angle].max() - groups[angle].min()
        return pd.DataFrame(found).loc[self.table.index]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def photos(self) -> bool:
        """Whether these are photographs of real people, which are never published."""
        return self.faces.photos

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when a frame, a clip or the number of frames does."""
        base = self.recipe
        if base is None:
            base = self.faces.fingerprint + self.faces.table["clip"].astype(str).str.cat(sep="/")
        facts = f"{self.name}\n{base}\n{self.frames}\n{HEIGHT}x{WIDTH}\n{self.captured}"
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    @property
    def manifest(self) -> dict:
        """Split rule, counts and the sha256 of the assignment (:func:`splits.manifest`)."""
        return manifest(self.table.reset_index(drop=True), self.faces.split_rule)

    def _rows_of(self, clips: Sequence[int], order: np.ndarray | None) -> np.ndarray:
        rows = self.rows[np.asarray(clips, dtype=int)]
        return rows if order is None else np.take_along_axis(rows, order, 1)

    def stack(self, clips: Sequence[int], order: np.ndarray | None = None) -> Tensor:
        """The frames of some clips.

        Parameters
        ----------
        clips : sequence of int
            Positions in ``table``, in any order; they may repeat.
        order : int (len(clips), t), optional
            Which frames of each are read, in which order; all by default.

        Returns
        -------
        Tensor
            uint8 (len(clips), t, 3, 128, 96).

        Examples
        --------
        >>> from lrface import data
        >>> data.load_clips("synthetic-clips", "val").stack([0]).shape
        torch.Size([1, 7, 3, 128, 96])
        """
        rows = self._rows_of(clips, order)
        pictures = self.faces.stack(rows.ravel().tolist())
        left = (pictures.shape[3] - WIDTH) // 2
        return pictures[..., left : left + WIDTH].unflatten(0, rows.shape)

    def captures(self, clips: Sequence[int], order: np.ndarray | None = None) -> Tensor:
        """Their native captures, uint8 (len(clips), t, 3, 16, 12); otherwise as :meth:`stack`."""
        import torch

        rows = self._rows_of(clips, order)
        pictures = np.stack([self.faces.native(row) for row in rows.ravel()])
        side = pictures.shape[1]
        width = side * WIDTH // HEIGHT
        left = (side - width) // 2
        pictures = np.ascontiguousarray(pictures[:, :, left : left + width])
        return torch.from_numpy(pictures).permute(0, 3, 1, 2).unflatten(0, rows.shape)

    def batches(self, size: int) -> Iterator[Tensor]:
        """All clips in the order of ``table``, uint8 (N, T, 3, 128, 96) at a time."""
        for first in range(0, len(self), size):
            yield self.stack(range(first, min(first + size, len(self))))

    @cached_property
    def landmarks(self) -> np.ndarray:
        """68 landmarks of every frame, float32 (N, T, 68, 2), in its pixels; NaN where unknown."""
        from lrface.data.landmarks import landmarks

        side = self.faces.side or self.faces.crop.size
        return landmarks(self.faces)[self.rows] - np.float32([(side - WIDTH) // 2, 0])

    @property
    def streams(self) -> Tensor:
        """The number of each frame's noise stream, int64 (N, T) (:attr:`FaceSet.streams`)."""
        return self.faces.streams[self.rows]

    def native(self) -> ClipSet:
        """The same clips, with native captures by the poor camera as their small frames.

        Raises :class:`LrfaceError` where the set has none; only rendered clips do.
        """
        if self.recipe is None:
            raise LrfaceError(f"{self.name} has no native captures of clips: use rendered-clips")
        return replace(self, captured=True)

    def where(self, mask: pd.Series | np.ndarray) -> ClipSet:
        """The clips where a mask, bool (N,), is true."""
        kept = self.rows[np.asarray(mask)].ravel()
        here = np.zeros(len(self.faces), bool)
        here[kept] = True
        return replace(
            self, open=partial(at_hand, self.faces.where(here)), recipe=None, listed=None
        )


def key_of(identity: str, clip: str) -> str:
    """The key ``identity/clip`` of a clip, whose own name may already begin with the identity."""
    return clip if clip.startswith(f"{identity}/") else f"{identity}/{clip}"


def usable(name: str, table: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The key of each frame's clip, and the keys of the clips that can be used, once each.

    Others are counted and named on stderr: those of a single frame, and those whose frames differ
    in ``size``, where the table has that column.
    """
    names = zip(table["identity"], table["clip"].astype(str), strict=True)
    clip = pd.Series([key_of(*pair) for pair in names])
    sizes = table["size"].groupby(clip).nunique() if "size" in table else {}
    unusable = {
        "have a single frame": clip.map(clip.value_counts()) < 2,
        "have frames of different sizes": clip.map(sizes) > 1,
    }
    for what, which in unusable.items():
        if which.any():
            some = clip[which].unique()
            more = ", ..." if len(some) > 5 else ""
            skipped = f"skipped {len(some)} of {clip.nunique()} clips, which {what}"
            print(f"{name}: {skipped}: {', '.join(some[:5])}{more}", file=sys.stderr)
    return clip, clip[~pd.concat(unusable, axis=1).any(axis=1)].drop_duplicates()


def at_hand(faces: FaceSet) -> FaceSet:
    """The frames themselves: what :attr:`ClipSet.open` calls where they are loaded already."""
    return faces


def _chosen(rows: np.ndarray, count: int) -> np.ndarray:
    """``count`` of a clip's rows at equal distances, or all of them again and again."""
    if count == 1:
        return rows[[len(rows) // 2]]
    if len(rows) < count:
        return np.resize(rows, count)
    return rows[np.linspace(0, len(rows) - 1, count).round().astype(int)]
