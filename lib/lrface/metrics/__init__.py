"""Scores: fidelity (PSNR, SSIM), alignment (NRMSE of landmarks), identity (embedding similarity), and how sure they are."""

from lrface.metrics.alignment import Alignment, Landmarker, compare, nrmse
from lrface.metrics.fidelity import psnr, ssim
from lrface.metrics.identity import distance, similarity
from lrface.metrics.intervals import Estimate, bootstrap

__all__ = ["Alignment", "Estimate", "Landmarker", "bootstrap", "compare", "distance", "nrmse", "psnr", "similarity", "ssim"]
