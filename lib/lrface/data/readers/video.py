"""Your own videos: ``video:PATH``, a video or GIF, or a folder of them; a clip a file."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
from filelock import FileLock
from PIL import Image

from lrface.data import video_files
from lrface.data.images import Crop
from lrface.errors import LrfaceError
from lrface.files import cache_dir, progress, sha256

LAYOUT = "a video or GIF of one person, or a folder of them (.mp4, .mov, .mkv, .webm, .gif, ...)"
CROP = Crop(pad=True)
VERSION = 1
"""Raise it when other faces are found, or they are cut otherwise: what is in the cache is left."""


def read(root: Path) -> pd.DataFrame:
    """The table of a video or of a folder: ``key, path, identity, clip, frame, side, problem``.

    A row is a frame that shows a face: the square around the most confident one, not aligned, is
    cut out and kept in the cache as PNG. ``clip`` and ``identity`` are the file's name without its
    suffix, ``frame`` is counted from 0 in the video. A video of a folder that cannot be used has
    one row, and ``problem`` says why.

    Raises :class:`LrfaceError` if there is no video, or the single one cannot be used.
    """
    rows = [row for file in _files(root) for row in _rows(file, alone=file == root)]
    return pd.DataFrame(rows)


def _files(root: Path) -> list[Path]:
    if not root.is_dir():
        return [root]
    shown = (path for path in root.iterdir() if path.is_file() and path.name[0] != ".")
    found = sorted(path for path in shown if path.suffix.lower() in video_files.SUFFIXES)
    if not found:
        kinds = ", ".join(sorted(video_files.SUFFIXES))
        raise LrfaceError(f"folder {root} holds no video ({kinds}): give video:PATH, {LAYOUT}")
    stems = [path.stem for path in found]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise LrfaceError(
            f"folder {root} holds two videos named {twice[0]}, which would be one clip: rename one"
        )
    return found


def _rows(file: Path, alone: bool) -> list[dict]:
    folder = cache_dir("videos") / f"{sha256(file)[:16]}-{VERSION}"
    with FileLock(folder.with_suffix(".lock")):
        if not (folder / "frames.json").is_file():
            _cut_faces(file, folder)
    found = json.loads((folder / "frames.json").read_text())
    who = {"identity": file.stem, "clip": file.stem}
    if problem := found["problem"]:
        if alone:
            raise LrfaceError(f"{file}: {problem}; give video:PATH, {LAYOUT}")
        return [{"key": file.name, **who, "path": "", "frame": 0, "side": 0, "problem": problem}]
    return [
        {
            "key": f"{file.stem}/{frame:06d}.png",
            **who,
            "path": str(folder / f"{frame:06d}.png"),
            "frame": frame,
            "side": side,
            "problem": "",
        }
        for frame, side in found["sides"]
    ]


def _cut_faces(file: Path, folder: Path) -> None:
    """Write the face crops of a video and their list, or the reason why there are none."""
    work = Path(tempfile.mkdtemp(prefix=".part-", dir=folder.parent))
    sides, problem = [], ""
    try:
        try:
            with progress(f"faces in {file.name}", video_files.properties(file).frames) as advance:
                squares = video_files.faces(video_files.frames(file), advance)
            found = sum(square is not None for square in squares)
            if found < 2:
                which = "one" if found else "none"
                problem = f"{which} of its {len(squares)} frames shows a face, and a clip needs two"
            for frame, image in enumerate([] if problem else video_files.frames(file)):
                if square := squares[frame]:
                    crop = Image.fromarray(video_files.cut(image, square))
                    crop.save(work / f"{frame:06d}.png")
                    sides.append((frame, square[2]))
        except video_files.BadVideo as reason:
            problem = str(reason)
        (work / "frames.json").write_text(json.dumps({"problem": problem, "sides": sides}))
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(work, folder)
    except OSError as error:
        raise LrfaceError(
            f"cannot store the faces of {file} in {folder.parent} ({error.strerror}): free or "
            "choose another place by LRFACE_CACHE"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
