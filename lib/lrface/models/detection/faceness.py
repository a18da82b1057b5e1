"""Faceness: faces found by the responses of their parts (Yang, Luo, Loy and Tang, ICCV 2015).

The slides name the parts hair, eye, nose and mouth, ask "why using attributes?", and show partness
maps, a face proposal made from them, and a curve on FDDB; they print no number. From the paper and
its journal version, as far as we know them: a network a part is trained on the attributes that this
part shows, and on no box; where a part is, its last convolution responds. Beard is the fifth part,
the parts share early layers, a window is scored by the response inside a part's region over that in
the rest of the window, the regions are learnt from training boxes, proposals are ranked by the
score, and a second network refines them (face or not, box).

Not found, so chosen here:

- **Layers**: two shared 3x3 convolutions (12 and 24 channels), max pooling after each, and two more
  for every part (24 and 16), all with batch normalisation and ReLU; stride 4. The paper's start
  from ImageNet.
- A part's **attributes** are read from the largest response of each channel, so that it says where.
  On background windows (:mod:`lrface.data.part_windows`) a part learns to be silent: the
  largest value of its map also tells whether there is a face. Losses are sigmoid cross-entropies,
  that of the face weighted by 0.1.
- **Partness map**: the mean over the channels of the last convolution.
- **Configuration** of the parts, and a window's **faceness**:
  :mod:`lrface.models.detection.part_configuration`.
- **Scales**: the parts are learnt on faces of 20 to 40 pixels; the image is doubled, and reduced by
  1, 2, 4 and 8.
- **Numbers**: proposals overlap by at most 0.7; the best 300 go on to the second stage, that of a
  trained cascade (:mod:`lrface.models.detection.cascade`), whose thresholds hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.data.part_windows import ATTRIBUTES, PARTS, RANGE
from lrface.data.windows import ASPECT, RANGES, STRIDE, boxes_of, overlaps
from lrface.errors import UsageError
from lrface.models.detection.boxes import checked, ordered
from lrface.models.detection.candidates import dense_windows
from lrface.models.detection.cascade import (
    SAME_FACE,
    SAME_PROPOSAL,
    THRESHOLD,
    judged,
    suppressed,
)
from lrface.models.detection.part_configuration import Configuration, best_region, integral
from lrface.models.objective import Batch, Objective
from lrface.models.stages import Faces, TrainingStage

NAME = "Faceness"
VERSION = 1
SOURCE = "Yang et al., From facial parts responses to face detection, ICCV 2015"
WIDTHS = (12, 24, 24, 16)
LEVELS = (0.5, 1.0, *RANGE.levels[1:])
"""By how much the image is reduced."""
BORDER = 16
"""Pixels by which an image's edges are repeated before it is seen."""
THERE = 0.1
"""Weight of a part being there in the loss. With 1 all parts respond all over the face."""
PROPOSALS = 300
SEEN = 3000
"""Training windows from which the configuration is learnt."""


