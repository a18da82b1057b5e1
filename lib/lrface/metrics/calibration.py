"""What a degradation costs, without training a network: to choose its strength by published scores.

EDFace-Celeb-1M prints PSNR at 4x, 4x_BD and 4x_DN and neither kernel nor noise level. The
difference between two settings depends far less on the restorer than the scores themselves, so the
strength of noise or blur can be read off the published differences: here with a linear restorer
(:mod:`lrface.models.sr.linear`), which is computed in seconds.

Measured with 300 training and 200 test faces, PSNR at 4x minus PSNR at the setting, in dB:

========================= ============== ======
setting                   rendered faces CelebA
========================= ============== ======
DN, sigma 3                         0.30   0.32
DN, sigma 5                         0.64   0.68
DN, sigma 7                         1.01   1.08
DN, sigma 10                        1.55   1.66
DN, sigma 20                        3.06   3.27
DN, sigma 30                        4.17   4.43
BD, sigma 0.6, sampled              0.84   0.89
BD, sigma 1.0, sampled              0.38   0.41
BD, sigma 1.6, sampled              0.07   0.08
BD, sigma 2.0, sampled              0.05   0.06
BD, sigma 1.0, resized              0.01   0.02
BD, sigma 1.6, resized              0.09   0.11
========================= ============== ======

Published are 0.63 to 1.10 for DN by seven methods (median 0.98; HiFaceGAN 2.43). At sigma 30 small
networks on rendered faces lose 4.15 to 4.28, as the linear restorer does; at sigma 7 a small EDSR
loses 1.2, somewhat more. So the benchmark's noise was 5 to 7: the default of 30 is the noise of
another benchmark. For BD the paper prints *gains* of 0.17 to 0.62 by seven methods. No blur tried
here gains anything, and the best low-pass filter there is (32x32 cosine coefficients of a face)
0.15 on rendered faces and 0.23 on CelebA: what was done at BD remains unknown.
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
