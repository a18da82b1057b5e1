"""The joint model (Wu et al. 2016): SRNET and FRNET in a row, trained together on one loss.

L = alpha L_h + beta1 L_c + beta2 L_d (equation 5): the restored face's squared error, the
cross-entropy of its identity, and the distance of its feature to the identity's centre. FRNET is
trained by the last two (equations 7-9), SRNET by the first and by the gradients of the last two
through FRNET (equations 10-12).

Where the paper and this module differ, or the paper leaves a choice:

- The paper aligns faces first and degrades them afterwards. Here the crop is degraded, as in every
  other study: SRNET restores the crop, L_h compares crops, and the aligning similarity transform is
  between the two networks, where gradients pass through it.
- Equations 2-4 are sums over a batch; here all three are means, which preserves their proportions.
- Both networks start untrained and share one learning rate, under Adam. The paper has 0.00001 for
  SRNET, prints none for FRNET and does not name the optimiser. Weight decay is caffe-face's.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.objective import Batch, Objective
from lrface.models.recognition import frnet
from lrface.models.recognition.align import align
from lrface.models.sr import srnet

VERSION = 1


class Joint(nn.Module):
    """``restorer`` (SRNET) and ``recogniser`` (FRNET), each the same network as alone.

    In evaluation mode it is its restorer: float (N, 3, h, w) in [0, 1] to (N, 3, h * scale, w *
    scale). In training mode it also takes the 68 landmarks (N, 68, 2) in pixels of the restored
    face and returns (face, features, logits of the identities). A face's representation is
    :func:`lrface.models.recognition.frnet.describe` of the aligned restored face by ``recogniser``.
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
        # in half precision the sampling positions would be off by half a pixel
        return sr, *self.recogniser(align(sr.to(lr.dtype), points))


class PaperLoss(Objective):
    """Equation 5 with the paper's weights 1, 1 and 0.008, and the update of the centres (equations
    13 and 14).

    A term of weight 0 is left out, so that the others train bit for bit as without it.
    """

    adam = srnet.PaperLoss.adam
    needs_whole_batch = True

    def __init__(
        self, net: Joint, alpha: float = 1.0, beta1: float = 1.0, beta2: float = frnet.BETA2
    ):
        super().__init__()
        self.alpha, self.beta1, self.beta2 = alpha, beta1, beta2
        self.state = frnet.Centres(net.recogniser)

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        sr, features, logits = net(batch.lr, batch.points)
        terms = {
            "hallucination": srnet.hallucination_loss(sr, batch.hr),
            "classification": F.cross_entropy(logits, batch.labels),
            "centre": self.state(features, batch.labels),
        }
        weighted = zip((self.alpha, self.beta1, self.beta2), terms.values(), strict=True)
        loss = sum(weight * term for weight, term in weighted if weight)
        self.state.update(features, batch.labels)
        return {"loss": loss} | {name: term.detach() for name, term in terms.items()}


def build(classes: int, size: str, scale: int) -> Joint:
    # SRNET first: from the same seed it then has the same initial weights as alone
    restorer = srnet.build(scale, size)
    return Joint(restorer, frnet.build(classes, size))
