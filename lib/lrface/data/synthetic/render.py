"""From a person and a view to a picture: mesh, shadow map, z-buffer, shading, strands, lenses; then
the camera's tone curve."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lrface.data.synthetic import strands
from lrface.data.synthetic.accessories import (
    COLLAR,
    FRAME,
    HAT,
    HATS,
    TIE,
    Mesh,
    fit_glasses,
    fit_hat,
    press,
)
from lrface.data.synthetic.assets import SKULL_CENTRE
from lrface.data.synthetic.background import sample_background
from lrface.data.synthetic.clothes import collar, dress, knot
from lrface.data.synthetic.eyes import lash_strands
from lrface.data.synthetic.geometry import PIVOT, bend, express, neck_weights
from lrface.data.synthetic.kernel import rotate, rotation, vertex_normals
from lrface.data.synthetic.light import TONE
from lrface.data.synthetic.noise import lattice
from lrface.data.synthetic.person import Person
from lrface.data.synthetic.raster import axes_towards, buffers, depth_map, rasterise
from lrface.data.synthetic.shade import shade
from lrface.data.synthetic.skin import with_makeup
from lrface.data.synthetic.streams import stream
from lrface.data.synthetic.views import View

CENTRE = np.array([0.0, 7.1, 0.4])
"""Origin of the posed scene, so that numbers near the face are small."""
SHADOW_SIZE, SHADOW_EXTENT = 256, 1.8
OVERSAMPLE = 3
HAIR_HANGS_BELOW = 7.05
LENS_BLUR = 0.15
"""Standard deviation of the portrait lens's point spread, in pixels of the finished picture."""
SHARPENING = 0.12
"""Strength of the good camera's unsharp mask, one pixel wide."""


@dataclass(frozen=True)
class Frame:
    """One moment as light, before any camera: what both the good and the poor camera see."""

    light: np.ndarray
    """float32 (size * oversample, size * oversample, 3): linear light, exposed so that a face is of
    middle brightness."""
    size: int
    scene: str
    points: np.ndarray
    """float64 (n, 3): the head's vertices in the finished picture, x and y in pixels with the
    centre of pixel i at i, and depth."""
    depth: np.ndarray
    """float64 (H, W): nearest depth of head, clothes, hat and hair in the oversampled buffer,
    before brows, beard and lenses."""
    lens_cover: np.ndarray
    """bool (H, W): behind a dark lens."""

    def picture(self) -> np.ndarray:
        """The high-resolution photograph, uint8 (size, size, 3)."""
        return develop(shrink(self.light, self.size, LENS_BLUR))


def shrink(light: np.ndarray, size: int, blur: float = 0.0) -> np.ndarray:
    """Light (H, W, 3) gathered by ``size`` x ``size`` pixels through a Gaussian lens; ``blur`` in
    pixels of the result."""
    if blur > 0:
        light = cv2.GaussianBlur(
            light, (0, 0), blur * light.shape[0] / size, borderType=cv2.BORDER_REPLICATE
        )
    small = cv2.resize(light, (size, size), interpolation=cv2.INTER_AREA)
    if blur > 0:  # cameras sharpen what their lenses soften
        small = np.maximum(small + SHARPENING * (small - cv2.GaussianBlur(small, (0, 0), 1.0)), 0)
    return small


def develop(light: np.ndarray) -> np.ndarray:
    """Linear light to an 8-bit picture: tone curve, then rounding."""
    return np.floor(TONE(light.astype(np.float64)) * 255 + 0.5).astype(np.uint8)


def _combine(
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]],
    vertices,
    normals,
    template,
    triangles,
    part,
    uv,
    sky,
):
    """The head's arrays with the extra meshes (posed vertices, triangles, paint, part) appended."""
    for points, faces, paint, kind in parts:
        triangles = np.concatenate([triangles, faces + len(vertices)])
        vertices, normals = (
            np.concatenate([vertices, points]),
            np.concatenate([normals, vertex_normals(points, faces)]),
        )
        template, part = (
            np.concatenate([template, paint]),
            np.concatenate([part, np.full(len(faces), kind, np.int8)]),
        )
        uv, sky = (
            np.concatenate([uv, np.zeros((len(faces), 3, 2), np.float32)]),
            np.concatenate([sky, np.ones(len(points))]),
        )
    return vertices, normals, np.ascontiguousarray(template), triangles, part, uv, sky


