"""From a person and a view to light, and from light to the high-quality camera's picture.

The mesh is posed and dressed, the key light's depth map and the z-buffer are drawn, pixels are
shaded (:mod:`.shade`), hair is drawn over them (:mod:`.strands`), and lenses over all.
"""

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
from lrface.data.synthetic.eyes import lash_lines, lash_strands
from lrface.data.synthetic.geometry import PIVOT, bend, express, neck_weights
from lrface.data.synthetic.kernel import rotate, rotation, vertex_normals
from lrface.data.synthetic.lens import Lens, take
from lrface.data.synthetic.light import TONE
from lrface.data.synthetic.noise import lattice
from lrface.data.synthetic.person import Person
from lrface.data.synthetic.raster import axes_towards, buffers, depth_map, rasterise
from lrface.data.synthetic.shade import shade
from lrface.data.synthetic.skin import FOLD, with_makeup
from lrface.data.synthetic.streams import stream
from lrface.data.synthetic.views import View

CENTRE = np.array([0.0, 7.1, 0.4])
"""Origin of the posed scene, in the body model's coordinates."""
SHADOW_SIZE, SHADOW_EXTENT = 256, 1.8
"""Pixels, and half the width in decimetres, of the key light's depth map."""
OVERSAMPLE = 3
"""Pixels of the buffer along one pixel of the picture."""
COMPANION_EVERY = 520
"""Pixels of the buffer's side for each of which a strand is drawn once (second generation)."""
HAIR_HANGS_BELOW = 7.05
"""Height below which hair does not turn with the head, decimetres."""
LENS_BLUR = 0.15
"""Standard deviation of the HR camera's point spread function, in pixels of the picture."""
SHARPENING = 0.12
"""Strength of its unsharp mask, of one pixel."""


@dataclass(frozen=True)
class Frame:
    """One moment as light, before any camera: both the HR and the low-quality one capture it."""

    light: np.ndarray
    """float32 (H, W, 3), H = W = size * oversample: linear light, exposed for the face."""
    size: int
    """Width and height of the picture."""
    scene: str
    """The background's name (:data:`.background.SCENES`)."""
    points: np.ndarray
    """float64 (n, 3): the head's vertices in the picture, x and y in pixels with the centre of
    pixel i at i, and their depth."""
    depth: np.ndarray
    """float64 (H, W): nearest depth of head, clothes, hat and hair, without brows, beard and
    lenses."""
    lens_cover: np.ndarray
    """bool (H, W): behind a dark lens."""
    lens: Lens | None = None
    """The good camera, in the second generation."""
    key: tuple[int, int, int] = (0, 0, 0)
    """Seed, identity and view, for the noise of its sensor."""

    def picture(self) -> np.ndarray:
        """The high-resolution picture, uint8 (size, size, 3)."""
        if self.lens is not None:
            return take(self.light, self.size, self.lens, stream(*self.key, "grain"))
        return develop(shrink(self.light, self.size, LENS_BLUR))


def shrink(light: np.ndarray, size: int, blur: float = 0.0) -> np.ndarray:
    """Light (H, W, 3) averaged over ``size`` x ``size`` pixels, behind a Gaussian lens.

    ``blur`` is the lens's standard deviation in pixels of the result; with a lens the result is
    also sharpened.
    """
    if blur > 0:
        sigma = blur * light.shape[0] / size
        light = cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    small = cv2.resize(light, (size, size), interpolation=cv2.INTER_AREA)
    if blur > 0:
        small = np.maximum(small + SHARPENING * (small - cv2.GaussianBlur(small, (0, 0), 1.0)), 0)
    return small


def develop(light: np.ndarray) -> np.ndarray:
    """Linear light to an 8-bit sRGB picture, by the camera's tone curve."""
    return np.floor(TONE(light.astype(np.float64)) * 255 + 0.5).astype(np.uint8)


@dataclass(frozen=True)
class _Scene:
    """Head, clothes and accessories of n vertices and m triangles as one posed mesh."""

    vertices: np.ndarray
    normals: np.ndarray
    paint: np.ndarray
    """float64 (n, 3): points at which skin, cloth, ... are computed."""
    triangles: np.ndarray
    part: np.ndarray
    """int8 (m,)."""
    uv: np.ndarray
    """float32 (m, 3, 2)."""
    sky: np.ndarray
    """float64 (n,): ambient visibility."""


