"""The multi-scale two-stage cascade of the WIDER FACE paper (Yang, Luo, Loy and Tang, CVPR 2016,
section 4.2), and its two-stage network on an image pyramid.

From the paper: four fully convolutional networks propose faces, each for its own range of heights,
with windows of 30, 120, 240 and 480 pixels. Each says whether there is a face, and in which third
of the range its height is, by sigmoid cross-entropy; a window without a face has no height, and
gives no gradient for it. In the second stage a network of the same build and input looks at every
proposal: face or not (overlap above 0.5 with a true box), and the box, by Euclidean loss. No image
pyramid is needed. The rival, a *two-stage* network, has one network for one range, and a pyramid.

Not found, so chosen here:

- **Layers**: valid 3x3 convolutions with ReLU, max pooling after the first two, a last convolution
  over all that is left, and 1x1 outputs; 16, 24, 32 and 48 channels. 36,000 weights for windows of
  30 pixels, 145,000 for the larger ones, which are first reduced by 2, 4 and 8 to 60. There is no
  ``paper`` size: the paper's is not known.
- A window stands for a **box** of the geometric mean height of its sub-class, three quarters as
  wide as high; between sub-classes the logarithms are averaged by their scores.
- **Second stage**: the square around a proposal, 1.5 times as high, is resized to the input; the
  network starts from the first stage's weights, its outputs near 0. Half the squared error of the
  four numbers of :data:`lrface.data.windows.LABELS` counts ten times.
- **Pyramid**: levels reduced by 1, 3, 9 and 27: the range 10-30 is a factor of three wide.
- **Numbers**: proposals of a range overlap by at most 0.7, and the best 200 go on; final boxes
  overlap by at most 0.4, the threshold is 0.01. Adam, rates and steps: as the study says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms

from lrface.data.windows import ASPECT, RANGES, STRIDE, Range, boxes_of, cut
from lrface.errors import UsageError
from lrface.models.detection.boxes import checked, ordered
from lrface.models.objective import Batch, Objective

VERSIONS = {1: 1, 2: 2}
"""Of the networks of the two stages."""
SOURCE = "Yang et al., WIDER FACE, CVPR 2016, section 4.2"
WIDTHS = (16, 24, 32, 48)
MARGIN = 1.5
"""Side of the square that the second stage sees, over the height of the proposal."""
BOX_WEIGHT = 10.0
PROPOSALS = 200
"""Proposals of each range that go on to the second stage."""
SAME_PROPOSAL, SAME_FACE = 0.7, 0.4
"""Overlaps above which the weaker of two proposals, or of two faces, is dropped."""
THRESHOLD = 0.01


class Stage(nn.Module):
    """One network of the cascade, fully convolutional with stride 4.

    Parameters
    ----------
    side : {30, 60}
        Of the window in pixels, as the network gets it.
    outputs : int
        4 of the first stage (face, three sub-classes of height), 5 of the second (face, box).

    Notes
    -----
    Maps float (N, 3, H, W) in [0, 1] to (N, outputs, H', W'), a position a window; logits, and in
    the second stage the box as :data:`lrface.data.windows.LABELS` has it. A window of ``side``
    gives one position.
    """

    def __init__(self, side: int, outputs: int):
        super().__init__()
        a, b, c, d = WIDTHS

        def conv(n_in: int, n_out: int, size: int = 3) -> list[nn.Module]:
            return [nn.Conv2d(n_in, n_out, size), nn.ReLU()]

        layers = [*conv(3, a), nn.MaxPool2d(2), *conv(a, b), nn.MaxPool2d(2), *conv(b, c)]
        layers += conv(c, d, 4) if side == 30 else [*conv(c, c), *conv(c, d, 9)]
        self.body = nn.Sequential(*layers)
        # named by its outputs, so that the second stage does not start from the first one's
        last = nn.Conv2d(d, outputs, 1)
        setattr(self, f"outputs{outputs}", last)
        self.outputs = outputs
        if outputs == 5:
            # The first stage's features are large: from PyTorch's own start the loss begins at 20
            # to 100 times its trivial value, and in some trainings most ReLUs die of it.
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)

    def forward(self, windows: Tensor) -> Tensor:
        return getattr(self, f"outputs{self.outputs}")(self.body(windows - 0.5))


class FirstLoss(Objective):
    """Sigmoid cross-entropy of the face and of the three sub-classes, summed; mean over windows."""

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        logits, labels = net(batch.hr).flatten(1).float(), batch.labels[:, :4]
        known = labels >= 0
        loss = F.binary_cross_entropy_with_logits(logits, labels.clamp(0), reduction="none")
        return {"loss": (loss * known).sum(1).mean()}


class SecondLoss(Objective):
    """Sigmoid cross-entropy of the face, and of faces half the squared error of the box."""

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        found, face = net(batch.hr).flatten(1).float(), batch.labels[:, 0]
        loss = F.binary_cross_entropy_with_logits(found[:, 0], face)
        error = (found[:, 1:] - batch.labels[:, 4:].nan_to_num()).square().sum(1)
        return {"loss": loss + BOX_WEIGHT / 2 * (face * error).mean()}


def trivial_loss(labels: np.ndarray, stage: int) -> float:
    """The least loss of a network that gives the same for every window.

    Parameters
    ----------
    labels : float (N, 8)
        :attr:`lrface.data.WindowSet.labels`.
    stage : {1, 2}

    Returns
    -------
    float
        The entropies of the labels' shares; in the second stage also the boxes' variance.

    Examples
    --------
    >>> labels = np.array([[1.0, 1, 0, 0, 0, 0, 0, 0], [0, -1, -1, -1, *4 * [np.nan]]])
    >>> [round(float(trivial_loss(labels, stage)), 3) for stage in (1, 2)]
    [0.693, 0.693]
    """

    def entropy(share: float) -> float:
        both = np.array([share, 1 - share])
        return float(-(both[both > 0] * np.log(both[both > 0])).sum())

    face = labels[:, 0] == 1
    loss = entropy(face.mean())
    if stage == 1:
        return loss + face.mean() * sum(entropy(labels[face, k].mean()) for k in (1, 2, 3))
    return loss + BOX_WEIGHT / 2 * face.mean() * float(labels[face, 4:].var(0).sum())


def build(range: Range, stage: int, scale: int, size: str) -> Stage:
    """The network of a range and a stage; ``scale`` is 1, and there is one ``size``."""
    return Stage(range.side, 4 if stage == 1 else 5)


@dataclass(frozen=True)
class Part:
    """One network of a cascade: what it is trained on, and for."""

    range: Range
    stage: int

    @property
    def build(self):
        return partial(build, self.range, self.stage)

    @property
    def objectives(self) -> dict[str, Callable[[nn.Module], Objective]]:
        loss = FirstLoss if self.stage == 1 else SecondLoss
        return {"paper": lambda net: loss()}


PARTS = {
    f"{'two-stage' if name == 'pyramid' else f'cascade {name}'}{', second' * (stage == 2)}": Part(
        range, stage
    )
    for stage in (1, 2)
    for name, range in RANGES.items()
}
"""The ten networks by the names under which they are trained: ``cascade 10-30``, ``cascade 10-30,
second``, ..., ``two-stage``, ``two-stage, second``."""
CASCADE = tuple(name for name in RANGES if name != "pyramid")
"""The ranges of the multi-scale cascade."""


@torch.no_grad()
def propose(
    net: nn.Module, range: Range, image: np.ndarray, most: int = PROPOSALS
) -> tuple[np.ndarray, np.ndarray]:
    """The windows of an image that a first-stage network takes for faces.

    Parameters
    ----------
    net : Stage
        In evaluation mode.
    range : Range
        What it was trained for.
    image : uint8 (H, W, 3)
    most : int
        Proposals at most, after those that overlap are dropped.

    Returns
    -------
    boxes : float64 (N, 4)
        x, y, w, h in pixels.
    scores : float64 (N,)
        In (0, 1), falling.

    Examples
    --------
    >>> net = Stage(30, 4).eval()
    >>> boxes, scores = propose(net, RANGES["10-30"], np.zeros((40, 50, 3), np.uint8), most=5)
    >>> boxes.shape, scores.shape
    ((5, 4), (5,))
    """
    boxes, scores = [], []
    for level in range.levels:
        if level > 1 and range.edges[0] * level > max(image.shape[:2]):
            continue  # no face of this height fits into the image
        found = net(_reduced(image, range, level).to(next(net.parameters()).device))[0]
        chance = found[0].flatten().sigmoid()
        best = chance.topk(min(len(chance), 10 * most)).indices
        y, x = best // found.shape[2], best % found.shape[2]
        share = found[1:].flatten(1)[:, best].sigmoid().cpu().double().numpy().T
        share /= share.sum(1, keepdims=True)
        height = np.exp(share @ np.log(range.heights)) * level
        step = STRIDE * range.pool * level
        centre = np.stack([x.cpu().numpy() * step, y.cpu().numpy() * step], 1)
        size = np.stack([ASPECT * height, height], 1)
        boxes.append(np.concatenate([centre - size / 2, size], 1))
        scores.append(chance[best].cpu().double().numpy())
    boxes, scores = np.concatenate(boxes), np.concatenate(scores)
    kept = suppressed(boxes, scores, SAME_PROPOSAL)[:most]
    return boxes[kept], scores[kept]


def _reduced(image: np.ndarray, range: Range, level: int) -> Tensor:
    """The image at a level, float (1, 3, h, w): its edges are repeated by half a window, so that
    the window of position k has its centre at pixel ``k * step`` of the image."""
    factor, half = range.pool * level, range.window * level // 2
    h, w = image.shape[:2]
    down, right = (half + half + -side % factor for side in (h, w))
    rows = np.arange(-half, h + down - half).clip(0, h - 1)
    columns = np.arange(-half, w + right - half).clip(0, w - 1)
    if factor == 1:
        large = image[rows[:, None], columns]
    else:
        size = (len(columns) // factor, len(rows) // factor)
        large = cv2.resize(image[rows[:, None], columns], size, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(large).permute(2, 0, 1)[None].float() / 255


def squares_around(boxes: np.ndarray) -> np.ndarray:
    """What the second stage sees of proposals (N, 4): left, top, side in whole pixels, (N, 3)."""
    side = np.maximum(np.rint(MARGIN * boxes[:, 3]), 2)
    corner = np.rint(boxes[:, :2] + boxes[:, 2:] / 2 - side[:, None] / 2)
    return np.concatenate([corner, side[:, None]], 1).astype(int)


@torch.no_grad()
def judged(
    net: nn.Module, range: Range, image: np.ndarray, proposals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What a second-stage network makes of proposals: boxes (N, 4) and scores (N,) in (0, 1)."""
    if not len(proposals):
        return np.zeros((0, 4)), np.zeros(0)
    squares = squares_around(proposals)
    seen = torch.from_numpy(cut(image, squares, range.side)).permute(0, 3, 1, 2).float() / 255
    device = next(net.parameters()).device
    found = torch.cat([net(part.to(device)).flatten(1).cpu() for part in seen.split(64)]).double()
    return boxes_of(squares, found[:, 1:].clamp(-3, 3).numpy()), found[:, 0].sigmoid().numpy()


