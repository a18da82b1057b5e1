"""A synthetic face world with exact truth: identities, pictures, poor-camera captures and clips
from a CC0 body model.

``make(folder, identities, per_identity, seed)`` writes a set; ``identity``, ``person``, ``view``
and ``render`` make one picture.
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
