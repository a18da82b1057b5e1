"""The same person, or two? Joint Bayesian: how much likelier two embeddings are if one person has
both than if two persons have them.

Source: Chen, Cao, Wang, Wen and Sun, *Bayesian Face Revisited: A Joint Formulation* (ECCV 2012). An
image is x = mean + mu + eps, with mu ~ N(0, S_mu) drawn once a person and eps ~ N(0, S_eps) once an
image. Fit the people of a training split; what the scores of other people's pairs are worth,
:func:`lrface.metrics.verification` says.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.linalg import eigh
from torch import Tensor

from lrface.errors import LrfaceError, UsageError

RIDGE = 1e-3  # of the mean variance of a dimension


@dataclass(frozen=True, eq=False)
class JointBayesian:
    """Two Gaussians: people about the ``mean`` (D,), and the images of a person about that person.

    ``between``: S_mu, float64 (D, D), symmetric, without negative eigenvalues. ``within``: S_eps,
    float64 (D, D), symmetric, positive definite. Both in the square of the embeddings' unit.
    """

    mean: np.ndarray
    between: np.ndarray
    within: np.ndarray

    def scores(self, a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> np.ndarray:
        """Log likelihood ratio of row i of ``a`` and row i of ``b``, both (P, D): float64 (P,), in
        nats, higher is more likely the same.

        It is log p(a, b | one person) - log p(a, b | two persons), exactly: above 0 one person
        explains the two better. The paper's r = a'Aa + b'Ab - 2a'Gb (equation 4) is twice that but
        for a constant, so that the ROC curve is the same. NaN where a vector holds a NaN (a face
        that was not found). Raises :class:`UsageError` on other shapes.
        """
        a, b = _float64(a), _float64(b)
        if a.ndim != 2 or a.shape != b.shape or a.shape[1] != len(self.mean):
            raise UsageError(
                f"pairs are scored row by row: want two arrays (P, {len(self.mean)}), got {a.shape} and {b.shape}"
            )
        axes, ratio = self._axes
        apart, together = (a - b) @ axes, (a + b - 2 * self.mean) @ axes
        # On an axis a - b and a + b have the variances 2 and 2 + 4 ratio for one person, both 2 + 2
        # ratio for two. Unlike A and G, which nearly cancel where the ratio is large, this form
        # loses no digits, and swapping a and b changes not a bit.
        evidence = (together**2 / (1 + 2 * ratio) - apart**2) @ (ratio / (1 + ratio))
        return evidence / 4 + np.log1p(ratio**2 / (1 + 2 * ratio)).sum() / 2

    @cached_property
    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        return _axes(self.between, self.within)


def joint_bayesian(vectors: Tensor | np.ndarray, identities, iterations: int = 30) -> JointBayesian:
    """Fit both covariances by EM to embeddings (N, D) of any float type and the person each shows
    (N,), by any name.

    A person may have any number of images, one included; somebody needs two. ``mean`` is that of
    all images. Nothing is random, and the order of the images and the names change no more than
    rounding. More than 30 iterations hardly change the ROC curve; fewer do, where most people have
    one or two images.

    The E-step is the paper's: the posterior means of mu and eps, given all images of a person. The
    paper's M-step takes the covariances of these means alone ("EM-like", its abstract says), which
    leaves out how uncertain they are: with m images a person it turns the true S_mu into S_mu (S_mu
    + S_eps / m)^-1 S_mu, and where people differ little it goes on until nothing is left (in one
    dimension, from S_mu = S_eps / 4 and ten images a person). The exact M-step is taken instead: it
    adds the posterior covariances, recovers the truth from enough people, and provably never lowers
    the likelihood.

    With more dimensions than images, or directions in which nobody's images vary, the likelihood
    has no bound and S_eps no inverse; with about as many images as dimensions S_eps is far too
    small in some directions, and these decide every score. So each M-step adds rho, ``RIDGE`` times
    the mean variance of a dimension, to the diagonal of S_eps: exact again, for the likelihood
    times exp(-N rho tr(S_eps^-1) / 2), and it is that product which never falls.

    Raises :class:`UsageError` on other shapes or no iterations, and :class:`LrfaceError` on vectors
    that are not finite or do not differ, images of nobody (None, NaN), a single identity, or none
    with two images.
    """
    x, names = (
        _float64(vectors),
        identities.cpu().numpy() if isinstance(identities, Tensor) else identities,
    )
    names = pd.Index(
        np.asarray(names, object).ravel()
    )  # as objects: among names, NaN would else become the name "nan"
    if x.ndim != 2 or len(names) != len(x) or not x.size:
        raise UsageError(
            f"want embeddings (N, D) and an identity for each, got shape {x.shape} and {len(names)} identities"
        )
    if iterations < 1:
        raise UsageError(f"EM takes at least one iteration, got {iterations}")
    if bad := int((~np.isfinite(x).all(1)).sum()):
        raise LrfaceError(
            f"{bad} of {len(x)} vectors hold NaN or infinity: leave out the images without a face"
        )
    person, people = names.factorize()
    if nobody := int((person < 0).sum()):
        raise LrfaceError(f"{nobody} of {len(x)} images have no identity: leave them out")
    images = np.bincount(person)
    if len(people) < 2 or images.max() < 2:
        raise LrfaceError(
            f"{len(x)} images of {len(people)} identities: want two identities or more, and one with two images or more"
        )
    with np.errstate(over="ignore", invalid="ignore"):
        mean = x.mean(0)
        x = x - mean
        variance = np.square(x).mean()
    if (
        not 1e-12 * np.abs(mean).max() < np.sqrt(variance) < np.inf
    ):  # equal vectors differ from their mean by its rounding
        raise LrfaceError(
            f"the mean variance of a dimension is {variance:.3g}: want vectors that differ, and of ordinary length"
        )

    m = images[:, None]
    centres = np.add.reduceat(x[np.argsort(person, kind="stable")], np.cumsum(images) - images) / m
    x -= centres[person]
    scatter, ridge = x.T @ x, RIDGE * variance * np.eye(x.shape[1])
    between, within = centres.T @ centres / len(people), scatter / (len(x) - len(people)) + ridge
    for _ in range(iterations):
        # On these axes both covariances are diagonal, so that no number of images needs a solve of
        # its own: the posterior covariance of mu is that of one number, (1 / ratio + m)^-1, and its
        # mean is m times that times the mean of the person's images.
        axes, ratio = _axes(between, within)
        back, seen = within @ axes, centres @ axes  # back: the inverse of axes.T
        doubt = ratio / (1 + m * ratio)
        mu = m * doubt * seen
        eps = (
            np.sqrt(m) * (seen - mu)
            # what all m images of a person share; what sets them apart is in the scatter, once for all
        )
        between = back @ (mu.T @ mu + np.diag(doubt.sum(0))) @ back.T / len(people)
        within = (scatter + back @ (eps.T @ eps + np.diag((m * doubt).sum(0))) @ back.T) / len(
            x
        ) + ridge
    return JointBayesian(mean, (between + between.T) / 2, (within + within.T) / 2)


def _axes(between: np.ndarray, within: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Axes, columns of (D, D), along which images of a person have variance 1 and people ``ratio``
    (D,), none correlated with another."""
    ratio, axes = eigh(between, within)
    return axes, np.maximum(ratio, 0)  # below 0 by rounding only


def _float64(x: Tensor | np.ndarray) -> np.ndarray:
    return np.asarray(x.detach().double().cpu() if isinstance(x, Tensor) else x, np.float64)
