"""What a training step sees (:class:`Batch`) and what it descends (:class:`Objective`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn


class Batch(NamedTuple):
    """What one step sees, on the device it runs on."""

    lr: Tensor
    """float (N, 3, h, w) in [0, 1]; of clips (N, T, 3, h, w)."""
    hr: Tensor
    """float (N, 3, H, W) in [0, 1]; of clips (N, T, 3, H, W)."""
    points: Tensor | None = None
    """float (N, 68, 2), of clips (N, T, 68, 2): landmarks in pixels of ``hr``, NaN where unknown;
    None unless needed."""
    labels: Tensor | None = None
    """int64 (N,): the number of each face's identity among the training identities in order of
    their names; float (N, A): 1 for each attribute that the face has, else 0; or of windows float
    (N, 8), :data:`lrface.data.windows.LABELS`."""
    native: Tensor | None = None
    """bool (N,): whether ``hr`` is an enlarged native low-resolution face, of which no
    high-resolution truth exists; None: no face is."""

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; pictures (not clips) in channels-last memory format."""
        layout = torch.channels_last if self.lr.ndim == 4 else torch.contiguous_format
        lr, hr = (x.to(device).contiguous(memory_format=layout) for x in (self.lr, self.hr))
        rest = (x if x is None else x.to(device) for x in (self.points, self.labels, self.native))
        return Batch(lr, hr, *rest)


class Objective(nn.Module):
    """What a network is trained for: ``objective(net, batch)`` gives a dict of scalars.

    ``loss`` is descended by the network and, if there is a discriminator, ``discriminator`` by
    that. ``trivial``, the loss of a network that has learnt nothing, is logged beside it. A network
    in training mode may return more than the image, for its objective; in evaluation mode it
    returns the image.
    """

    adam: ClassVar[Mapping[str, Any]] = {}
    """Adam's settings beside the learning rate (``betas``, ``weight_decay``)."""
    clip_norm: ClassVar[float | None] = None
    """Largest norm of the network's gradient: a larger one is scaled down to it at every step."""
    lookahead: ClassVar[Mapping[str, Any] | None] = None
    """Settings of :class:`lrface.training.lookahead.Lookahead`; None: the optimiser alone."""
    mirrors_landmarks: bool = True
    """Whether the landmarks of a mirrored clip are mirrored with it. VidFace's code omits it."""
    discriminator_lr_ratio: ClassVar[float] = 1.0
    """Learning rate of the discriminator over that of the network."""
    needs_landmarks: bool = False
    """Whether it needs the batch's landmarks, if not every objective of its method does."""
    needs_whole_batch: bool = False
    """Whether it is no mean over faces but compares or counts those of the whole batch: several
    processes cannot then share a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.discriminator: nn.Module | None = None
        """The module that judges the network in an adversarial objective."""
        self.state: nn.Module | None = None
        """A module that the objective changes itself, by no gradient (the centres of identities):
        part of a checkpoint."""

    def groups(self, net: nn.Module) -> list[dict[str, Any]]:
        """The parameters that are trained, in groups for the optimiser; ``rate`` multiplies the
        learning rate of a group."""
        return [{"params": [p for p in net.parameters() if p.requires_grad]}]

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        raise TypeError(f"{type(self).__name__} has no forward(net, batch)")