class PartNetworks(nn.Module):
    """The part networks: hair, eye, nose, mouth and beard, fully convolutional with stride 4.

    Notes
    -----
    Maps float (N, 3, H, W) in [0, 1] to the partness maps (N, 5, H/4, W/4), in the order of
    :data:`lrface.data.part_windows.PARTS`, the logits of the attributes (N, 25) and those of each
    part being there (N, 5).

    ``regions`` (5, 4), ``floor``, ``slope`` and ``middle`` (5,) are the fields of
    :class:`Configuration`; they are learnt after the weights.
    """

    def __init__(self) -> None:
        super().__init__()
        a, b, c, d = WIDTHS

        def conv(n_in: int, n_out: int) -> list[nn.Module]:
            layer = nn.Conv2d(n_in, n_out, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            return [layer, nn.BatchNorm2d(n_out), nn.ReLU()]

        pool = nn.MaxPool2d(2)
        self.shared = nn.Sequential(*conv(3, a), pool, *conv(a, b), pool)
        self.parts = nn.ModuleDict({p: nn.Sequential(*conv(b, c), *conv(c, d)) for p in PARTS})
        self.attributes = nn.ModuleDict({p: nn.Linear(d, len(PARTS[p])) for p in PARTS})
        self.there = nn.Parameter(torch.tensor([[1.0, -2.0]]).repeat(len(PARTS), 1))
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0])
        self.register_buffer("regions", whole.repeat(len(PARTS), 1))
        for name, value in (("floor", 1.0), ("slope", 1.0), ("middle", 0.0)):
            self.register_buffer(name, torch.full((len(PARTS),), value))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        low = self.shared(4 * (images - 0.5))
        found = [part(low) for part in self.parts.values()]
        maps = torch.stack([one.mean(1) for one in found], 1)
        heads = zip(self.attributes.values(), found, strict=True)
        attributes = torch.cat([head(one.amax((2, 3))) for head, one in heads], 1)
        # a larger response never speaks against the part
        gain, bias = F.softplus(self.there[:, 0]), self.there[:, 1]
        return maps, attributes, gain * maps.amax((2, 3)) + bias

    @property
    def configuration(self) -> Configuration:
        """The learnt spatial configuration of the parts."""
        learnt = (self.regions, self.floor, self.slope, self.middle)
        return Configuration(*(x.detach().cpu().double().numpy() for x in learnt))


class PartLoss(Objective):
    """Sigmoid cross-entropy of each part's attributes on faces, and of each part being there."""

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        _, attributes, there = net(batch.hr)
        face, truth = batch.labels[:, :1], batch.labels[:, 1 : 1 + len(ATTRIBUTES)]
        cost = F.binary_cross_entropy_with_logits
        of_faces = (face * cost(attributes.float(), truth, reduction="none")).sum(1).mean()
        present = cost(there.float(), face.expand_as(there), reduction="none").sum(1).mean()
        return {"loss": of_faces + THERE * present, "trivial": trivial_loss(batch.labels)}


def trivial_loss(labels: Tensor) -> Tensor:
    """The least loss of a network that gives the same for every window.

    Parameters
    ----------
    labels : float (N, 30)
        Of :func:`lrface.data.load_part_windows`.

    Returns
    -------
    Tensor
        float (), the entropies of the labels' shares.

    Examples
    --------
    >>> labels = torch.zeros(2, 30)
    >>> labels[0, :3] = 1
    >>> round(float(trivial_loss(labels)), 3)  # no attribute differs; five parts are there or not
    0.347
    """
    face, truth = labels[:, :1], labels[:, 1 : 1 + len(ATTRIBUTES)]
    share = face.mean()
    attributes = (face * truth).sum(0) / face.sum().clamp(min=1)
    both = (torch.stack([p, 1 - p]) for p in (attributes, share))
    of_attributes, of_face = (-torch.xlogy(p, p).sum() for p in both)
    return share * of_attributes + THERE * len(PARTS) * of_face


def build(scale: int, size: str) -> PartNetworks:
    """The network; ``scale`` is 1, and there is one ``size``."""
    return PartNetworks()


def stages(net: nn.Module, loss: str, patch: int | None) -> list[TrainingStage]:
    """The weights by gradient descent, then the configuration in closed form."""
    learn = TrainingStage("configuration", fit=learn_configuration)
    return [TrainingStage("parts", PartLoss(), share=1), learn]


