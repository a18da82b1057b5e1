"""What a degradation costs, without training a network: to choose its strength by published scores.

EDFace-Celeb-1M prints PSNR at 4x, 4x_BD and 4x_DN and neither kernel nor noise level. The
difference between two settings depends far less on the restorer than the scores themselves, so the
strength of noise or blur can be read off the published differences: here with a linear restorer
(:mod:`lrface.models.sr.linear`), which is computed in seconds.
"""

from __future__ import annotations

import numpy as np
import torch

from lrface.data import FaceSet
from lrface.degrade import Degradation, round_uint8
from lrface.metrics.fidelity import psnr
from lrface.models.sr import linear

BATCH = 64


def linear_psnr(degradation: Degradation, train: FaceSet, test: FaceSet) -> np.ndarray:
    """PSNR of test faces that the best linear map of patches restores.

    Parameters
    ----------
    degradation : Degradation
        How faces are made small, in training and test.
    train, test : FaceSet
        Faces that the map is computed from, and faces that are restored.

    Returns
    -------
    float64 (N,)
        RGB PSNR of each test face in dB, restored faces rounded to 8 bits.

    Examples
    --------
    >>> from lrface import data, degrade
    >>> train, test = data.load("synthetic", "train", 8), data.load("synthetic", "test", 4)
    >>> plain, noisy = (
    ...     linear_psnr(degrade.setting(name), train, test) for name in ("4x", "4x_DN")
    ... )
    >>> bool((plain > noisy).all())
    True
    """

    def pairs(faces: FaceSet):
        for hr, rows in zip(faces.batches(BATCH), faces.streams.split(BATCH), strict=True):
            hr = hr.float().div(255)
            yield degradation(hr, rows), hr

    net = linear.Linear(degradation.scale)
    linear.fit_closed_form(net, pairs(train))
    return torch.cat([psnr(round_uint8(net(lr)), hr) for lr, hr in pairs(test)]).numpy()
