"""Run by test_phantom in a process of its own: public functions given tensors of the phantom.

All on the device, and mixed where a caller may. A line a function: its name, and what it raised.
"""

from __future__ import annotations

import numpy as np
import torch
from lrface.checks import phantom

device = phantom.install()

from lrface import degrade, inference, metrics, models  # noqa: E402
from lrface.inference import clips  # noqa: E402
from lrface.models import lmle  # noqa: E402
from lrface.report import figures  # noqa: E402

random = torch.Generator().manual_seed(0)
HR = torch.randint(0, 256, (4, 3, 128, 128), generator=random, dtype=torch.uint8)
FACES = HR.float() / 255
POINTS = torch.rand(4, 68, 2, generator=random, dtype=torch.float64) * 100 + 10
VECTORS = torch.randn(40, 8, generator=random)
IDS = np.repeat(np.arange(10), 4)
FIVE = VECTORS.view(8, 5, 8)
PRESENT = torch.ones(8, 4, dtype=torch.bool)
BINARY = torch.arange(40) % 2
hr, faces, points, vectors, binary = (x.to(device) for x in (HR, FACES, POINTS, VECTORS, BINARY))
ids = np.arange(20) % 5

CASES = {
    "psnr": lambda: metrics.psnr(hr, hr),
    "psnr, mixed": lambda: metrics.psnr(hr, HR),
    "psnr, y": lambda: metrics.psnr(hr, hr, space="y", border=4),
    "ssim": lambda: metrics.ssim(faces, faces),
    "ssim, mixed": lambda: metrics.ssim(faces, FACES),
    "power_spectrum": lambda: metrics.power_spectrum(faces),
    "align": lambda: models.align(faces, points),
    "align, points elsewhere": lambda: models.align(faces, POINTS),
    "chips": lambda: models.chips(hr, points[:, :5]),
    "chips, points elsewhere": lambda: models.chips(hr, POINTS[:, :5]),
    "similarity": lambda: metrics.similarity(vectors, VECTORS),
    "distance": lambda: metrics.distance(vectors, VECTORS),
    "impostors": lambda: metrics.impostors(vectors, IDS),
    "verification": lambda: metrics.verification(
        torch.rand(40).to(device), binary, torch.arange(40).to(device) // 4 % 5
    ),
    "cosine_after_pca": lambda: metrics.cosine_after_pca(vectors, vectors, IDS % 5),
    "joint_bayesian": lambda: metrics.joint_bayesian(vectors, IDS),
    "identification": lambda: metrics.identification(vectors[:20], vectors[20:], ids, ids),
    "identification, mixed": lambda: metrics.identification(
        vectors[:20], VECTORS[20:].numpy(), ids, ids
    ),
    "balanced_accuracy": lambda: metrics.balanced_accuracy(binary, binary),
    "balanced_draws": lambda: metrics.balanced_draws(binary == 0, binary == 1, IDS),
    "imbalance_level": lambda: metrics.imbalance_level(binary),
    "clusters": lambda: lmle.clusters(vectors, binary, 5),
    "quintuplets": lambda: lmle.quintuplets(vectors, binary, torch.tensor(IDS, device=device)),
    "predict": lambda: lmle.predict(vectors, *lmle.centroids(vectors, BINARY, IDS)),
    "hinge": lambda: lmle.triple_header_hinge(FIVE.to(device), PRESENT.to(device)),
    "hinge, mask elsewhere": lambda: lmle.triple_header_hinge(FIVE.to(device), PRESENT),
    "degrade": lambda: [degrade.setting(name)(faces) for name in degrade.SETTINGS],
    "resize": lambda: degrade.resize(faces, (64, 64)),
    "to_uint8": lambda: degrade.to_uint8(faces),
    "restore": lambda: inference.restore(models.restorer("EDSR", 4).to(device).eval(), HR[0]),
    "restore_clip": lambda: list(
        clips.restore_clip(
            models.restorer("EDVR", 8, "narrow").to(device).eval(), HR[:, :, :16, :12], True
        )
    ),
    "cost": lambda: models.cost(models.restorer("EDSR", 4).to(device), 32),
    "comparison": lambda: figures.comparison({"HR": faces}),
    "in_batches": lambda: models.in_batches(lambda x: x + 1, FACES, device=device),
}
for name, call in CASES.items():
    try:
        call()
        print(f"{name}: ok")
    except Exception as error:
        print(f"{name}: {type(error).__name__}: {str(error).splitlines()[0]}")