def learn_configuration(net: PartNetworks, faces: Faces) -> None:
    """Learn regions and log odds from training boxes, and put them into the network.

    Of every window with a face two boxes near the true one count as faces (overlap of at least
    0.5), of every window four boxes anywhere as others (overlap below 0.4).
    """
    random = np.random.Generator(np.random.Philox(0))
    tables, boxes, labels = [], [], []
    with torch.no_grad():
        for batch in faces(SEEN):
            tables.append(integral(net(batch.hr)[0].cpu().numpy()))
            own = (_training_boxes(row, batch.hr.shape[-1], random) for row in batch.labels.cpu())
            for box, label in own:
                boxes.append(box / STRIDE)
                labels.append(label)
    tables = np.concatenate(tables)
    window = np.repeat(np.arange(len(tables)), [len(one) for one in boxes])
    boxes, labels = np.concatenate(boxes), np.concatenate(labels)
    for k in np.arange(len(PARTS)):
        floor = float(tables[:, k, -1, -1].mean()) / (tables.shape[2] - 1) ** 2 + 1e-6
        region, slope, middle = best_region(tables[:, k], window, boxes, labels, floor)
        net.regions[k] = torch.from_numpy(region)
        net.floor[k], net.slope[k], net.middle[k] = floor, slope, middle


