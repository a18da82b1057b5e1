"""CSRI (Cheng, Zhu and Gong, 2018): complement super-resolution and identity learning.

VDSR and CentreFace in a row, trained on synthetic LR faces, which have an HR original, and on
native LR faces, which have none. L = L_fr of synthetic faces + L_fr of native faces + lambda L_sr
(equation 4): super-resolution, which can be learnt from synthetic pairs only, is adapted to native
faces through the cross-entropy of their identities. Without native faces it is equation 3, the
first of the paper's two training steps; the second starts from its network. A native face's feature
is that of ``recogniser``, compared by Euclidean distance.

Where the paper leaves a choice:

- Equation 1 is a squared norm, so a face's error is summed over its pixels (here in [0, 1]). Each
  of the three terms is the mean over its own faces, or 0 in a batch without any.
- CentreFace's centre loss is not in equation 2 and is left out.
- The paper names SGD and prints neither learning rates nor batch size; here Adam, with CentreFace's
  weight decay.
- One softmax is over the identities of both sets together.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.losses import Classification, frozen, mean_over
from lrface.models.objective import Batch, Objective
from lrface.models.recognition import centreface
from lrface.models.recognition.align import unaligned_crop
from lrface.models.sr import vdsr

VERSION = 1
LAMBDA = 0.003
"""Weight of the super-resolution loss (section 3)."""


class CSRI(nn.Module):
    """``restorer`` (VDSR) and ``recogniser`` (CentreFace), each the same network as alone.

    In evaluation mode it is its restorer: float (N, 3, h, w) in [0, 1] to (N, 3, h * scale, w *
    scale), h = w. In training mode it returns (face, features, logits of the identities). A face's
    feature is ``recogniser`` of the restored face, without alignment
    (:func:`lrface.models.recognition.align.unaligned_crop`), at ``recogniser.input_size``.
    """

    def __init__(self, restorer: nn.Module, recogniser: nn.Module):
        super().__init__()
        self.scale, self.restorer, self.recogniser = restorer.scale, restorer, recogniser

    def forward(self, lr: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        sr = self.restorer(lr)
        if not self.training:
            return sr
        return sr, *self.recogniser(unaligned_crop(sr.to(lr.dtype), self.recogniser.input_size))


class PaperLoss(Objective):
    """Equation 4, or equation 3 for a batch whose ``native`` is None.

    A term of weight 0 is left out: without super-resolution loss and native faces, training is bit
    for bit that of VDSR and CentreFace in a row under cross-entropy.
    """

    adam = Classification.adam
    # means over two kinds of faces, which the parts of a batch may have in different numbers
    needs_whole_batch = True

    def __init__(self, weight: float = LAMBDA):
        super().__init__()
        self.weight = weight

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        sr, _, logits = net(batch.lr)
        logits = logits.to(batch.lr.dtype)
        if batch.native is None:
            terms = {"synthetic": F.cross_entropy(logits, batch.labels)}
        else:
            each = F.cross_entropy(logits, batch.labels, reduction="none")
            terms = {
                "synthetic": mean_over(each, ~batch.native),
                "native": mean_over(each, batch.native),
            }
        loss = sum(terms.values())
        if self.weight:
            errors = (sr - batch.hr).square().sum((1, 2, 3))
            terms["hallucination"] = (
                errors.mean() if batch.native is None else mean_over(errors, ~batch.native)
            )
            loss = loss + self.weight * terms["hallucination"]
        return {"loss": loss} | {name: term.detach() for name, term in terms.items()}


class RecogniserLoss(Objective):
    """Cross-entropy with a frozen restorer: the fine-tuning after joint training (section 5.3)."""

    adam = Classification.adam

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        with frozen(net.restorer):
            _, _, logits = net(batch.lr)
        return {"loss": F.cross_entropy(logits.float(), batch.labels)}


OBJECTIVES = {
    "paper": lambda net: PaperLoss(),
    "recogniser": lambda net: RecogniserLoss(),
    "mixed": lambda net: PaperLoss(0),
}


def build(classes: int, size: str, scale: int) -> CSRI:
    # VDSR first: from the same seed it then has the same initial weights as alone
    restorer = vdsr.build(scale, size)
    return CSRI(restorer, centreface.build(classes, size))
