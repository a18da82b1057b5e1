"""A renderer of faces of people who do not exist, with exact ground truth, from a CC0 body model.

The flow of one picture: :func:`identity` (who it is) -> :func:`person` (mesh, hair, skin) and
:func:`view` (pose, expression, light, framing) -> :func:`render` (a :class:`Frame`: linear light at
three times the resolution) -> ``frame.picture()`` (the high-quality camera) and :func:`capture`
(the low-quality one). :func:`landmarks`, :func:`face_box` and :func:`attributes` give its ground
truth, :func:`clip` a sequence of frames; :func:`make` writes a whole set.

There are two generations of pictures of the same people (:func:`identity`): the first is the
embedded set's, the second has skin from maps, groomed brows, the light of all kinds of photographs
and ordinary cameras. ``benchmarks/realism.py`` measures how like photographs they are.

All random choices depend on (seed, identity, view) alone (:mod:`.streams`), lengths are in
decimetres in the body model's coordinates (:mod:`.assets`), colours are linear RGB.
"""

from lrface.data.synthetic.camera import Camera, capture, sample_camera
from lrface.data.synthetic.clips import clip
from lrface.data.synthetic.groups import GROUPS
from lrface.data.synthetic.identities import Identity, identity
from lrface.data.synthetic.make import make
from lrface.data.synthetic.person import Person, person
from lrface.data.synthetic.prevalence import ATTRIBUTES, SETTABLE, Prevalence
from lrface.data.synthetic.render import Frame, render
from lrface.data.synthetic.truth import attributes, face_box, landmarks
from lrface.data.synthetic.views import View, view

__all__ = [
    "ATTRIBUTES",
    "GROUPS",
    "SETTABLE",
    "Camera",
    "Frame",
    "Identity",
    "Person",
    "Prevalence",
    "View",
    "attributes",
    "capture",
    "clip",
    "face_box",
    "identity",
    "landmarks",
    "make",
    "person",
    "render",
    "sample_camera",
    "view",
]
