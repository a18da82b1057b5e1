"""Losses of networks that restore clips.

A batch holds ``lr`` (N, T, 3, h, w), ``hr`` (N, T, 3, H, W) and, where known, ``points`` (N, T, 68
or 5, 2) in pixels of ``hr``. Every loss is averaged over the clips of a batch, so that gradients of
several processes can be averaged; within a clip it is a sum (MuCAN: a mean).
"""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.objective import Batch, Objective
from lrface.models.recognition.align import five_points


def fractions(points: Tensor, height: int, width: int) -> Tensor:
    """Five landmarks in fractions of the frame, from its centre, given 68 or 5 in pixels.

    Parameters
    ----------
    points : Tensor
        float (..., 68, 2), iBUG 300-W order, or (..., 5, 2): eye, eye, nose tip, mouth corner,
        mouth corner; x and y in pixels, NaN where unknown.
    height, width : int
        Size of the frame in pixels.

    Returns
    -------
    Tensor
        float (..., 5, 2): x / width - 0.5 and y / height - 0.5, NaN where unknown.

    Examples
    --------
    >>> import torch
    >>> fractions(torch.full((5, 2), 48.0), 128, 96)[0].tolist()
    [0.0, -0.125]
    """
    if points.shape[-2] == 68:
        points = five_points(points.reshape(-1, 68, 2)).reshape(*points.shape[:-2], 5, 2)
    return points / points.new_tensor([width, height]) - 0.5


def pixels(landmarks: Tensor, height: int, width: int) -> Tensor:
    """Converts landmarks (..., 5, 2) back to pixels; the inverse of :func:`fractions`."""
    return (landmarks + 0.5) * landmarks.new_tensor([width, height])


def charbonnier(error: Tensor, epsilon: float) -> Tensor:
    """sqrt(error ** 2 + epsilon ** 2), element by element."""
    return (error.square() + epsilon**2).sqrt()


class Charbonnier(Objective):
    """Charbonnier loss of the reference frame.

    EDVR sums it over the frame with epsilon 1e-6; MuCAN takes the mean with epsilon 1e-3.
    """

    adam = {"betas": (0.9, 0.99)}

    def __init__(self, reference: int, epsilon: float = 1e-6, mean: bool = False):
        super().__init__()
        self.reference, self.epsilon, self.mean = reference, epsilon, mean

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        error = net(batch.lr).float() - batch.hr[:, self.reference]
        loss = charbonnier(error, self.epsilon)
        return {"loss": loss.mean() if self.mean else loss.sum() / len(loss)}


class VidFaceLoss(Objective):
    """Charbonnier loss of all frames, and smooth L1 of the landmarks of every iteration.

    Iteration i (from 0) counts 2 ** i times. Pixel errors are in [-1, 1], the range that the
    network works in; landmark errors in fractions of the frame.

    Parameters
    ----------
    per_frame : bool
        True (paper, equation 8): the root of the summed squared error of a frame. The paper does
        not print its weight lambda_1. Here it is the root of the number of values in a frame, so
        that an error that is the same everywhere costs as much as in the released code. False
        (code): the root of the squared error of each value, summed.
    doubled : int, optional
        A frame whose loss counts twice. The released code doubles frame 3, the middle one of
        seven, although frames are in random order.
    mirrors_landmarks : bool
        Whether the landmarks of a mirrored clip are mirrored with it.

    Notes
    -----
    Frames whose five landmarks are not all known have no landmark loss. The released training
    mirrors clips at random without mirroring their landmarks; ``mirrors_landmarks=False`` does.

    The gradient's norm is about 4e4 at first and is clipped to ``clip_norm`` at every step, so
    clipping normalises it. The optimiser is Adam without weight decay inside Lookahead.
    """

    adam = {"betas": (0.9, 0.99)}
    needs_landmarks = True
    clip_norm = 0.05
    lookahead = {"alpha": 0.5, "every": 6}

    def __init__(
        self, per_frame: bool = True, doubled: int | None = None, mirrors_landmarks: bool = True
    ):
        super().__init__()
        self.mirrors_landmarks = mirrors_landmarks
        self.per_frame, self.doubled = per_frame, doubled

    def _pixel(self, error: Tensor) -> Tensor:
        """Loss of each frame, (N, T), from errors (N, T, 3, H, W)."""
        if self.per_frame:
            size = math.prod(error.shape[2:])
            return math.sqrt(size) * charbonnier(error.flatten(2).norm(dim=2), 1e-6)
        return charbonnier(error, 1e-6).flatten(2).sum(2)

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        faces, landmarks = net(batch.lr)
        per_frame = self._pixel(2 * (faces.float() - batch.hr))
        pixel = per_frame.sum()
        if self.doubled is not None:
            pixel = pixel + per_frame[:, self.doubled].sum()
        points = pixel.new_zeros(())
        if landmarks and batch.points is not None:
            truth = fractions(batch.points.float(), *batch.hr.shape[-2:])
            known = truth.isfinite().flatten(2).all(2)[..., None, None]
            truth = truth.nan_to_num()
            for i, found in enumerate(landmarks):
                error = F.smooth_l1_loss(found.float(), truth, reduction="none")
                points = points + 2**i * (error * known).sum()
        n = len(batch.lr)
        return {
            "loss": (pixel + points) / n,
            "pixel": pixel.detach() / n,
            "landmarks": points.detach() / n,
        }
