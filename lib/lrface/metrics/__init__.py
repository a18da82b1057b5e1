"""Scores: fidelity (PSNR, SSIM), alignment (NRMSE of landmarks), identity (embedding similarity),
verification of pairs (and Joint Bayesian, which learns to score them), 1:N identification, classes
of unequal size, and how sure they are."""

from lrface.data.landmarks import Landmarker
from lrface.metrics.alignment import Alignment, compare, nrmse
from lrface.metrics.balance import balanced_accuracy, balanced_draws, imbalance_level
from lrface.metrics.fidelity import psnr, ssim
from lrface.metrics.identification import (
    PROTOCOLS,
    Identification,
    Protocol,
    identification,
    protocol,
)
from lrface.metrics.identity import Impostors, distance, impostors, similarity
from lrface.metrics.intervals import (
    Estimate,
    GroupGap,
    bootstrap,
    estimate,
    group_gap,
    margin_over_best,
    people_and_trainings,
    rank_agreement,
    resampled_means,
)
from lrface.metrics.joint_bayesian import JointBayesian, joint_bayesian
from lrface.metrics.spectrum import power_spectrum
from lrface.metrics.verification import (
    McNemar,
    Verification,
    accuracy_gain,
    cosine_after_pca,
    mcnemar,
    verification,
)

__all__ = [
    "PROTOCOLS",
    "Alignment",
    "Estimate",
    "GroupGap",
    "Identification",
    "Impostors",
    "JointBayesian",
    "Landmarker",
    "McNemar",
    "Protocol",
    "Verification",
    "accuracy_gain",
    "balanced_accuracy",
    "balanced_draws",
    "bootstrap",
    "compare",
    "cosine_after_pca",
    "distance",
    "estimate",
    "group_gap",
    "identification",
    "imbalance_level",
    "impostors",
    "joint_bayesian",
    "margin_over_best",
    "mcnemar",
    "nrmse",
    "people_and_trainings",
    "power_spectrum",
    "protocol",
    "psnr",
    "rank_agreement",
    "resampled_means",
    "similarity",
    "ssim",
    "verification",
]
