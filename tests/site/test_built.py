"""The built site: links, sizes, and every page in Chromium at a desk's and a phone's width."""

import base64
import io
import json
import os
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import numpy as np
import pytest
from lrface import degrade, metrics, site
from lrface.data.synthetic.camera import Camera, capture
from lrface.data.synthetic.streams import stream
from lrface.files import project_root
from lrface.site import answers, captures, networks, playground
from PIL import Image

pytestmark = pytest.mark.slow
HERE, MODULES = Path(__file__).parent, project_root() / "docs" / "node_modules"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
FIRST_VIEW, WHOLE = 3e6, 120e6
"""Bytes of a page before anybody scrolls, and of the site."""
BUILD_SECONDS = 120


def lacking():
    """Why the site cannot be built here; empty if it can."""
    for package in ("onnx", "onnxruntime", "myst_nb"):
        try:
            __import__(package)
        except ImportError:
            return f"{package} is not installed: make site"
    if not MODULES.is_dir():
        return "docs/node_modules is not installed: make site"
    if not (project_root() / "results" / "findings.csv").is_file():
        return "no findings are published: make notebooks"
    return ""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if reason := lacking():
        pytest.skip(reason)
    folder, began = tmp_path_factory.mktemp("site"), time.process_time()
    before = os.times()
    site.build(folder / "site", folder / "work", lambda said: None)
    after = os.times()
    used = time.process_time() - began + after.children_user - before.children_user
    return folder / "site", used


class Page(HTMLParser):
    """The anchors of a page, and all that it leads to or shows."""

    def __init__(self, file):
        super().__init__()
        self.ids, self.targets = set(), []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found[name] for name in ("id", "name") if found.get(name)}
        self.targets += [found[name] for name in ("href", "src") if found.get(name)]


def test_every_link_leads_to_a_page_an_anchor_or_a_file(built):
    root, _ = built
    pages = {file: Page(file) for file in root.rglob("*.html") if "_static" not in file.parts}
    broken = []
    for file, page in pages.items():
        for target in page.targets:
            if target.startswith(("http://", "https://", "mailto:", "data:")):
                continue
            path, anchor = urldefrag(target.split("?")[0] if "?" in target else target)
            place = (file.parent / unquote(path)).resolve() if path else file
            known = pages[place].ids if place in pages else None
            if not place.is_file() or (anchor and known is not None and anchor not in known):
                broken.append(f"{file.relative_to(root)}: {target}")
    assert not broken and len(pages) > len(list((project_root() / "notebooks").glob("*.ipynb")))


def test_the_site_loads_nothing_from_elsewhere_and_is_small(built):
    root, _ = built
    loaded = ("src=", "<link ", "@import", "url(")
    for file in [*root.rglob("*.html"), *root.glob("_static/*.css")]:
        for line in file.read_text(encoding="utf-8").splitlines():
            if any(word in line for word in loaded):
                assert "https://" not in line or "<a " in line, f"{file.name}: {line[:200]}"
    assert sum(file.stat().st_size for file in root.rglob("*") if file.is_file()) < WHOLE


def test_it_is_built_within_two_minutes_of_two_cores(built):
    assert built[1] < 2 * BUILD_SECONDS


