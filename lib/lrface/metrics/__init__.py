"""Scores: fidelity (PSNR, SSIM), alignment (NRMSE of landmarks), identity (embedding similarity), verification of pairs,
and how sure they are."""

from lrface.metrics.alignment import Alignment, Landmarker, compare, nrmse
from lrface.metrics.fidelity import psnr, ssim
from lrface.metrics.identity import distance, similarity
from lrface.metrics.intervals import Estimate, bootstrap
from lrface.metrics.verification import McNemar, Verification, mcnemar, verification

__all__ = [
    "Alignment",
    "Estimate",
    "Landmarker",
    "McNemar",
    "Verification",
    "bootstrap",
    "compare",
    "distance",
    "mcnemar",
    "nrmse",
    "psnr",
    "similarity",
    "ssim",
    "verification",
]
