"""The joint model (Wu et al. 2016): SRNET, then FRNET on what it makes, descending together on one
loss.

L = alpha L_h + beta1 L_c + beta2 L_d (equation 5): the face's own error, the classification error
and the distance to the identity's centre. FRNET learns from the last two (equations 7-9). SRNET
learns from the first and from what FRNET passes back of the last two (equations 10-12); nothing is
held still on the way.

Where the paper leaves a choice:

- Its faces are aligned first and degraded afterwards. Here the degraded face is whole, as in every
  other study: SRNET restores the crop,
  L_h compares the crop, and the similarity transform stands between the two networks, where
  gradients pass through it.
- Equations 2-4 are sums over a batch; here all three are means over it, which leaves their
  proportions.
- Both networks start untrained and have one learning rate, and Adam. The paper has 0.00001 for
  SRNET, prints none for FRNET, and does
  not name the solver. Weight decay is caffe-face's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.losses import Batch
from lrface.models.recognition import frnet
from lrface.models.recognition.align import align
from lrface.models.sr import srnet

VERSION = 1


class Joint(nn.Module):
    """``restorer`` (SRNET) and ``recogniser`` (FRNET), each as it is alone.

    In evaluation mode it is its restorer: float (N, 3, h, w) in [0, 1] to (N, 3, h * scale, w *
    scale). In training mode it also wants the 68 landmarks (N, 68, 2) in pixels of the restored
    face, and returns that face, its features and the logits of the training identities. The paper's
    vector of a face is :func:`lrface.models.recognition.frnet.describe` with ``recogniser``, of the
    restored face, aligned.
    """

    def __init__(self, restorer: nn.Module, recogniser: frnet.FRNET):
        super().__init__()
        self.scale, self.restorer, self.recogniser = restorer.scale, restorer, recogniser

    def forward(
        self, lr: Tensor, points: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        sr = self.restorer(lr)
        if not self.training:
            return sr
        # half precision would place the samples half a pixel off
        return sr, *self.recogniser(align(sr.to(lr.dtype), points))


class PaperLoss(nn.Module):
    """Equation 5 with the paper's weights 1, 1 and 0.008; the centres move by equations 13 and 14
    once a step's loss is taken.

    What has weight 0 is left out, so that what remains is trained bit for bit as it is alone.
    """

    adam = srnet.PaperLoss.adam
    whole_batch = True

    def __init__(
        self, net: Joint, alpha: float = 1.0, beta1: float = 1.0, beta2: float = frnet.BETA2
    ):
        super().__init__()
        self.alpha, self.beta1, self.beta2 = alpha, beta1, beta2
        self.memory = frnet.Centres(net.recogniser)

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        sr, features, logits = net(batch.lr, batch.points)
        terms = {
            "hallucination": srnet.hallucination_loss(sr, batch.hr),
            "classification": F.cross_entropy(logits, batch.labels),
            "centre": self.memory(features, batch.labels),
        }
        weights = (self.alpha, self.beta1, self.beta2)
        loss = sum(
            weight * term for weight, term in zip(weights, terms.values(), strict=True) if weight
        )
        self.memory.update(features, batch.labels)
        return {"loss": loss} | {name: term.detach() for name, term in terms.items()}


def build(classes: int, size: str, scale: int) -> Joint:
    # SRNET first: with one seed it then starts from the weights it has alone
    restorer = srnet.build(scale, size)
    return Joint(restorer, frnet.build(classes, size))