def browser(script, root, *more):
    node = shutil.which("node")
    if not node or not CHROMIUM:
        pytest.skip("node and chromium are not both at hand (CHROMIUM names the browser)")
    command = [node, str(HERE / script), str(root), CHROMIUM, str(MODULES), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_every_page_is_whole_at_a_desk_and_on_a_phone(built):
    looked = browser("browse.mjs", built[0])
    seen = looked["seen"]
    assert looked["found"] > 1  # pages, by the search
    names = {file.relative_to(built[0]).as_posix() for file in built[0].rglob("*.html")}
    assert {one["page"] for one in seen} == {n for n in names if not n.startswith("_static")}
    assert {one["width"] for one in seen} == {1280, 390}
    for one in seen:
        where = f"{one['page']} at {one['width']}"
        assert not one["errors"], f"{where}: {one['errors']}"
        assert not one["outside"], f"{where}: {one['outside']}"
        assert not one["axe"], f"{where}: {one['axe']}"
        assert one["wide"] <= 0, f"{where} scrolls sideways by {one['wide']} pixels"
        assert one["view"] < FIRST_VIEW, f"{where}: {one['view'] / 1e6:.1f} MB at first view"


def test_a_reader_finds_sorts_unfolds_enlarges_and_compares(built):
    said = browser("read.mjs", built[0])
    findings, contrasts = answers.read(project_root())
    every = findings[findings["data"] == "all"]
    words = [answers.verdict(row) for _, row in every.iterrows()]
    assert said["findings"] == len(every) and said["searched"] == 1 and said["reached"]
    assert said["byVerdict"] == {word: words.count(word) for word in answers.MEANING}
    assert said["byWork"][0] == len(every) == sum(said["byWork"][1:])
    assert said["evidence"][0] == len(contrasts) > said["evidence"][1]
    assert not said["folded"] and said["unfolded"]
    assert said["enlarged"] > 300 and said["closed"] and said["sorted"]
    assert said.get("deep", True)
    compared = said["compared"]
    assert compared["pictures"] > 8 and compared["loaded"] and compared["scales"] == ["matrix(3"]
    assert all(name.startswith(("8x-", "truth-")) for name in compared["files"])


def test_the_browser_computes_what_the_library_does(built):
    played = browser("play.mjs", built[0])
    assert not played["outside"] and not played["errors"] and not played["grave"]
    face = playground.faces()[:1]
    stored = networks.exported(built[0].parent / "work" / "networks", compared())
    exported = {(one.method, one.setting): one for one in stored}
    for name, found in played["found"].items():
        setting = degrade.setting(name, rounding="none")
        small = np.array(found["small"]).reshape(setting(face)[0].shape)
        assert np.abs(small - setting(face)[0].numpy()).max() < 1e-5
        tiles = dict(found["tiles"])
        here = {method for method, where in exported if where == name}
        assert here == tiles.keys() - {"small face", "bicubic", "truth"}
        for method in here:
            dB, _, ms = tiles[method].split(" · ")
            # within rounding at the edge of a level of 8 bits
            assert float(dB.split()[0]) == pytest.approx(exported[method, name].psnr[0], abs=0.02)
            assert float(ms.split()[0]) < 1000
        lr = degrade.setting(name)(face)
        bicubic = degrade.to_uint8(degrade.resize(lr, face.shape[2:])).float() / 255
        dB, ssim = tiles["bicubic"].split(" · ")
        assert float(dB.split()[0]) == pytest.approx(
            metrics.psnr(bicubic, face)[0].item(), abs=0.02
        )
        assert float(ssim.split()[1]) == pytest.approx(
            metrics.ssim(bicubic, face)[0].item(), abs=2e-3
        )
    assert "truth" in played["photo"]["false"] and "truth" not in played["photo"]["true"]
    assert not any("dB" in tile for tile in played["photo"]["true"])
    assert played["said"] == ["× 0.6", "200 electrons at white", "JPEG 45"]
    shown = Image.open(io.BytesIO(base64.b64decode(played["capture"].partition(",")[2])))
    moment = captures.MOMENTS[0]
    camera = Camera(
        *(16, captures.PSF),
        **{"exposure": 0.6, "full_well": 200, "read_noise": captures.READ_NOISE},
        **{"bayer": True, "chroma_420": True, "jpeg": 45},
    )
    wanted = capture(captures.frame_of(moment), camera, stream(*moment, "sensor"))
    assert np.array_equal(np.asarray(shown.convert("RGB")), wanted)
    assert len(played["taken"]) > 5 and not any("dB" in tile for tile in played["taken"])


def scores(sr, hr):
    return metrics.psnr(sr, hr)[0].item(), metrics.ssim(sr, hr)[0].item()


def compared():
    return playground.faces()[: playground.COMPARED]