def _training_boxes(
    row: Tensor, side: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of a window in its pixels, float (M, 4), and whether each is on its face, (M,)."""
    low, high = RANGE.edges[0], RANGE.edges[-1]
    height = np.exp(random.uniform(np.log(low), np.log(high), 4))
    corner = random.uniform(0, 1, (4, 2)) * (side - np.stack([ASPECT * height, height], 1))
    others = np.concatenate([corner, np.stack([ASPECT * height, height], 1)], 1)
    if row[0] != 1:
        return others, np.zeros(4, bool)
    truth = boxes_of(np.array([[0, 0, side]]), row[None, -4:].double().numpy())
    tall = truth[0, 3] * np.exp(random.uniform(-0.15, 0.15, 2))
    size = np.stack([ASPECT * tall, tall], 1)
    centre = truth[0, :2] + truth[0, 2:] / 2 + random.uniform(-0.1, 0.1, (2, 2)) * size
    near = np.concatenate([centre - size / 2, size], 1)
    near = near[overlaps(near, truth)[:, 0] >= 0.5]
    others = others[overlaps(others, truth)[:, 0] < 0.4]
    return np.concatenate([near, others]), np.arange(len(near) + len(others)) < len(near)


@torch.no_grad()
def partness(net: nn.Module, image: np.ndarray, level: float) -> np.ndarray:
    """The partness maps of an image at a level.

    Parameters
    ----------
    net : PartNetworks
        In evaluation mode.
    image : uint8 (H, W, 3)
    level : float
        By how much the image is reduced; 0.5 doubles it.

    Returns
    -------
    float32 (5, H', W')
        Cell (y, x) is at pixels ``4 * level * (x, y) - 16 * level`` and on of the image, whose
        edges are repeated around it.

    Examples
    --------
    >>> partness(PartNetworks().eval(), np.zeros((40, 48, 3), np.uint8), 1).shape
    (5, 18, 20)
    """
    size = [max(1, round(side / level)) for side in image.shape[1::-1]]
    how = cv2.INTER_AREA if level > 1 else cv2.INTER_LINEAR
    seen = image if level == 1 else cv2.resize(image, size, interpolation=how)
    right, below = (BORDER + -side % STRIDE for side in size)
    seen = cv2.copyMakeBorder(seen, BORDER, below, BORDER, right, cv2.BORDER_REPLICATE)
    windows = torch.from_numpy(seen).permute(2, 0, 1)[None].float() / 255
    return net(windows.to(next(net.parameters()).device))[0][0].float().cpu().numpy()


def faceness(net: PartNetworks, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The faceness of windows of an image: the sum of its parts' log odds.

    Parameters
    ----------
    net : PartNetworks
        In evaluation mode.
    image : uint8 (H, W, 3)
    boxes : float (M, 4)
        x, y, w, h in pixels. Each is looked for at the level at which it is 20 to 40 pixels high.

    Returns
    -------
    float64 (M,)

    Raises
    ------
    UsageError
        Boxes of another shape, or without a height or width.

    Examples
    --------
    >>> image = np.zeros((64, 64, 3), np.uint8)
    >>> faceness(PartNetworks().eval(), image, np.array([[8, 8, 24, 32]])).shape
    (1,)
    """
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or (boxes[:, 2:] <= 0).any():
        raise UsageError(f"want boxes (M, 4) with sides over 0, got an array {boxes.shape}")
    how, scores = net.configuration, np.zeros(len(boxes))
    level = np.exp2(np.floor(np.log2(boxes[:, 3] / RANGE.edges[0])))
    level = level.clip(LEVELS[0], LEVELS[-1])
    for one in np.unique(level):
        here = level == one
        tables = integral(partness(net, image, float(one)))
        cells = boxes[here] / (one * STRIDE)
        cells[:, :2] += BORDER / STRIDE
        scores[here] = how.faceness(tables, cells)
    return scores


@dataclass(frozen=True, eq=False)
class Faceness:
    """Trained part networks as a detector, refined by the second stage of a cascade.

    Parameters
    ----------
    parts : PartNetworks
        In evaluation mode.
    second : mapping of str to Module
        Second-stage networks by the name of their range (:data:`lrface.data.windows.RANGES`).
        Without any there are proposals and no detections.
    windows : callable
        Gives the boxes and scores of an image that are ranked by their faceness: windows
        everywhere, or the ``propose`` of a :class:`~lrface.models.detection.cascade.Cascade`.
    most : int
        Proposals that go on.

    Raises
    ------
    UsageError
        An unknown range.

    Examples
    --------
    >>> from lrface.models.detection.cascade import Stage
    >>> one = Faceness(PartNetworks().eval(), {"10-30": Stage(30, 5).eval()}, most=20)
    >>> boxes, scores = one.detect(np.zeros((64, 64, 3), np.uint8))
    >>> boxes.shape[1], len(boxes) == len(scores)
    (4, True)
    """

    parts: PartNetworks
    second: Mapping[str, nn.Module]
    windows: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]] = dense_windows
    most: int = PROPOSALS

    def __post_init__(self) -> None:
        if not self.second.keys() <= RANGES.keys():
            raise UsageError(
                f"the ranges of a second stage are {', '.join(RANGES)}; got "
                f"{', '.join(self.second)}"
            )

    def propose(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The windows with most faceness, boxes float64 (N, 4) and scores (N,), as ``detect``."""
        image = checked(image)
        boxes = self.windows(image)[0]
        if not len(boxes):
            return ordered([], [])
        scores = faceness(self.parts, image, boxes)
        boxes, scores = ordered(boxes, scores)
        boxes, scores = boxes[: 10 * self.most], scores[: 10 * self.most]
        kept = suppressed(boxes, scores, SAME_PROPOSAL)[: self.most]
        return ordered(boxes[kept], scores[kept])

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float64 (N, 4) and scores float64 (N,) of an image uint8 (H, W, 3)."""
        if not self.second:
            raise UsageError("Faceness without a second stage proposes faces and detects none")
        image = checked(image)
        proposals, _ = self.propose(image)
        nearest = nearest_range(proposals[:, 3], tuple(self.second))
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0)]
        for number, (name, net) in enumerate(self.second.items()):
            box, score = judged(net, RANGES[name], image, proposals[nearest == number])
            boxes.append(box[score >= THRESHOLD])
            scores.append(score[score >= THRESHOLD])
        boxes, scores = np.concatenate(boxes), np.concatenate(scores)
        kept = suppressed(boxes, scores, SAME_FACE)
        return ordered(boxes[kept], scores[kept])


def nearest_range(heights: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Which of the ranges holds each height, or is nearest to it, int (N,).

    Examples
    --------
    >>> nearest_range(np.array([5.0, 100, 900]), ("10-30", "30-120", "120-240"))
    array([0, 1, 2])
    """
    log = np.log(np.asarray(heights, float))[:, None]
    low = np.log([RANGES[name].edges[0] for name in names])
    high = np.log([RANGES[name].edges[-1] * max(RANGES[name].levels) for name in names])
    return np.maximum(low - log, log - high).argmin(1)
