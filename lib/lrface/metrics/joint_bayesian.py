"""Joint Bayesian: the likelihood ratio of two embeddings being of one person or of two.

Source: Chen, Cao, Wang, Wen and Sun, *Bayesian Face Revisited: A Joint Formulation* (ECCV 2012). An
image is x = mean + mu + eps, with mu ~ N(0, S_mu) drawn once per person and eps ~ N(0, S_eps) once
per image. Fit it to the people of a training split, and evaluate the scores of other people's pairs
with :func:`lrface.metrics.verification`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.linalg import eigh
from torch import Tensor

from lrface.errors import LrfaceError, UsageError

RIDGE = 1e-3
"""Added to the diagonal of S_eps, as a fraction of the mean variance of a dimension."""


@dataclass(frozen=True, eq=False)
class JointBayesian:
    """Two Gaussians: people around the mean, and the images of a person around that person.

    The covariances are in the square of the embeddings' unit.
    """

    mean: np.ndarray
    """float64 (D,)"""
    between: np.ndarray
    """S_mu, float64 (D, D): symmetric, positive semi-definite."""
    within: np.ndarray
    """S_eps, float64 (D, D): symmetric, positive definite."""

    def scores(self, a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> np.ndarray:
        """Log likelihood ratio of row i of ``a`` and row i of ``b``: higher means one person.

        It is log p(a, b | one person) - log p(a, b | two persons), exactly: above 0 one person
        explains the two better. The paper's r = a'Aa + b'Ab - 2a'Gb (equation 4) is twice that plus
        a constant, so the ROC curve is the same.

        Parameters
        ----------
        a, b : float (P, D)

        Returns
        -------
        float64 (P,)
            In nats. NaN where a vector has a NaN (a face that was not found).

        Raises
        ------
        UsageError
            Other shapes.
        """
        a, b = _float64(a), _float64(b)
        if a.ndim != 2 or a.shape != b.shape or a.shape[1] != len(self.mean):
            raise UsageError(
                f"pairs are scored row by row: want two arrays (P, {len(self.mean)}), "
                f"got {a.shape} and {b.shape}"
            )
        axes, ratio = self._axes
        minus, plus = (a - b) @ axes, (a + b - 2 * self.mean) @ axes
        # On an axis a - b and a + b have the variances 2 and 2 + 4 ratio for one person, both 2 + 2
        # ratio for two. Unlike A and G, which nearly cancel where the ratio is large, this form
        # loses no digits, and swapping a and b changes not a bit.
        evidence = (plus**2 / (1 + 2 * ratio) - minus**2) @ (ratio / (1 + ratio))
        return evidence / 4 + np.log1p(ratio**2 / (1 + 2 * ratio)).sum() / 2

    @cached_property
    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        return _axes(self.between, self.within)


def joint_bayesian(vectors: Tensor | np.ndarray, identities, iterations: int = 30) -> JointBayesian:
    """Fit Joint Bayesian to embeddings by EM.

    Nothing is random, and the order of the images and the names of the people change results by
    rounding only.

    Parameters
    ----------
    vectors : float (N, D)
        Embeddings of any float type.
    identities : sequence (N,)
        The person in each image. A person may have any number of images; at least one person must
        have two.
    iterations : int
        Of EM, at least 1. More than 30 hardly change the ROC curve; fewer do, where most people
        have one or two images.

    Returns
    -------
    JointBayesian
        Its ``mean`` is that of all images.

    Raises
    ------
    UsageError
        Other shapes, or no iterations.
    LrfaceError
        Vectors that are not finite or do not differ, images without an identity (None, NaN), a
        single identity, or none with two images.

    Notes
    -----
    The E-step is the paper's: the posterior means of mu and eps, given all images of a person. The
    paper's M-step takes the covariances of these means alone ("EM-like", its abstract says), which
    neglects their uncertainty: with m images per person it maps the true S_mu to S_mu (S_mu + S_eps
    / m)^-1 S_mu, and where people differ little it shrinks to zero (in one dimension, from S_mu =
    S_eps / 4 and ten images per person). The exact M-step is used instead: it adds the posterior
    covariances, recovers the truth from enough people, and provably never lowers the likelihood.

    With more dimensions than images, or directions in which nobody's images vary, the likelihood is
    unbounded and S_eps singular; with about as many images as dimensions S_eps is far too small in
    some directions, and these decide every score. So each M-step adds rho, ``RIDGE`` times the mean
    variance of a dimension, to the diagonal of S_eps. That is exact again, for the likelihood times
    exp(-N rho tr(S_eps^-1) / 2): that product never falls.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> people = np.repeat(np.arange(50), 4)
    >>> x = random.normal(size=(50, 8))[people] + 0.3 * random.normal(size=(200, 8))
    >>> model = joint_bayesian(x, people)
    >>> same, different = model.scores(x[::4], x[1::4]), model.scores(x[:-4], x[4:])
    >>> bool(same.min() > np.median(different))
    True
    """
    x = _float64(vectors)
    names = identities.cpu().numpy() if isinstance(identities, Tensor) else identities
    # As objects: in an array of strings NaN would become the name "nan".
    names = pd.Index(np.asarray(names, object).ravel())
    if x.ndim != 2 or len(names) != len(x) or not x.size:
        raise UsageError(
            f"want embeddings (N, D) and an identity for each, got shape {x.shape} and "
            f"{len(names)} identities"
        )
    if iterations < 1:
        raise UsageError(f"EM takes at least one iteration, got {iterations}")
    if bad := int((~np.isfinite(x).all(1)).sum()):
        raise LrfaceError(
            f"{bad} of {len(x)} vectors hold NaN or infinity: leave out the images without a face"
        )
    person, people = names.factorize()
    if unknown := int((person < 0).sum()):
        raise LrfaceError(f"{unknown} of {len(x)} images have no identity: leave them out")
    images = np.bincount(person)
    if len(people) < 2 or images.max() < 2:
        raise LrfaceError(
            f"{len(x)} images of {len(people)} identities: want two identities or more, and one "
            "with two images or more"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        mean = x.mean(0)
        x = x - mean
        variance = np.square(x).mean()
    # Equal vectors differ from their mean by its rounding.
    if not 1e-12 * np.abs(mean).max() < np.sqrt(variance) < np.inf:
        raise LrfaceError(
            f"the mean variance of a dimension is {variance:.3g}: want vectors that differ, and of "
            "ordinary length"
        )

    m = images[:, None]
    centres = np.add.reduceat(x[np.argsort(person, kind="stable")], np.cumsum(images) - images) / m
    x -= centres[person]
    scatter, ridge = x.T @ x, RIDGE * variance * np.eye(x.shape[1])
    between, within = centres.T @ centres / len(people), scatter / (len(x) - len(people)) + ridge
    for _ in range(iterations):
        # On these axes both covariances are diagonal, so no number of images needs a linear system
        # of its own: the posterior covariance of mu is a number per axis, (1 / ratio + m)^-1, and
        # its mean is m times that times the mean of the person's images.
        axes, ratio = _axes(between, within)
        back, projected = within @ axes, centres @ axes  # back: the inverse of axes.T
        posterior = ratio / (1 + m * ratio)
        mu = m * posterior * projected
        # What all m images of a person share. How they differ is in the scatter.
        eps = np.sqrt(m) * (projected - mu)
        of_people = mu.T @ mu + np.diag(posterior.sum(0))
        of_images = eps.T @ eps + np.diag((m * posterior).sum(0))
        between = back @ of_people @ back.T / len(people)
        within = (scatter + back @ of_images @ back.T) / len(x) + ridge
    return JointBayesian(mean, (between + between.T) / 2, (within + within.T) / 2)


def _axes(between: np.ndarray, within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axes, columns of (D, D), that make ``within`` the identity and ``between`` diag(ratio)."""
    ratio, axes = eigh(between, within)
    return axes, np.maximum(ratio, 0)  # below 0 by rounding only


def _float64(x: Tensor | np.ndarray) -> np.ndarray:
    return np.asarray(x.detach().double().cpu() if isinstance(x, Tensor) else x, np.float64)
