"""Fetching face sets, where keepers and hosts allow it: terms first, then files by checksum.

CelebA and WIDER FACE come by torchvision's own downloaders, which know their files and checksums;
their host asks for the package gdown. LFW's list of pairs comes from the address that scikit-learn
has. For all other files and sets :data:`ADDRESSES` says where to ask.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from lrface.errors import LrfaceError, UsageError
from lrface.files import progress, sha256

CHUNK = 1 << 20
SECONDS = 60
"""How long a server may be silent."""
ADDRESSES = {
    "celeba": "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    "edface": "https://github.com/HDCVLab/EDFace-Celeb-1M",
    "fddb": "http://vis-www.cs.umass.edu/fddb/",
    "ijbc": "https://www.nist.gov/programs-projects/face-challenges",
    "lfw": "http://vis-www.cs.umass.edu/lfw/ (its deep-funneled pictures, lfw-deepfunneled.tgz)",
    "tinyface": "https://qmul-tinyface.github.io/",
    "wider": "http://shuoyang1213.me/WIDERFACE/",
    "ytf": "https://www.cs.tau.ac.il/~wolf/ytfaces/",
}
"""Where the keepers of a set give it, and its terms, to those who ask."""
RESEARCH = "for non-commercial research; pictures may not be given on"
TERMS = {
    "celeba": f"CelebA: {RESEARCH}.",
    "lfw": "LFW: for research; its keepers warn that it is no test of commercial products.",
    "wider": f"WIDER FACE: {RESEARCH}.",
}
"""Of the sets that can be fetched, in our words; those of the address hold."""


@dataclass(frozen=True)
class Remote:
    """A file on a server."""

    url: str
    sha256: str
    target: str
    """Its place under the data root."""


PAIRS = Remote(
    "https://ndownloader.figshare.com/files/5976006",
    "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",
    "lfw/pairs.txt",
)


def terms(name: str) -> str:
    """What those who fetch a set agree to, with its address.

    Raises
    ------
    UsageError
        It cannot be fetched; the sentence says what to do.

    Examples
    --------
    >>> terms("ytf")
    Traceback (most recent call last):
        ...
    lrface.errors.UsageError: ytf cannot be fetched for you: ask its keepers at \
    https://www.cs.tau.ac.il/~wolf/ytfaces/, then see `lrface list` for its place
    """
    if name in TERMS:
        return f"{TERMS[name]} The terms are those at {ADDRESSES[name]}."
    if name in ADDRESSES:
        raise UsageError(
            f"{name} cannot be fetched for you: ask its keepers at {ADDRESSES[name]}, then see "
            "`lrface list` for its place"
        )
    raise UsageError(f"no set {name!r} can be fetched: choose one of {', '.join(TERMS)}")


def fetch(name: str, root: Path) -> str:
    """Fetch a set into a data root; what is there already is not fetched again.

    Returns
    -------
    str
        What is still to do, if anything.

    Raises
    ------
    UsageError
        The set cannot be fetched (:func:`terms`).
    LrfaceError
        The download failed; the same call goes on where it stopped.
    """
    terms(name)
    if name == "lfw":
        download(PAIRS, root)
        if (root / "lfw" / "lfw-deepfunneled").is_dir():
            return ""
        return f"its pictures are no longer given to programs: fetch them at {ADDRESSES['lfw']}"
    from torchvision import datasets  # slow to import: only these sets need it

    if name == "celeba":
        _by_torchvision(name, lambda: datasets.CelebA(root, split="all", download=True))
    else:
        # torchvision has another name for the folder
        folder, theirs = root / "wider", root / "widerface"
        if folder.is_dir() and not theirs.exists():
            folder.rename(theirs)
        try:
            _by_torchvision(name, lambda: datasets.WIDERFace(root, split="val", download=True))
        finally:
            if theirs.is_dir():
                theirs.rename(folder)
    return ""


def _by_torchvision(name: str, make: Callable[[], object]) -> None:
    if find_spec("gdown") is None:
        raise LrfaceError(
            f"{name} lies on Google Drive, and torchvision fetches it by the package gdown: "
            f"`pip install gdown`, or fetch it by hand at {ADDRESSES[name]}"
        )
    try:
        make()
    except Exception as error:  # gdown, requests, zipfile: of many kinds
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LrfaceError(
            f"{name} could not be fetched ({first[:160]}): its host allows only so many downloads "
            f"a day; try again tomorrow, or fetch it by hand at {ADDRESSES[name]}"
        ) from None


def download(remote: Remote, root: Path) -> Path:
    """Fetch a file and check it; an interrupted download goes on where it stopped.

    Raises :class:`LrfaceError` with file, address, checksum and what to do.
    """
    target = root / remote.target
    if target.is_file() and sha256(target) == remote.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    try:
        _receive(remote.url, part, target.name)
        found = sha256(part)
    except (OSError, ValueError) as error:  # URLError is an OSError
        reason = getattr(error, "reason", None) or error
        raise LrfaceError(
            f"cannot fetch {target.name} from {remote.url} ({reason}): check the network and run "
            f"the same command again, or put the file with sha256 {remote.sha256} at {target}"
        ) from None
    if found != remote.sha256:
        part.unlink()
        raise LrfaceError(
            f"{target.name} from {remote.url} has sha256 {found} and not {remote.sha256}: it is "
            f"another file, or damaged; run the same command again, or put the right one at "
            f"{target}"
        )
    os.replace(part, target)
    return target


def _receive(url: str, part: Path, name: str) -> None:
    """Append what is missing of a file to ``part``."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=SECONDS)
    except urllib.error.HTTPError as error:
        if start and error.code == 416:  # nothing is missing
            return
        raise
    with answer:
        goes_on = start and answer.status == 206
        length = int(answer.headers.get("Content-Length") or 0)
        done = 0
        with open(part, "ab" if goes_on else "wb") as file, progress(name, length) as advance:
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                advance(len(chunk))
        if done < length:
            raise OSError(f"the connection ended after {done} of {length} bytes")
