"""FaceSet: high-resolution faces read from disk when asked for, beside one table with a row an image."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lrface.data import packed
from lrface.data.images import BadImage, Crop, located, read_rgb
from lrface.data.splits import manifest
from lrface.errors import LrfaceError

if TYPE_CHECKING:  # torch is loaded where pictures become tensors: the generator's workers never need it
    from torch import Tensor

THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class FaceSet:
    """Face crops of one set. Images stay on disk: memory holds the table and the batch in hand, however large the set.

    ``table`` has the columns ``key, identity, split, path, digest`` and, where the set knows them, ``group, gender, age, yaw,
    pitch, native, native_height, role, clip, frame, side, landmarks`` and one boolean column an attribute, under the set's own names.
    ``path`` is a file under ``root``, one square of it (:func:`lrface.data.images.address`; ``side`` is then the square's, in pixels
    before it is resized), or the address of a row in a Parquet file (:mod:`lrface.data.packed`). ``landmarks`` are as :meth:`stored` ones.
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

    def __len__(self) -> int:
        return len(self.table)

    def read(self, row: int) -> np.ndarray:
        """The crop of one row, uint8 (size, size, 3)."""
        path = self.table["path"].iat[row]
        try:
            file, square = located(path)
            return self.crop(read_rgb(packed.fetch(self.root, path) or b"" if packed.is_packed(path) else self.root / file), square)
        except BadImage as problem:  # it could be read when the set was loaded
            raise LrfaceError(f"{self.root / path}: {problem}; put the file back, or run the same command again without it") from None

    def native(self, row: int) -> np.ndarray:
        """What a poor camera saw of the same moment, uint8 (h, h, 3) with h the row's ``native_height``; synthetic sets only."""
        path = self.table["path"].iat[row]
        content = packed.fetch(self.root, path, "native") if packed.is_packed(path) else None
        if content is None:
            raise LrfaceError(f"{self.name} has no native low-resolution capture of {self.table['key'].iat[row]}: use the synthetic set")
        return read_rgb(content)

    def stored(self, *columns: str) -> pd.DataFrame:
        """Columns a synthetic set leaves on disk (``landmarks``, ``landmarks_visible``), a row an image, in table order."""
        return packed.columns(self.root, self.table["path"], list(columns))

    def stack(self, rows: Sequence[int]) -> Tensor:
        """The crops of these rows as uint8 (N, 3, H, W), decoded by as many threads as there are cores."""
        import torch

        with ThreadPoolExecutor(THREADS) as pool:
            crops = list(pool.map(self.read, rows))
        return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).contiguous()

    def batches(self, size: int) -> Iterator[Tensor]:
        """All images in table order as uint8 (N, 3, H, W), ``size`` at a time; the next batch is decoded meanwhile."""
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
        """int64 (N,): a number a face, from its key alone, for its noise (see :class:`lrface.degrade.Degradation`).

        A face keeps its noise whatever subset it is in, and shares none with training, which counts its samples from 0.
        """
        import torch

        digests = (hashlib.sha256(key.encode()).digest() for key in self.table["key"])
        return torch.tensor([(1 << 61) + (int.from_bytes(d[:7], "big")) for d in digests], dtype=torch.int64)

    @cached_property  # a study asks for that of a million faces once a network
    def fingerprint(self) -> str:
        """16 hex digits over the crop rule and every (key, identity, pixel digest): changes when any pixel or label does."""
        digest = hashlib.sha256(f"{self.name}\n{self.crop}\n".encode())
        for row in self.table[["key", "identity", "digest"]].sort_values("key").itertuples(index=False):
            digest.update(f"{row.key}\t{row.identity}\t{row.digest}\n".encode())
        return digest.hexdigest()[:16]

    def classes(self, learns: str) -> tuple[list[str], np.ndarray]:
        """The names of what a network is to learn, and each face's labels: ``identity``: int64 (N,), the number of its identity among
        the names; ``attributes``: float32 (N, A), 1 for each that it has. A set that knows no attributes raises :class:`LrfaceError`."""
        if learns == "identity":
            names, labels = np.unique(self.table["identity"].to_numpy(str), return_inverse=True)
            return names.tolist(), labels
        if not self.attributes:
            raise LrfaceError(f"{self.name} knows no attributes of its faces: choose a set that does (synthetic, celeba)")
        return list(self.attributes), self.table[list(self.attributes)].to_numpy(np.float32)

    @cached_property
    def attributes_fingerprint(self) -> str:
        """As :attr:`fingerprint`, and it changes when any attribute does."""
        labels = np.packbits(self.table.sort_values("key")[list(self.attributes)].to_numpy(bool))
        return hashlib.sha256(f"{self.fingerprint}{self.attributes}".encode() + labels.tobytes()).hexdigest()[:16]

    @property
    def manifest(self) -> dict:
        """Split rule, counts and the sha256 of the assignment."""
        return manifest(self.table, self.split_rule)
