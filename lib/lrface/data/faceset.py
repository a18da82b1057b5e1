"""FaceSet: face images that are read from disk on demand, and a table with one row an image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from PIL import Image

from lrface.data import packed
from lrface.data.images import BadImage, Crop, located, read_rgb
from lrface.data.splits import manifest
from lrface.errors import LrfaceError

if TYPE_CHECKING:  # torch is imported where tensors are made: the renderer's workers never need it
    from torch import Tensor

THREADS = os.cpu_count() or 1
Source = Literal["hr", "native_lr", "downsampled"]
"""Which image of a moment is read; see :meth:`FaceSet.as_source`."""
_IN_KEYS = {"native_lr": "poor", "downsampled": "shrunken"}
"""How keys name a source. Fingerprints, and so the keys of trained networks, depend on it."""


@dataclass(frozen=True)
class FaceSet:
    """Face crops of one set. Images stay on disk; memory holds the table and one batch.

    ``table`` has the columns ``key, identity, split, path, digest`` and, where the set has them,
    ``group, gender, age, yaw, pitch, native, native_height, role, clip, frame, side, landmarks``
    and one boolean column an attribute, under the set's own names.

    - ``path`` is a file under ``root``, a square of one (:func:`lrface.data.images.address`;
      ``side`` is then the square's, in pixels before resizing), or a row of a Parquet file
      (:func:`lrface.data.packed.address`).
    - ``digest`` is 16 hex digits of the sha256 of the crop's pixels.
    - ``landmarks`` are float32 (68, 2) in pixels of the crop. Rendered sets leave theirs on disk:
      :meth:`stored`.
    - ``magnified`` says by how much the crop is enlarged about its centre, where faces were brought
      to one distance of the eyes (:func:`lrface.data.eye_distance.at_eye_distance`).
    - ``source`` says which image :meth:`read` gives, where that is not the HR crop
      (:meth:`as_source`).
    - ``native_path`` is where the native low-resolution capture is, if not at ``path``.
    """

    name: str
    root: Path
    table: pd.DataFrame
    crop: Crop
    photos: bool
    """True if these are photographs of real people, which are never published."""
    attributes: tuple[str, ...] = ()
    """Names of the table's attribute columns."""
    split_rule: str = ""
    skipped: dict[str, str] = field(default_factory=dict)
    """Key of each unusable file -> why it cannot be used."""
    side: int | None = None
    """Rows and columns of the images that are read; None: the crop's own size."""

    def __len__(self) -> int:
        return len(self.table)

    def read(self, row: int) -> np.ndarray:
        """One face, uint8 (side, side, 3): the HR crop, or the image that ``source`` names."""
        source = self.table["source"].iat[row] if "source" in self.table else "hr"
        image = self.native(row) if source == "native_lr" else self._crop(row)
        if "magnified" in self.table:
            return windowed(image, self.table["magnified"].iat[row], self.side)
        if source == "downsampled":
            image = _resized(image, self.table["native_height"].iat[row])
        return _resized(image, self.side or self.crop.size)

    def _crop(self, row: int, resize: bool = True) -> np.ndarray:
        path = self.table["path"].iat[row]
        try:
            file, square = located(path)
            content = self.root / file
            if packed.is_packed(path):
                content = packed.fetch(self.root, path) or b""
            return (self.crop if resize else self.crop.cut)(read_rgb(content), square)
        except BadImage as problem:  # it could be read when the set was loaded
            raise LrfaceError(
                f"{self.root / path}: {problem}; put the file back, or run the same command again "
                "without it"
            ) from None

    def native(self, row: int) -> np.ndarray:
        """The native low-resolution face, uint8 (h, h, 3), h being the row's ``native_height``.

        In rendered sets this is the low-quality camera's capture of the same moment, in sets of
        small faces the square of the image itself, not resized.
        """
        path = self.table["native_path" if "native_path" in self.table else "path"].iat[row]
        if not packed.is_packed(path) and self._is_native:
            return self._crop(row, resize=False)
        content = packed.fetch(self.root, path, "native") if packed.is_packed(path) else None
        if content is None:
            key = self.table["key"].iat[row]
            raise LrfaceError(
                f"{self.name} has no native low-resolution capture of {key}: use the synthetic set"
            )
        return read_rgb(content)

    @property
    def _is_native(self) -> bool:
        """Whether the set's images are native low-resolution faces, with no HR counterpart."""
        return not self.crop.box and not {"native", "side"}.isdisjoint(self.table)

    def as_source(self, source: Source, height: int | None = None) -> FaceSet:
        """The same moments from another image, resized to the crop's size by bicubic interpolation.

        Parameters
        ----------
        source : {"hr", "native_lr", "downsampled"}
            ``hr``: the HR crop. ``native_lr``: the native low-resolution capture. ``downsampled``:
            the HR crop, first down-sampled to the height of the row's native capture (bicubic, with
            antialiasing).
        height : int, optional
            Down-sample to this many pixels instead.

        Returns
        -------
        FaceSet
            With other keys and digests, so that no set is mistaken for another.

        Raises
        ------
        LrfaceError
            The set has no native low-resolution faces, and they are needed.

        Examples
        --------
        >>> from lrface import data
        >>> faces = data.load("synthetic", "val", 2)
        >>> small = faces.as_source("downsampled", 20)
        >>> small.read(0).shape, small.table["source"].tolist()
        ((128, 128, 3), ['downsampled', 'downsampled'])
        >>> faces.as_source("native_lr").fingerprint != faces.fingerprint
        True
        """
        if source == "hr":
            return self
        table = self.table.assign(source=source)
        if height is not None:
            table["native_height"] = height
        elif "native_height" not in table:
            if "side" not in table:
                advice = "use synthetic, tinyface or ytf"
                raise LrfaceError(f"{self.name} has no native low-resolution faces: {advice}")
            table["native_height"] = table["side"]
        if source == "downsampled":
            marks = table["digest"] + ":" + table["native_height"].astype(str)
            table["digest"] = [hashlib.sha256(mark.encode()).hexdigest()[:16] for mark in marks]
        elif "native_digest" in table:
            table["digest"] = table["native_digest"]
        elif not self._is_native:
            with ThreadPoolExecutor(THREADS) as pool:
                captures = pool.map(self.native, range(len(self)))
                digests = [hashlib.sha256(image.tobytes()).hexdigest() for image in captures]
            table["digest"] = [digest[:16] for digest in digests]
        suffix = _IN_KEYS[source] if height is None else f"{_IN_KEYS[source]} {height}"
        table["key"] += f"/{suffix}"
        return replace(self, table=table)

    def sized(self, side: int | None) -> FaceSet:
        """The same faces, read at another size.

        Parameters
        ----------
        side : int or None
            Width and height in pixels, by bicubic interpolation (with antialiasing where that is
            smaller than the crop); None: the crop's own size.

        Examples
        --------
        >>> from lrface import data
        >>> data.load("synthetic", "val", 2).sized(64).read(0).shape
        (64, 64, 3)
        """
        return replace(self, side=side)

    def stored(self, *columns: str) -> pd.DataFrame:
        """Columns that a rendered set leaves on disk (``landmarks``, ``landmarks_visible``).

        One row an image, in the order of ``table``.
        """
        return packed.columns(self.root, self.table["path"], list(columns))

    def stack(self, rows: Sequence[int]) -> Tensor:
        """The images of some rows, decoded by as many threads as there are cores.

        Parameters
        ----------
        rows : sequence of int
            Positions in ``table``, in any order; they may repeat.

        Returns
        -------
        Tensor
            uint8 (len(rows), 3, H, W).

        Examples
        --------
        >>> from lrface import data
        >>> data.load("synthetic", "val", 4).stack([3, 0]).shape
        torch.Size([2, 3, 128, 128])
        """
        import torch

        with ThreadPoolExecutor(THREADS) as pool:
            crops = list(pool.map(self.read, rows))
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in the order of ``table``; the next batch is decoded in the background.

        Parameters
        ----------
        size : int
            Images a batch; the last may be smaller.

        Yields
        ------
        Tensor
            uint8 (N, 3, H, W).

        Examples
        --------
        >>> from lrface import data
        >>> [len(batch) for batch in data.load("synthetic", "val", 5).batches(2)]
        [2, 2, 1]
        """
        rows = [range(i, min(i + size, len(self))) for i in range(0, len(self), size)]
        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(self.stack, rows[0]) if rows else None
            for following in [*rows[1:], None]:
                batch = pending.result() if pending else None
                pending = ahead.submit(self.stack, following) if following is not None else None
                if batch is not None:
                    yield batch

    def where(self, mask: pd.Series | np.ndarray) -> FaceSet:
        """The rows where a mask is true.

        Parameters
        ----------
        mask : bool (N,)
            One value a row of ``table``.

        Examples
        --------
        >>> from lrface import data
        >>> faces = data.load("synthetic", "val", 40)
        >>> frontal = faces.where(faces.table["yaw"].abs() < 10)
        >>> 0 < len(frontal) < 40
        True
        """
        return replace(self, table=self.table[np.asarray(mask)].reset_index(drop=True))

    @property
    def streams(self) -> Tensor:
        """The number of each face's noise stream (see :class:`lrface.degrade.Degradation`).

        int64 (N,), from the key alone, at least 2**61: a face gets the same noise whatever subset
        it is in, and none that a training uses, which numbers its samples from 0.

        Examples
        --------
        >>> from lrface import data, degrade
        >>> faces = data.load("synthetic", "val", 2)
        >>> hr = faces.stack(range(2)).float() / 255
        >>> noisy = degrade.setting("4x_DN")(hr, faces.streams)
        >>> alone = degrade.setting("4x_DN")(hr[1:], faces.streams[1:])
        >>> bool((noisy[1] == alone[0]).all())
        True
        """
        import torch

        digests = (hashlib.sha256(key.encode()).digest() for key in self.table["key"])
        return torch.tensor(
            [(1 << 61) + (int.from_bytes(d[:7], "big")) for d in digests], dtype=torch.int64
        )

    @cached_property  # a study asks for that of a million faces once a network
    def fingerprint(self) -> str:
        """16 hex digits over the crop rule and every (key, identity, digest).

        It changes when a pixel or an identity does, and not with the order of the rows.

        Examples
        --------
        >>> from lrface import data
        >>> data.load("synthetic", "val").fingerprint
        'ca4b5a8b51c6bdf6'
        """
        digest = hashlib.sha256(f"{self.name}\n{self.crop}\n{self.side or ''}".encode())
        rows = self.table[["key", "identity", "digest"]].sort_values("key")
        for row in rows.itertuples(index=False):
            digest.update(f"{row.key}\t{row.identity}\t{row.digest}\n".encode())
        return digest.hexdigest()[:16]

    def classes(self, learns: str) -> tuple[list[str], np.ndarray]:
        """Class names and labels for a network that learns ``identity`` or ``attributes``.

        Returns
        -------
        names : list of str
            Identities in alphabetical order, or ``attributes``.
        labels : ndarray
            For identities int64 (N,), the position of each face's identity in ``names``; for
            attributes float32 (N, A), 1 where a face has the attribute.

        Raises
        ------
        LrfaceError
            The set has no attributes.
        """
        if learns == "identity":
            names, labels = np.unique(self.table["identity"].to_numpy(str), return_inverse=True)
            return names.tolist(), labels
        if not self.attributes:
            raise LrfaceError(
                f"{self.name} knows no attributes of its faces: choose a set that does "
                "(synthetic, celeba)"
            )
        return list(self.attributes), self.table[list(self.attributes)].to_numpy(np.float32)

    @cached_property
    def attributes_fingerprint(self) -> str:
        """:attr:`fingerprint` extended by the attributes: changes when any attribute does."""
        labels = np.packbits(self.table.sort_values("key")[list(self.attributes)].to_numpy(bool))
        text = f"{self.fingerprint}{self.attributes}".encode() + labels.tobytes()
        return hashlib.sha256(text).hexdigest()[:16]

    @property
    def manifest(self) -> dict:
        """Split rule, counts and the sha256 of the assignment (:func:`splits.manifest`)."""
        return manifest(self.table, self.split_rule)


@dataclass(frozen=True)
class Pooled(FaceSet):
    """Faces of several sets as one; each is read as its own set reads it.

    ``table`` has two more columns: ``part``, the number of the set, and ``row``, the row in it.
    """

    parts: tuple[FaceSet, ...] = ()

    def read(self, row: int) -> np.ndarray:
        return self.parts[self.table["part"].iat[row]].read(self.table["row"].iat[row])


def pooled(*parts: FaceSet) -> Pooled:
    """Several sets as one set of all their rows.

    Parameters
    ----------
    *parts : FaceSet
        Sets whose images have the same size.

    Returns
    -------
    Pooled
        Its table has ``key, identity, split, path, digest, source`` and ``native_height``.

    Raises
    ------
    LrfaceError
        Their images differ in size.
    """
    columns = ["key", "identity", "split", "path", "digest", "source", "native_height"]
    tables = [
        part.table.reindex(columns=columns)
        .fillna({"source": "hr"})
        .assign(part=i, row=range(len(part)))
        for i, part in enumerate(parts)
    ]
    sizes = {part.side or part.crop.size for part in parts}
    if len(sizes) > 1:
        raise LrfaceError(
            f"faces of {sizes} pixels do not go together: give them one side first (FaceSet.sized)"
        )
    first = parts[0]
    return Pooled(
        name=" + ".join(dict.fromkeys(part.name for part in parts)),
        root=first.root,
        table=pd.concat(tables, ignore_index=True),
        crop=first.crop,
        photos=any(part.photos for part in parts),
        split_rule=" + ".join(dict.fromkeys(part.split_rule for part in parts)),
        side=first.side,
        parts=parts,
    )


def windowed(image: np.ndarray, magnified: float, side: int) -> np.ndarray:
    """A window about the centre of a square image, uint8 (side, side, 3), magnified (bicubic, with
    antialiasing); beyond the border the image is mirrored.

    Examples
    --------
    >>> windowed(np.full((8, 8, 3), 7, np.uint8), 2.0, 12).shape
    (12, 12, 3)
    """
    seen = side / magnified
    beyond = max(0, int(np.ceil((seen - len(image)) / 2)))
    if beyond:
        image = np.pad(image, ((beyond, beyond), (beyond, beyond), (0, 0)), "symmetric")
    first = (len(image) - seen) / 2
    box = (first, first, first + seen, first + seen)
    picture = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC, box)
    return np.asarray(picture)


def _resized(image: np.ndarray, side: int) -> np.ndarray:
    if len(image) == side:
        return image
    size = (int(side), int(side))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