def _scene(person: Person, posed: np.ndarray, normals: np.ndarray, extras: list) -> _Scene:
    """The posed head with further meshes: (vertices, triangles, paint, part) of each."""
    template = person.template
    vertices, paint, triangles = posed, template.vertices, template.triangles
    part, uv, sky = template.part, template.uv, template.occlusion
    for points, faces, own_paint, kind in extras:
        triangles = np.concatenate([triangles, faces + len(vertices)])
        vertices = np.concatenate([vertices, points])
        normals = np.concatenate([normals, vertex_normals(points, faces)])
        paint = np.concatenate([paint, own_paint])
        part = np.concatenate([part, np.full(len(faces), kind, np.int8)])
        uv = np.concatenate([uv, np.zeros((len(faces), 3, 2), np.float32)])
        sky = np.concatenate([sky, np.ones(len(points))])
    return _Scene(vertices, normals, np.ascontiguousarray(paint), triangles, part, uv, sky)


def _resting_pitch(person: Person) -> float:
    """Degrees by which the eyes look down at rest, so that the iris is centred between the lids."""
    pitch = []
    for rows, lids in zip(person.template.eyes, (slice(42, 48), slice(36, 42)), strict=True):
        centre = person.vertices[rows].mean(0)
        opening = person.vertices[person.template.landmarks[lids]].mean(0)
        rise, reach = opening[1] + 0.006 - centre[1], opening[2] - centre[2]
        pitch.append(float(np.degrees(-0.8 * np.arctan2(rise, reach))))
    return sum(pitch) / 2  # the same for both, so that they are parallel


def _accessories(
    person: Person, view: View, face: np.ndarray, dressed: np.ndarray, turn: np.ndarray
) -> tuple[list, list[Mesh], np.ndarray | None]:
    """Posed meshes of what is worn, the lenses (not posed), and the room that a hat leaves to hair.

    ``face`` and ``dressed`` (n, 3) are the head with its expression, without and with clothes,
    ``turn`` (3, 3) the head's rotation.
    """

    def follow(mesh: Mesh, kind: int, matrix: np.ndarray):
        return rotate(mesh.vertices, matrix, PIVOT) - CENTRE, mesh.triangles, mesh.paint, kind

    extras, lenses, room = [], [], None
    if view.glasses != "none":
        frame, lenses = fit_glasses(person.glasses, person.template, face)
        extras.append(follow(frame, FRAME, turn))
    if view.hat != "none":
        flat = person.hair is None or person.identity.hairstyle in ("buzz", "bald")
        hat, room = fit_hat(view.hat, person.skull, 0.0 if flat else 0.03)
        extras.append(follow(hat, HAT, turn))
    if (band := collar(view.clothes, person.template, dressed)) is not None:
        stiff = rotation(0.35 * view.yaw, 0.1 * view.pitch, 0.1 * view.roll)
        extras.append(follow(band, COLLAR, stiff))
        if (tie := knot(view.clothes, band)) is not None:
            extras.append(follow(tie, TIE, stiff))
    return extras, lenses, room


def _posed_hair(
    person: Person, view: View, turn: np.ndarray, room: np.ndarray | None
) -> np.ndarray | None:
    """The strands (n, k, 3) of a turned head, pressed under a hat if there is one."""
    if person.hair is None:
        return None
    points = person.hair.points
    if room is not None:
        points = press(points, room, SKULL_CENTRE, 1.12)
    yaw, pitch, roll = view.hair_pose or (view.yaw, view.pitch, view.roll)
    hang = rotation(0.85 * yaw, 0.25 * pitch, 0.20 * roll)
    return strands.pose_hanging(points, turn, hang, PIVOT, HAIR_HANGS_BELOW) - CENTRE


def _camera(view: View, width: int) -> np.ndarray:
    """The HR camera (5,) of a buffer of ``width`` pixels.

    Focal length, distance, x and y of the centre, and height of the optical axis: in pixels of the
    buffer, and in decimetres from ``CENTRE``.
    """
    framing, scale = view.framing, width / 128
    focal = framing.scale * scale * (framing.distance - 1.0)
    x = width / 2 - framing.x * framing.scale * scale
    return np.array([focal, framing.distance - CENTRE[2], x, width / 2, framing.y - CENTRE[1]])


