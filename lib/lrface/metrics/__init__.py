"""Scores: fidelity (PSNR, SSIM), alignment (NRMSE of landmarks), identity (embedding similarity),
verification of pairs (and Joint Bayesian, which learns to score them), 1:N identification,
detection, classes of unequal size, and how sure they are."""

from lrface.data.landmarks import Landmarker
from lrface.metrics.alignment import Alignment, compare, nrmse
from lrface.metrics.balance import (
    balanced_accuracy,
    balanced_contributions,
    balanced_draws,
    imbalance_level,
)
from lrface.metrics.calibration import linear_psnr
from lrface.metrics.chance import search_chance
from lrface.metrics.detection import Detection, Matches, match_detections
from lrface.metrics.fddb import FDDB, fddb
from lrface.metrics.fidelity import psnr, ssim
from lrface.metrics.identification import (
    PROTOCOLS,
    Identification,
    Protocol,
    identification,
    protocol,
)
from lrface.metrics.identity import Impostors, distance, impostors, similarity, strangers
from lrface.metrics.intervals import (
    Estimate,
    GroupGap,
    bootstrap,
    cross_fitted_margin,
    estimate,
    group_gap,
    halves,
    people_and_trainings,
    rank_agreement,
    resampled_means,
    widened,
)
from lrface.metrics.joint_bayesian import JointBayesian, joint_bayesian
from lrface.metrics.proposals import proposal_ranks
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
    "FDDB",
    "PROTOCOLS",
    "Alignment",
    "Detection",
    "Estimate",
    "GroupGap",
    "Identification",
    "Impostors",
    "JointBayesian",
    "Landmarker",
    "Matches",
    "McNemar",
    "Protocol",
    "Verification",
    "accuracy_gain",
    "balanced_accuracy",
    "balanced_contributions",
    "balanced_draws",
    "bootstrap",
    "compare",
    "cosine_after_pca",
    "cross_fitted_margin",
    "distance",
    "estimate",
    "fddb",
    "group_gap",
    "halves",
    "identification",
    "imbalance_level",
    "impostors",
    "joint_bayesian",
    "linear_psnr",
    "match_detections",
    "mcnemar",
    "nrmse",
    "people_and_trainings",
    "power_spectrum",
    "proposal_ranks",
    "protocol",
    "psnr",
    "rank_agreement",
    "resampled_means",
    "search_chance",
    "similarity",
    "ssim",
    "strangers",
    "verification",
    "widened",
]
