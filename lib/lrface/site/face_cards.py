"""The cards of the face sets: of rendered ones from their manifests, of others from their readers.

Both say what was scored on the set, from the records of the studies, and what it is not for.
"""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

from lrface import data
from lrface.checks import study_results
from lrface.checks.study_results import StudyResults
from lrface.data import fetch, rendered_scenes
from lrface.data.readers.rendered import EMBEDDED
from lrface.errors import LrfaceError
from lrface.files import project_root, sha256
from lrface.site import prose

RENDERED = {
    "synthetic": "The default: rendered people, the first generation.",
    "synthetic-2": "The same people by the second generation, closer to photographs.",
}
NOT_FOR = (
    "**Not for** claims about people or groups of people, recognition of real persons, or how "
    "well anything does on photographs."
)
NOT_FOR_REAL = (
    "**Not in the repository**, in no file and no notebook: its numbers are, its pictures never. "
    "**Not for** finding out who somebody is, nor for anything its keepers' terms forbid; those "
    "of a reader's country hold besides."
)


def page() -> tuple[str, set[str]]:
    """The page ``faces``, and the files of the repository that it leads to.

    Raises
    ------
    LrfaceError
        A manifest of an embedded set is missing or damaged.
    """
    measured = study_results.find(project_root())
    parts = [
        "# Face sets",
        "What the studies' faces are, where they come from, and what was scored on them. The "
        "[datasheet](lib/lrface/data/embedded/DATASHEET.md) says of the rendered ones how they "
        "were made, how like photographs they are, and what is wrong with them.",
        "## Rendered: nobody in them exists",
        *(rendered(name, of(name, measured)) for name in RENDERED),
        *map(scenes, rendered_scenes.SCENES),
        "## Photographs: at hand only for those who hold them",
        NOT_FOR_REAL,
        *(real(name, of(name, measured)) for name in sorted(set(fetch.ADDRESSES) | {"tufs"})),
    ]
    return prose.relinked("\n\n".join(parts) + "\n", "", "faces.html")


def of(name: str, measured: list[StudyResults]) -> list[StudyResults]:
    """What was measured on a set; of smoke runs nothing counts."""
    return [one for one in measured if one.data == name and one.preset != "smoke"]


def rendered(name: str, measured: list[StudyResults], folder: Path | None = None) -> str:
    """The card of an embedded set of rendered faces.

    Parameters
    ----------
    name : str
        A key of :data:`RENDERED`.
    measured : list of StudyResults
        What was measured on it.
    folder : Path, optional
        Where its manifest lies; default: where the library has it.
    """
    folder = folder or {"synthetic": EMBEDDED}.get(name, EMBEDDED.with_name("embedded_2"))
    manifest, croissant = (_json(folder / f"{n}.json") for n in ("manifest", "croissant"))
    plan, splits = manifest["plan"], manifest["splits"]
    counts = [
        f"{split}: {found['images']:,} of {found['identities']:,} people"
        for split, found in splits["counts"].items()
    ]
    size = sum(file["bytes"] for file in manifest["files"].values())
    lists = [f"{name} ({found['rows']:,})" for name, found in manifest["protocols"].items()]
    inside = "lib/lrface/data/" + folder.name
    facts = {
        "people and pictures": f"{plan['identities']:,} people, {plan['per_identity']} pictures "
        f"each, {plan['size']} pixels"
        + (f"; {plan['clips']} clips of {plan['frames']} frames" if plan["clips"] else ""),
        "splits": f"{'; '.join(counts)} ({splits['rule']})",
        "lists": ", ".join(lists),
        "made by": f"the generator's version {plan['version']}, seed {plan['seed']}",
        "licence": f"<{croissant['license']}>",
        "files": f"{size / 1e6:.0f} MB; manifest sha256 `{sha256(folder / 'manifest.json')[:16]}`",
        "machine-readable": f"[Croissant]({inside}/croissant.json), "
        f"[manifest]({inside}/manifest.json)",
        "networks learnt from it": f"{learnt_from(name)} (<a href='networks.html'>cards</a>)",
        "scored on it": _studies(measured),
        "load it": f'`data.load("{name}")`',
    }
    return "\n\n".join([f"### {name}", RENDERED[name], _facts(facts), NOT_FOR])


def scenes(name: str) -> str:
    """The card of a set of rendered scenes for face detection."""
    about = " ".join((rendered_scenes.__doc__ or "").partition(f"``{name}``: ")[2].split())
    about = re.sub(r" \(:\w+:`[^`]+`\)", "", about.partition(". ")[0]) + "."
    counts = rendered_scenes.SCENES[name]
    folder = rendered_scenes.EMBEDDED
    there = name == "rendered-crowds"
    size = sum(file.stat().st_size for file in folder.glob("*.parquet"))
    facts = {
        "scenes": ", ".join(f"{split}: {count:,}" for split, count in counts.items()),
        "made by": f"the generator's version {rendered_scenes.PICTURES}; nobody is in two scenes",
        "files": f"its test scenes, {size / 1e6:.0f} MB, come with the library, the others are "
        "rendered when first asked for"
        if there
        else "rendered when first asked for",
        "machine-readable": "[Croissant](lib/lrface/data/embedded_crowds/croissant.json), "
        "[manifest](lib/lrface/data/embedded_crowds/manifest.json)"
        if there
        else "",
        "load it": f'`data.load_scenes("{name}", "test")`',
    }
    return "\n\n".join([f"### {name}", about[0].upper() + about[1:], _facts(facts), NOT_FOR])


def real(name: str, measured: list[StudyResults]) -> str:
    """The card of a set of photographs: what its reader knows, its terms, what was scored on it."""
    reader = (data.READERS | data.SCENES)[name]
    said = " ".join((importlib.import_module(reader.__name__).__doc__ or name).split())
    facts = {
        "layout": f"`{reader.LAYOUT}`",
        "terms": fetch.TERMS.get(name, "ask its keepers"),
        "keepers": fetch.ADDRESSES.get(name, "the authors of its paper"),
        "fetched by": f"`lrface data fetch {name}`" if name in fetch.TERMS else "hand",
        "scored on it": _studies(measured),
    }
    return "\n\n".join([f"### {name}", said, _facts(facts)])


def learnt_from(name: str) -> str:
    """How many released networks learnt from a set, in words."""
    files = project_root().glob("results/*/*/checkpoints/*/record.json")
    count = sum(_json(file)["data"]["name"] == name for file in files)
    return f"{count} of the released networks" if count else "none of the released networks"


def _studies(measured: list[StudyResults]) -> str:
    found = [
        f"[study {one.study[:2]}](notebooks/{one.study}.ipynb) ({one.preset}, "
        f"{str((one.record() or {}).get('finished', 'no record'))[:10]})"
        for one in sorted(measured, key=lambda one: one.study)
    ]
    return ", ".join(found) or "nothing that is committed"


def _facts(facts: dict[str, str]) -> str:
    rows = [f"| {label} | {text} |" for label, text in facts.items() if text]
    return "\n".join(["| | |", "|---|---|", *rows])


def _json(file: Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LrfaceError(f"{file} cannot be read ({error}): get it from the repository") from None