def suppressed(boxes: np.ndarray, scores: np.ndarray, overlap: float) -> np.ndarray:
    """Rows of the boxes that stay, by falling score: no two overlap by more than ``overlap``."""
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    kept = nms(torch.from_numpy(corners), torch.from_numpy(scores), overlap)
    return kept.numpy()


@dataclass(frozen=True, eq=False)
class Cascade:
    """A trained cascade, or a trained two-stage network, as a detector.

    Parameters
    ----------
    first, second : mapping of str to Module
        The networks of both stages by the name of their range
        (:data:`lrface.data.windows.RANGES`).
    most : int
        Proposals of each range.

    Raises
    ------
    UsageError
        An unknown range, or a range without both networks.

    Examples
    --------
    >>> nets = {"10-30": Stage(30, 4).eval()}, {"10-30": Stage(30, 5).eval()}
    >>> boxes, scores = Cascade(*nets, most=20).detect(np.zeros((64, 64, 3), np.uint8))
    >>> boxes.shape[1], len(boxes) == len(scores)
    (4, True)
    """

    first: Mapping[str, nn.Module]
    second: Mapping[str, nn.Module]
    most: int = PROPOSALS

    def __post_init__(self) -> None:
        if self.first.keys() != self.second.keys() or not self.first.keys() <= RANGES.keys():
            raise UsageError(
                "a cascade has two networks for each of its ranges, which are of "
                f"{', '.join(RANGES)}; got {', '.join(self.first)} and {', '.join(self.second)}"
            )

    def propose(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The proposals of all ranges, boxes float64 (N, 4) and scores (N,), as ``detect``."""
        image = checked(image)
        found = [propose(net, RANGES[r], image, self.most) for r, net in self.first.items()]
        boxes, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        kept = suppressed(boxes, scores, SAME_PROPOSAL)
        return ordered(boxes[kept], scores[kept])

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float64 (N, 4) and scores float64 (N,) of an image uint8 (H, W, 3)."""
        image = checked(image)
        boxes, scores = [], []
        for name, net in self.first.items():
            proposals, _ = propose(net, RANGES[name], image, self.most)
            box, score = judged(self.second[name], RANGES[name], image, proposals)
            boxes.append(box[score >= THRESHOLD])
            scores.append(score[score >= THRESHOLD])
        boxes, scores = np.concatenate(boxes), np.concatenate(scores)
        kept = suppressed(boxes, scores, SAME_FACE)
        return ordered(boxes[kept], scores[kept])
