"""What a poor camera makes of a moment, for every position of the page's controls.

The library's own camera takes each picture when the site is built; the browser only shows them.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrface import degrade
from lrface.data.synthetic.camera import Camera, capture
from lrface.data.synthetic.identities import identity
from lrface.data.synthetic.person import person
from lrface.data.synthetic.render import Frame, render
from lrface.data.synthetic.streams import stream
from lrface.data.synthetic.views import view
from lrface.site.pictures import as_uri

Moment = tuple[int, int, int]
MOMENTS: tuple[Moment, ...] = ((2026, 12, 6), (2026, 40, 5), (2026, 63, 1))
"""(seed, number of the person, number of the view) of people who are not in the embedded set."""
HEIGHTS = {32: "4x", 16: "8x"}
"""Rows of a capture, and the setting whose networks take as many."""
EXPOSURE = (0.35, 0.6, 1.0, 1.6, 2.5)
NOISE = (0, 3000, 800, 200)
"""Electrons at white; 0: no noise."""
READ_NOISE = 5.0
JPEG = (0, 75, 45, 20)
"""Quality; 0: not compressed. Compressed pictures have colour at half the resolution."""
PSF = 0.5
"""Of the lens, in pixels of the capture."""


def frame_of(moment: Moment) -> Frame:
    """The light of a moment, 128 pixels a side."""
    seed, number, views = moment
    who = person(identity(seed, number))
    return render(who, view(who.identity, views), 128)


def sheet(frame: Frame, moment: Moment, height: int) -> np.ndarray:
    """A moment by the poor camera at every position of the controls.

    Parameters
    ----------
    frame : Frame
        Of the moment.
    moment : (seed, person, view)
        Numbers the stream of the sensor's noise.
    height : int
        Rows and columns of a capture.

    Returns
    -------
    uint8 (exposures x noises x height, mosaics x qualities x height, 3)
        A row of captures an exposure and noise, a column a mosaic and quality.
    """
    rows = []
    for exposure, full_well in product(EXPOSURE, NOISE):
        row = []
        for bayer, jpeg in product((False, True), JPEG):
            camera = Camera(
                height,
                psf=PSF,
                exposure=exposure,
                full_well=full_well,
                read_noise=READ_NOISE if full_well else 0.0,
                bayer=bayer,
                chroma_420=jpeg > 0,
                jpeg=jpeg,
            )
            # the same stream for every position: what changes is the control alone
            row.append(capture(frame, camera, stream(*moment, "sensor")))
        rows.append(np.concatenate(row, 1))
    return np.concatenate(rows, 0)


def every() -> dict[str, Any]:
    """All that the panel shows: its controls' positions and the pictures as addresses."""
    moments = []
    for moment in MOMENTS:
        frame = frame_of(moment)
        good = _channels_first(frame.picture())
        shown = {"truth": as_uri(good), "sheets": {}, "small": {}}
        for height, setting in HEIGHTS.items():
            small = degrade.setting(setting)(good[None].float() / 255)[0]
            shown["sheets"][height] = as_uri(_channels_first(sheet(frame, moment, height)))
            shown["small"][height] = as_uri(degrade.to_uint8(small))
        moments.append(shown)
    controls = {"exposure": EXPOSURE, "noise": NOISE, "jpeg": JPEG, "heights": HEIGHTS}
    return controls | {"moments": moments}


def _channels_first(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.copy()).permute(2, 0, 1)
