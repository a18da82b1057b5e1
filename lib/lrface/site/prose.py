"""Pages made of the project's own Markdown, with links that lead to pages and files of the site."""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path

from lrface.files import project_root

PAGES = {
    "README.md": "use.html",
    "results/README.md": "index.html#findings",
    "lib/lrface/data/embedded/DATASHEET.md": "datasheet.html",
    "CONTRIBUTING.md": "contributing.html",
    "CHANGELOG.md": "changelog.html",
}
"""Markdown of the repository that is a page: its path and the page's. What lies in ``docs/adapt``
is one, too, under its own name."""
ADAPT = "docs/adapt/"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
CODE = re.compile(r"(^```.*?^```$)", re.M | re.S)
STUDY = re.compile(r"results/[\w.-]+/\w+/\d\d_\w+/?")
ELSEWHERE = ("http://", "https://", "mailto:")


def url(path: str) -> str:
    """Where a file or a folder of the repository is on the site, from its first page.

    Examples
    --------
    >>> url("notebooks/01_degradation_settings.ipynb"), url("results/synthetic/quick/02_size")
    ('notebooks/01_degradation_settings.html', 'files.html#synthetic-quick-02-size')
    >>> url("LICENSE"), url(".github/workflows/site.yml")
    ('LICENSE.txt', 'github/workflows/site.yml.txt')
    """
    if path in PAGES:
        return PAGES[path]
    if path.startswith("notebooks/"):
        return path.replace(".ipynb", ".html")
    if path.startswith(ADAPT):
        return path.removeprefix("docs/").replace(".md", ".html")
    if STUDY.fullmatch(path):
        return f"files.html#{anchor(path.removeprefix('results/'))}"
    path = path.removeprefix(".")  # Sphinx copies no hidden folder
    # a browser shows a text and downloads what it does not know
    return path if path.endswith((".csv", ".json", ".png", ".md")) else f"{path}.txt"


def anchor(name: str) -> str:
    """A name as an anchor: a path, for instance.

    Examples
    --------
    >>> anchor("synthetic/quick/02_size/table4.csv")
    'synthetic-quick-02-size-table4-csv'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def relinked(text: str, folder: str, page: str) -> tuple[str, set[str]]:
    """Markdown with its links turned to the site's; blocks of code are left as they are.

    Parameters
    ----------
    text : str
    folder : str
        Where the text lies in the repository: its links are relative to that.
    page : str
        The page that shows it, from the site's first.

    Returns
    -------
    text : str
    files : set of str
        The files of the repository that it leads to, which are no pages.

    Examples
    --------
    >>> relinked("[next](02_x.ipynb#a), [here](#b)", "notebooks", "notebooks/01_x.html")
    ('[next](02_x.html#a), [here](#b)', set())
    """
    files = set()

    def turned(match: re.Match) -> str:
        picture, label, target = match.groups()
        if target.startswith(("#", *ELSEWHERE)):
            return match[0]
        target, _, part = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, target))
        place = url(path)
        of_pages = path.startswith(("notebooks/", ADAPT)) or path in PAGES
        if not of_pages and not STUDY.fullmatch(path):
            files.add(path)
        place = place.replace("#", f"#{part}" if part else "#", 1)
        place = f"{place}#{part}" if part and "#" not in place else place
        relative = os.path.relpath(place, posixpath.dirname(page) or ".")
        if picture:  # Sphinx would look for it beside the page's source
            return f'<img src="{relative}" alt="{label}">'
        return f"[{label}]({relative})"

    parts = CODE.split(text)  # every second one is code
    parts[::2] = [LINK.sub(turned, part) for part in parts[::2]]
    return "".join(parts), files


def write(source: Path) -> set[str]:
    """Write the pages made of the README, the datasheet and their like, and of ``docs/adapt``.

    Returns
    -------
    set of str
        The files of the repository that they lead to.
    """
    root, linked = project_root(), set()
    adapt = [path.relative_to(root).as_posix() for path in sorted((root / ADAPT).glob("*.md"))]
    for path, page in (PAGES | {path: url(path) for path in adapt}).items():
        if path == "results/README.md":  # the first page is made from the same findings
            continue
        text = (root / path).read_text(encoding="utf-8")
        if path == "README.md":
            text = without_findings(text)
        text, files = relinked(text, posixpath.dirname(path), page)
        (source / page.replace(".html", ".md")).write_text(text, encoding="utf-8")
        linked |= files
    return linked


def without_findings(text: str) -> str:
    """The README for a reader who has seen the answers: from its first command on."""
    _, _, rest = text.partition("<!-- end of findings -->")
    return "# Use it\n" + (rest or text.partition("\n")[2])