def _resting_pitch(person: Person) -> list[float]:
    """Degrees by which the left and the right eye look down at rest, so that the iris sits in the
    opening of these lids."""
    pitch = []
    for rows, lids in zip(person.template.eyes, (slice(42, 48), slice(36, 42)), strict=True):
        centre, opening = (
            person.vertices[rows].mean(0),
            person.vertices[person.template.landmarks[lids]].mean(0),
        )
        rise, reach = opening[1] + 0.006 - centre[1], opening[2] - centre[2]
        pitch.append(float(np.degrees(-0.8 * np.arctan2(rise, reach))))
    return [sum(pitch) / 2] * 2  # both alike, or the eyes would not be parallel


def render(person: Person, view: View, size: int = 128, oversample: int = OVERSAMPLE) -> Frame:
    """Photograph ``person`` as ``view`` says, on a buffer of ``size * oversample`` pixels square."""
    template, identity = person.template, person.identity
    key = (identity.seed, identity.number, view.scenery or view.number)
    width = size * oversample
    turn = rotation(view.yaw, view.pitch, view.roll)
    face = express(person.vertices, view.expression)
    dressed = dress(view.clothes, template, face, vertex_normals(face, template.triangles))
    posed = bend(dressed, neck_weights(), turn, PIVOT) - CENTRE
    normals = vertex_normals(posed, template.triangles)

    def follow(mesh: Mesh, kind: int, matrix: np.ndarray):
        return rotate(mesh.vertices, matrix, PIVOT) - CENTRE, mesh.triangles, mesh.paint, kind

    extras, lenses, room = [], [], None
    if view.glasses != "none":
        frame, lenses = fit_glasses(person.glasses, template, face)
        extras.append(follow(frame, FRAME, turn))
    if view.hat != "none":
        bulk = 0.0 if person.hair is None or identity.hairstyle in ("buzz", "bald") else 0.03
        hat, room = fit_hat(view.hat, person.skull, bulk)
        extras.append(follow(hat, HAT, turn))
    if (band := collar(view.clothes, template, dressed)) is not None:
        stiff = rotation(0.35 * view.yaw, 0.1 * view.pitch, 0.1 * view.roll)
        extras.append(follow(band, COLLAR, stiff))
        if (tie := knot(view.clothes, band)) is not None:
            extras.append(follow(tie, TIE, stiff))
    vertices, normals, paint, triangles, part, uv, sky = _combine(
        extras,
        posed,
        normals,
        template.vertices,
        template.triangles,
        template.part,
        template.uv,
        template.occlusion,
    )

    hair = None
    if person.hair is not None:
        points = (
            person.hair.points
            if room is None
            else press(person.hair.points, room, SKULL_CENTRE, 1.12)
        )
        lag = view.hair_pose or (view.yaw, view.pitch, view.roll)
        hang = rotation(0.85 * lag[0], 0.25 * lag[1], 0.20 * lag[2])
        hair = strands.pose_hanging(points, turn, hang, PIVOT, HAIR_HANGS_BELOW) - CENTRE
    brows = person.brows.pose(posed, normals)
    beard = None if person.beard is None else person.beard.pose(posed, normals, turn)

    axes = axes_towards(view.light.direction)
    shadow = depth_map(vertices, triangles, axes, SHADOW_SIZE, SHADOW_EXTENT)
    for curves in (hair, beard):
        if curves is not None:
            # The sparse outer half of coily hair lets light through: as a shadow it would be a net
            # over the face.
            solid = (
                curves
                if identity.texture != "coily"
                else np.ascontiguousarray(curves[:, : curves.shape[1] // 2])
            )
            strands.cast(solid, axes, SHADOW_EXTENT, shadow)

    scale = width / 128
    focal = view.framing.scale * scale * (view.framing.distance - 1.0)
    # Focal length, distance, centre and height of the optical axis, in buffer pixels and in
    # decimetres from CENTRE.
    camera = np.array(
        [
            focal,
            view.framing.distance - CENTRE[2],
            width / 2 - view.framing.x * view.framing.scale * scale,
            width / 2,
            view.framing.y - CENTRE[1],
        ]
    )

    def project(points: np.ndarray) -> np.ndarray:
        w = camera[0] / (camera[1] - points[:, 2])
        return np.stack(
            [
                camera[2] + points[:, 0] * w,
                camera[3] - (points[:, 1] - camera[4]) * w,
                -points[:, 2],
            ],
            1,
        )

    depth, seen, bary = buffers(width, width)
    screen = project(vertices)
    rasterise(screen, triangles, depth, seen, bary)
    scene, backdrop = sample_background(stream(*key, "backdrop"))
    image = cv2.resize(backdrop, (width, width), interpolation=cv2.INTER_LINEAR).astype(np.float64)
    lights = view.light.packed()
    image /= (
        view.light.exposure
    )  # the backdrop is given as it should look, so light on the face does not change it

    eyes = np.stack([posed[rows].mean(0) for rows in template.eyes])
    gazes = np.stack(
        [
            (turn @ rotation(view.gaze[0], view.gaze[1] + rest, 0.0)).T
            for rest in _resting_pitch(person)
        ]
    )
    paint_rng = stream(*key, "style")
    skin = with_makeup(person.skin, identity, view.lipstick, view.makeup, paint_rng)
    hat_numbers = np.array([*view.hat_colour, HATS.index(view.hat) if view.hat != "none" else 0.0])
    shade(
        seen,
        bary,
        vertices,
        normals,
        paint,
        uv,
        triangles,
        part,
        sky,
        lattice(),
        skin,
        person.moles,
        template.masks,
        turn,
        eyes,
        gazes,
        person.iris,
        person.teeth,
        view.clothes.packed(),
        np.array(person.glasses.colour),
        hat_numbers,
        lights,
        view.light.slope,
        axes,
        SHADOW_EXTENT,
        shadow,
        image,
    )

    def draw(curves, colours, gloss, roots, cover, thick) -> None:
        opacity = np.ascontiguousarray(np.broadcast_to(cover, len(curves)), float)
        strands.draw(
            curves,
            colours,
            opacity,
            camera,
            lights,
            axes,
            SHADOW_EXTENT,
            shadow,
            np.array(gloss),
            roots,
            thick,
            depth,
            image,
        )

    thick = max(1, round(width / 620))
    if hair is not None:
        draw(
            hair,
            person.hair.colours,
            (0.045 if identity.texture == "coily" else 0.09, 13.0),
            True,
            person.hair.cover,
            thick,
        )
    solid = depth.copy()
    draw(brows, person.brows.colours, (0.03, 8.0), False, 0.50, thick)
    if beard is not None:
        draw(beard, person.beard.colours, (0.04, 8.0), True, 0.50, thick)
    lashes = lash_strands(posed, template.lashes)
    dark = 0.6 if view.makeup else 0.42
    draw(
        lashes,
        np.full((len(lashes), 3), 0.008),
        (0.0, 8.0),
        False,
        dark if identity.gender == "female" else 0.8 * dark,
        thick,
    )
    cover = np.zeros((width, width), bool)
    for lens in lenses:
        cover |= _glaze(
            project(rotate(lens.vertices, turn, PIVOT) - CENTRE),
            lens.triangles,
            depth,
            image,
            view,
            lights,
            width,
        )
    points = screen[: len(posed)].copy()
    points[:, :2] = points[:, :2] / oversample - 0.5
    light = np.minimum(image * view.light.exposure, 4.0).astype(np.float32)
    return Frame(light, size, scene, points, solid, cover & (view.glasses == "sun"))


def _glaze(screen, triangles, depth, image, view: View, lights, width: int) -> np.ndarray:
    """Lay one lens over ``image`` (in place): a tint and the reflection of a bright window. Returns
    where it lies."""
    near, hit, bary = buffers(width, width)
    rasterise(screen, triangles, near, hit, bary)
    on = (hit >= 0) & (near < depth)
    rows, columns = np.nonzero(on)
    if not len(rows):
        return on
    dark = 0.96 if view.glasses == "sun" else 0.06
    slant = (columns + 0.7 * rows) / width * 22 + view.yaw * 0.12 + view.light.azimuth * 0.05
    band = np.clip(np.sin(slant) * 3 - 2.1, 0, 1)
    gradient = (rows.max() - rows) / (np.ptp(rows) + 1.0)
    glint = 0.008 + 0.03 * band + (0.022 * gradient if view.glasses == "sun" else 0.0)
    image[on] = image[on] * (1 - dark) + glint[:, None] * (lights[1] + lights[4])
    return on
