"""The companion as a site: the answers, the executed notebooks, and networks in a browser.

``make site`` builds it from what is committed and computes no result again. ``docs/`` holds the
frame (settings, style, scripts, locked packages). Here is what makes its pages: :mod:`answers` the
front page, :mod:`notebooks` the studies, :mod:`prose` the pages made of Markdown, :mod:`lineage`
what made each table, :mod:`cards` and :mod:`face_cards` the released networks and the face sets;
and what a browser computes with: :mod:`networks`, :mod:`captures` and :mod:`playground`. A user's
own results are a page of their own: :mod:`own_report`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lrface.errors import LrfaceError
from lrface.execution.notebooks import every
from lrface.files import project_root
from lrface.site import answers, cards, face_cards, lineage, notebooks, playground, prose

__all__ = ["build", "stage"]

KEPT = ("csv", "md", "json", "png")
"""Of results and figures, what a reader can open: not scores, weights and PDFs."""
VENDORED = {
    "datatables.net/js/dataTables.min.js": "vendor",
    "datatables.net-dt/css/dataTables.dataTables.min.css": "vendor",
}
"""Scripts and styles of npm packages that pages load as they are."""


def build(target: Path, work: Path, say: Callable[[str], None] = print) -> None:
    """Build the site.

    Parameters
    ----------
    target : Path
        The folder of the finished site; what it held is replaced, and only by a whole site.
    work : Path
        A folder for what lies between. Networks that were exported before are taken from there.
    say : callable
        Is told what is being done.

    Raises
    ------
    LrfaceError
        Something that the site shows is missing, an exported network is not the released one, or
        Sphinx warns.
    """
    source, built = work / "source", work / "html"
    stage(source, say)
    say("networks for the browser")
    exported = playground.write(source / "_static" / "play", work / "networks")
    (source / "networks.md").write_text(cards.page(exported), encoding="utf-8")
    (source / "networks").mkdir()
    for name, text in cards.of_methods().items():
        (source / "networks" / f"{name}.md").write_text(text, encoding="utf-8")
    say("pages")
    # in a process of its own: Sphinx keeps what it has loaded
    command = [sys.executable, "-m", "sphinx", "-E", "-W", "--keep-going", "-q", "-j", "2"]
    done = subprocess.run([*command, "-b", "html", str(source), str(built)])
    if done.returncode:
        raise LrfaceError("Sphinx did not build the site: its messages are above")
    for rest in (".doctrees", ".buildinfo", "objects.inv", "_sources"):
        place = built / rest
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(built, target)
    say(f"{target / 'index.html'}")


def stage(source: Path, say: Callable[[str], None] = print) -> None:
    """Lay out what Sphinx builds from: the frame, the pages, and the files that pages lead to.

    Raises
    ------
    LrfaceError
        This is no copy of the repository, there are no findings, or an npm package is not
        installed.
    """
    root = project_root()
    if not (root / "docs" / "conf.py").is_file():
        raise LrfaceError(f"{root} has no docs/: the site is built in a copy of the repository")
    shutil.rmtree(source, ignore_errors=True)
    ignored = shutil.ignore_patterns("node_modules", "_build", "package*.json", "*.lock")
    shutil.copytree(root / "docs", source, ignore=ignored)
    for name, folder in VENDORED.items():
        file = root / "docs" / "node_modules" / name
        copy(file, source / "_static" / folder / file.name)
    say("answers and studies")
    made = lineage.of_everything()
    findings, contrasts = answers.read(root)
    studies = {notebook.stem: notebooks.study(notebook) for notebook in every()}
    (source / "index.md").write_text(answers.page(findings, root, studies))
    (source / "evidence.md").write_text(answers.evidence(contrasts))
    (source / "files.md").write_text(lineage.page(made))
    (source / "notebooks").mkdir()
    for notebook in every():
        staged = notebooks.staged(notebook, made, answers.of(findings, notebook.stem))
        (source / "notebooks" / notebook.name).write_text(json.dumps(staged, indent=1))
    linked = prose.write(source)
    faces, files = face_cards.page()
    (source / "faces.md").write_text(faces, encoding="utf-8")
    linked |= files
    beside = source / "_extra"
    for kind in ("results", "figures"):
        for file in sorted((root / kind).rglob("*")):
            inside = file.relative_to(root / kind)
            own = {"local", "smoke", "checkpoints", "scores"} & set(inside.parts)
            if file.suffix[1:] in KEPT and not own and file.name != "manifest.json":
                copy(file, beside / kind / inside)
    for name in linked:
        copy(root / name, beside / prose.url(name))


def copy(file: Path, target: Path) -> None:
    """Copy a file; the folder is made if it is absent.

    Raises
    ------
    LrfaceError
        There is no such file.
    """
    if not file.is_file():
        advice = "`make site` installs it" if "node_modules" in file.parts else "a page leads to it"
        raise LrfaceError(f"{file} is missing: {advice}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, target)
