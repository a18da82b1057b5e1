"""A trained recogniser with what stands before it, from a face to its feature vector (CSRI,
section 3; study 05)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lrface import degrade, models
from lrface.models.recognition.align import unaligned_crop
from lrface.training.runs import Run, RunRef, device, load_run


@dataclass(frozen=True, eq=False)
class Pipeline:
    """What a network was trained with, in evaluation mode.

    A network that restores and recognises (CSRI) is shown the degraded face and enlarges it itself;
    a recogniser with a preprocessor is shown the degraded face, restored by it and rounded to 8
    bits; one that learnt from degraded faces without either (RPCN) is shown them enlarged by
    bicubic interpolation; any other is shown the face as it is.
    """

    run: Run
    net: nn.Module
    preprocessor: nn.Module | None = None

    def shown(self, hr: Tensor) -> Tensor:
        """What the recogniser sees of faces, float (N, 3, side, side) in [0, 1]: same shape."""
        degradation = self.run.config.degradation
        if hasattr(self.net, "recogniser"):
            return self.net(degradation(hr))
        if self.preprocessor is not None:
            return degrade.round_uint8(self.preprocessor(degradation(hr)))
        if degradation.scale > 1:
            return degrade.resize(degradation(hr), hr.shape[2:])
        return hr

    @torch.no_grad()
    def vectors(self, pictures: Tensor, add_mirrored: bool = False) -> Tensor:
        """Feature vectors of uint8 (N, 3, side, side): float32 (N, D), on the CPU.

        ``add_mirrored`` adds the vector of the mirrored face, as later protocols do.
        """
        recogniser, where = getattr(self.net, "recogniser", self.net), device()

        def describe(faces: Tensor) -> Tensor:
            return recogniser(unaligned_crop(faces, recogniser.input_size))

        found = []
        for part in pictures.split(16 if where.type == "cpu" else 256):
            faces = self.shown(part.to(where).float() / 255)
            faces = faces.contiguous(memory_format=torch.channels_last)
            vectors = describe(faces)
            if add_mirrored:
                vectors = vectors + describe(faces.flip(3))
            found.append(vectors.float().cpu())
        return torch.cat(found)


def of(run: Run) -> Pipeline:
    """The pipeline of a trained run on this machine's device; its preprocessor is loaded, too."""
    before, where = run.config.preprocessor, device()
    if before == "bicubic":
        before = models.restorer("bicubic", run.config.degradation.scale)
    elif isinstance(before, RunRef):
        before = load_run(before.key).model()
    return Pipeline(run, run.model().to(where), before and before.to(where))
