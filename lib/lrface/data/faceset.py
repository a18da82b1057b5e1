"""FaceSet: high-resolution faces read from disk when asked for, beside one table with a row an
image."""

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

if (
    TYPE_CHECKING
):  # torch is loaded where pictures become tensors: the generator's workers never need it
    from torch import Tensor

THREADS = os.cpu_count() or 1
Source = Literal["hr", "native_lr", "downsampled"]
"""Which picture of a moment is read; see :meth:`FaceSet.as_source`."""
_IN_KEYS = {"native_lr": "poor", "downsampled": "shrunken"}
"""How keys name a source. Fingerprints, and so the keys of trained networks, depend on it."""


@dataclass(frozen=True)
class FaceSet:
    """Face crops of one set. Images stay on disk: memory holds the table and the batch in hand,
    however large the set.

    ``table`` has the columns ``key, identity, split, path, digest`` and, where the set knows them,
    ``group, gender, age, yaw, pitch, native, native_height, role, clip, frame, side, landmarks``
    and one boolean column an attribute, under the set's own names. ``path`` is a file under
    ``root``, one square of it (:func:`lrface.data.images.address`; ``side`` is then the square's,
    in pixels before it is resized), or the address of a row in a Parquet file
    (:mod:`lrface.data.packed`). ``landmarks`` are as :meth:`stored` ones. ``seen`` says what
    :meth:`read` gives where that is not the good picture (:meth:`as_source`), ``native_path`` where a
    capture lies that is not in the row at ``path``.
    """

    name: str
    root: Path
    table: pd.DataFrame
    crop: Crop
    photos: bool
    """True if the faces are real people's: their pictures stay out of anything that is published."""
    attributes: tuple[str, ...] = ()
    split_rule: str = ""
    skipped: dict[str, str] = field(default_factory=dict)
    """key -> why the file could not be used."""
    side: int | None = None
    """Rows and columns of what is read; None: as the crop rule has it."""

    def __len__(self) -> int:
        return len(self.table)

    def read(self, row: int) -> np.ndarray:
        """The face of one row, uint8 (size, size, 3): the crop, or what :meth:`as_source` put in its
        place."""
        source = self.table["source"].iat[row] if "source" in self.table else "hr"
        picture = self.native(row) if source == "native_lr" else self._crop(row)
        if source == "downsampled":
            picture = _resized(picture, self.table["native_height"].iat[row])
        return _resized(picture, self.side or self.crop.size)

    def _crop(self, row: int, resize: bool = True) -> np.ndarray:
        path = self.table["path"].iat[row]
        try:
            file, square = located(path)
            content = (
                packed.fetch(self.root, path) or b"" if packed.is_packed(path) else self.root / file
            )
            return (self.crop if resize else self.crop.cut)(read_rgb(content), square)
        except BadImage as problem:  # it could be read when the set was loaded
            raise LrfaceError(
                f"{self.root / path}: {problem}; put the file back, or run the same command again without it"
            ) from None

    def native(self, row: int) -> np.ndarray:
        """A face as small as it was captured, uint8 (h, h, 3) with h the row's ``native_height``:
        what a poor camera saw of the same moment (rendered sets), or the square of the picture
        itself, not resized (sets of small faces)."""
        path = self.table["native_path" if "native_path" in self.table else "path"].iat[row]
        if not packed.is_packed(path) and self.small:
            return self._crop(row, resize=False)
        content = packed.fetch(self.root, path, "native") if packed.is_packed(path) else None
        if content is None:
            raise LrfaceError(
                f"{self.name} has no native low-resolution capture of {self.table['key'].iat[row]}: use the synthetic set"
            )
        return read_rgb(content)

    @property
    def small(self) -> bool:
        """Whether the set's own pictures are native low-resolution faces, with no better picture of
        the same moment."""
        return not self.crop.box and {"native", "side"} & {*self.table}

    def as_source(self, source: Source, height: int | None = None) -> FaceSet:
        """The same moments from another picture, brought to the same size by bicubic interpolation.

        Parameters
        ----------
        source : ``hr`` (the crop), ``native_lr`` (the native low-resolution capture) or
            ``downsampled`` (the crop, bicubic with antialiasing, at the height of the row's native
            capture).
        height : down-sample to so many pixels instead.

        Returns
        -------
        The set with other keys and digests, so that no set is taken for another.

        Raises
        ------
        LrfaceError : the set has no native low-resolution faces, and they are needed.

        Examples
        --------
        >>> from lrface import data
        >>> faces = data.load("synthetic", "val", 2)
        >>> faces.as_source("downsampled", 20).read(0).shape
        (128, 128, 3)
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
        elif not self.small:
            with ThreadPoolExecutor(THREADS) as pool:
                pictures = pool.map(self.native, range(len(self)))
                digests = [hashlib.sha256(picture.tobytes()).hexdigest() for picture in pictures]
            table["digest"] = [digest[:16] for digest in digests]
        suffix = _IN_KEYS[source] if height is None else f"{_IN_KEYS[source]} {height}"
        table["key"] += f"/{suffix}"
        return replace(self, table=table)

    def sized(self, side: int | None) -> FaceSet:
        """The same faces, read ``side`` pixels wide (bicubic, antialiased where that is smaller);
        None: as the crop has them."""
        return replace(self, side=side)

    def stored(self, *columns: str) -> pd.DataFrame:
        """Columns a synthetic set leaves on disk (``landmarks``, ``landmarks_visible``), a row an
        image, in table order."""
        return packed.columns(self.root, self.table["path"], list(columns))

    def stack(self, rows: Sequence[int]) -> Tensor:
        """The crops of these rows as uint8 (N, 3, H, W), decoded by as many threads as there are
        cores."""
        import torch

        with ThreadPoolExecutor(THREADS) as pool:
            crops = list(pool.map(self.read, rows))
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in table order as uint8 (N, 3, H, W), ``size`` at a time; the next batch is
        decoded meanwhile."""
        rows = [range(i, min(i + size, len(self))) for i in range(0, len(self), size)]
        with ThreadPoolExecutor(1) as ahead:
            pending = ahead.submit(self.stack, rows[0]) if rows else None
            for following in [*rows[1:], None]:
                batch = pending.result() if pending else None
                pending = ahead.submit(self.stack, following) if following is not None else None
                if batch is not None:
                    yield batch

    def where(self, mask: pd.Series | np.ndarray) -> FaceSet:
        """The same set with only the rows where ``mask`` is true."""
        return replace(self, table=self.table[np.asarray(mask)].reset_index(drop=True))

    @property
    def streams(self) -> Tensor:
        """int64 (N,): a number a face, from its key alone, for its noise (see
        :class:`lrface.degrade.Degradation`).

        A face keeps its noise whatever subset it is in, and shares none with training, which counts
        its samples from 0.
        """
        import torch

        digests = (hashlib.sha256(key.encode()).digest() for key in self.table["key"])
        return torch.tensor(
            [(1 << 61) + (int.from_bytes(d[:7], "big")) for d in digests], dtype=torch.int64
        )

    @cached_property  # a study asks for that of a million faces once a network
    def fingerprint(self) -> str:
        """16 hex digits over the crop rule and every (key, identity, pixel digest): changes when
        any pixel or label does."""
        digest = hashlib.sha256(f"{self.name}\n{self.crop}\n{self.side or ''}".encode())
        for row in (
            self.table[["key", "identity", "digest"]].sort_values("key").itertuples(index=False)
        ):
            digest.update(f"{row.key}\t{row.identity}\t{row.digest}\n".encode())
        return digest.hexdigest()[:16]

    def classes(self, learns: str) -> tuple[list[str], np.ndarray]:
        """The names of what a network is to learn, and each face's labels: ``identity``: int64
        (N,), the number of its identity among the names; ``attributes``: float32 (N, A), 1 for each
        that it has. A set that knows no attributes raises :class:`LrfaceError`."""
        if learns == "identity":
            names, labels = np.unique(self.table["identity"].to_numpy(str), return_inverse=True)
            return names.tolist(), labels
        if not self.attributes:
            raise LrfaceError(
                f"{self.name} knows no attributes of its faces: choose a set that does (synthetic, celeba)"
            )
        return list(self.attributes), self.table[list(self.attributes)].to_numpy(np.float32)

    @cached_property
    def attributes_fingerprint(self) -> str:
        """As :attr:`fingerprint`, and it changes when any attribute does."""
        labels = np.packbits(self.table.sort_values("key")[list(self.attributes)].to_numpy(bool))
        return hashlib.sha256(
            f"{self.fingerprint}{self.attributes}".encode() + labels.tobytes()
        ).hexdigest()[:16]

    @property
    def manifest(self) -> dict:
        """Split rule, counts and the sha256 of the assignment."""
        return manifest(self.table, self.split_rule)


@dataclass(frozen=True)
class Pooled(FaceSet):
    """Faces of several sets as one, read each as its own set reads it. ``table`` has ``part`` and
    ``row``: which set's, and where in it."""

    parts: tuple[FaceSet, ...] = ()

    def read(self, row: int) -> np.ndarray:
        return self.parts[self.table["part"].iat[row]].read(self.table["row"].iat[row])


def pooled(*parts: FaceSet) -> Pooled:
    """Several sets of one ``side`` as one set of all their rows: ``key, identity, split, path,
    digest, source`` and ``native_height``."""
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
    name, rule = (
        " + ".join(dict.fromkeys(texts))
        for texts in ([p.name for p in parts], [p.split_rule for p in parts])
    )
    photos = any(part.photos for part in parts)
    return Pooled(
        name,
        first.root,
        pd.concat(tables, ignore_index=True),
        first.crop,
        photos,
        (),
        rule,
        {},
        first.side,
        parts,
    )


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    if len(picture) == side:
        return picture
    return np.asarray(
        Image.fromarray(picture).resize((int(side), int(side)), Image.Resampling.BICUBIC)
    )