def _project(points: np.ndarray, camera: np.ndarray) -> np.ndarray:
    """Points (n, 3) of the scene in the buffer: x and y in pixels, and depth."""
    w = camera[0] / (camera[1] - points[:, 2])
    x = camera[2] + points[:, 0] * w
    y = camera[3] - (points[:, 1] - camera[4]) * w
    return np.stack([x, y, -points[:, 2]], 1)


def vertices_in_picture(person: Person, view: View, size: int = 128) -> np.ndarray:
    """Where the head's vertices are in the picture that :func:`render` makes: float64 (n, 2), x and
    y in pixels, hidden ones included. Nothing is drawn.

    Examples
    --------
    >>> from lrface.data import synthetic
    >>> person = synthetic.person(synthetic.identity(0, 1))
    >>> view = synthetic.view(person.identity, 1)
    >>> points = vertices_in_picture(person, view, 32)
    >>> bool(np.allclose(points, synthetic.render(person, view, 32).points[:, :2], atol=1e-6))
    True
    """
    turn = rotation(view.yaw, view.pitch, view.roll)
    face = express(person.vertices, view.expression)
    normals = vertex_normals(face, person.template.triangles)
    dressed = dress(view.clothes, person.template, face, normals)
    posed = bend(dressed, neck_weights(), turn, PIVOT) - CENTRE
    return _project(posed, _camera(view, size))[:, :2] - 0.5


def render(person: Person, view: View, size: int = 128, oversample: int = OVERSAMPLE) -> Frame:
    """Render a person in a view.

    Parameters
    ----------
    person : Person
    view : View
    size : int
        Width and height of the picture in pixels.
    oversample : int
        The light has ``size * oversample`` pixels along each side.

    Returns
    -------
    Frame

    Examples
    --------
    >>> from lrface.data import synthetic
    >>> person = synthetic.person(synthetic.identity(0, 1))
    >>> frame = synthetic.render(person, synthetic.view(person.identity, 1), 32)
    >>> frame.picture().shape, frame.light.shape
    ((32, 32, 3), (96, 96, 3))
    """
    template, identity = person.template, person.identity
    key = (identity.seed, identity.number, view.scenery or view.number)
    width = size * oversample

    # the mesh: expression, clothes, pose
    turn = rotation(view.yaw, view.pitch, view.roll)
    face = express(person.vertices, view.expression)
    dressed = dress(view.clothes, template, face, vertex_normals(face, template.triangles))
    posed = bend(dressed, neck_weights(), turn, PIVOT) - CENTRE
    normals = vertex_normals(posed, template.triangles)
    extras, lenses, room = _accessories(person, view, face, dressed, turn)
    scene = _scene(person, posed, normals, extras)
    hair = _posed_hair(person, view, turn, room)
    # brows and beard follow the normals of the head alone
    brows = person.brows.pose(posed, normals)
    beard = None if person.beard is None else person.beard.pose(posed, normals, turn)

    # the key light's depth map
    axes = axes_towards(view.light.direction)
    shadow = depth_map(scene.vertices, scene.triangles, axes, SHADOW_SIZE, SHADOW_EXTENT)
    for curves in (hair, beard):
        if curves is not None:
            # The outer half of coily hair is sparse and lets light through: its shadow would look
            # like a net over the face.
            inner = curves[:, : curves.shape[1] // 2] if identity.texture == "coily" else curves
            strands.cast(np.ascontiguousarray(inner), axes, SHADOW_EXTENT, shadow)

    # the z-buffer, over the background
    camera, lights = _camera(view, width), view.light.packed()
    depth, visible, bary = buffers(width, width)
    screen = _project(scene.vertices, camera)
    rasterise(screen, scene.triangles, depth, visible, bary)
    background, backdrop = sample_background(
        stream(*key, "backdrop"), detailed=identity.generation > 1
    )
    image = cv2.resize(backdrop, (width, width), interpolation=cv2.INTER_LINEAR).astype(np.float64)
    # a background has its final brightness, whatever the light on the face: undo the exposure
    image /= view.light.exposure

    # the surfaces
    eyes = np.stack([posed[rows].mean(0) for rows in template.eyes])
    gaze = (turn @ rotation(view.gaze[0], view.gaze[1] + _resting_pitch(person), 0.0)).T
    skin = with_makeup(person.skin, identity, view.lipstick, view.makeup, stream(*key, "style"))
    if identity.generation > 1:  # a smile folds the cheeks
        smile = [view.expression.get(f"mouthSmile{side}", 0.0) for side in ("Left", "Right")]
        skin[FOLD] = min(skin[FOLD] + 0.35 * sum(smile), 1.1)
    hat_numbers = np.array([*view.hat_colour, HATS.index(view.hat) if view.hat != "none" else 0.0])
    visibility = 1.0
    if identity.generation > 1:  # between closed lips hardly any light reaches them
        visibility = 0.8 if view.mouth_open else 0.08
    teeth = np.array([*(person.teeth * min(visibility + 0.2, 1.0)), visibility])
    # fmt: off
    shade(
        visible, bary, scene.vertices, scene.normals, scene.paint, scene.uv, scene.triangles,
        scene.part, scene.sky, lattice(), skin, person.moles, template.masks, person.pigment, turn,
        eyes, np.stack([gaze, gaze]), person.iris, teeth, view.clothes.packed(),
        np.array(person.glasses.colour), hat_numbers, lights, view.light.slope, axes,
        SHADOW_EXTENT, shadow, view.light.softness, image,
    )
    # fmt: on

    # the strands, from the longest to the shortest
    def draw(curves, colours, gloss, roots, cover, fine=620) -> None:
        opacity = np.ascontiguousarray(np.broadcast_to(cover, len(curves)), float)
        thick = max(1, round(width / (620 if identity.generation == 1 else fine)))
        # fmt: off
        strands.draw(
            curves, colours, opacity, camera, lights, axes, SHADOW_EXTENT, shadow, np.array(gloss),
            roots, thick, depth, image,
        )
        # fmt: on

    if hair is not None:
        gloss = (0.045 if identity.texture == "coily" else 0.09, 13.0)
        if identity.generation > 1:
            gloss = (1.25 * gloss[0], 16.0)
            for more in strands.companions(hair, round(width / COMPANION_EVERY) - 1):
                draw(more, person.hair.colours, gloss, True, person.hair.cover, 430)
        draw(hair, person.hair.colours, gloss, True, person.hair.cover, 430)
    solid = depth.copy()
    opacity = 0.50
    draw(brows, person.brows.colours, (0.03, 8.0), False, opacity, 450)
    if beard is not None:
        draw(beard, person.beard.colours, (0.04, 8.0), True, opacity, 450)
    lashes = lash_strands(posed, template.lashes)
    dark = 0.6 if view.makeup else 0.42
    opacity = dark if identity.gender == "female" else 0.8 * dark
    if identity.generation > 1:
        opacity *= 1.3
        lines = lash_lines(posed, template.lashes)
        draw(lines, np.full((len(lines), 3), 0.012), (0.0, 8.0), False, 0.45 * opacity, 260)
    draw(lashes, np.full((len(lashes), 3), 0.008), (0.0, 8.0), False, opacity)

    cover = np.zeros((width, width), bool)
    for lens in lenses:
        outline = _project(rotate(lens.vertices, turn, PIVOT) - CENTRE, camera)
        cover |= _draw_lens(outline, lens.triangles, depth, image, view, lights)
    points = screen[: len(posed)].copy()
    points[:, :2] = points[:, :2] / oversample - 0.5
    light = np.minimum(image * view.light.exposure, 4.0).astype(np.float32)
    behind = cover & (view.glasses == "sun")
    own = (identity.seed, identity.number, view.number)
    return Frame(light, size, background, points, solid, behind, view.lens, own)


def _draw_lens(screen, triangles, depth, image, view: View, lights) -> np.ndarray:
    """Draw a lens over ``image`` (H, W, 3), in place: a tint and the reflection of a window.

    Returns where it is, bool (H, W).
    """
    width = image.shape[1]
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
