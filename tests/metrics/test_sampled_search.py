"""A stored search is compared with a few of its probes in a draw of its gallery."""

import numpy as np
import torch
from lrface.data.search import Part
from lrface.metrics.identification import identification
from lrface.metrics.sampled_search import disagreement


def search(seed=0, people=60, distractors=3000):
    """A search with two mates a probe, and a part of it: ranks, part and the part's vectors."""
    random = np.random.default_rng(seed)
    centre = random.normal(size=(people, 8))
    probes, mates = (centre + 0.7 * random.normal(size=(people, 8)) for _ in range(2))
    others = random.normal(size=(distractors, 8)) * 1.2
    who = np.array([f"p{i}" for i in range(people)])
    gallery = np.concatenate([mates, others])
    names = np.append(who, np.full(distractors, "-100"))
    ranks = identification(torch.tensor(probes), torch.tensor(gallery), who, names).first_rank
    numbers = np.sort(random.permutation(people)[:32])
    drawn = random.permutation(distractors)[:100]
    vectors = np.concatenate([probes[numbers], mates[numbers], others[drawn]])
    part = Part(
        torch.zeros(0),
        np.concatenate([who[numbers], who[numbers], np.full(100, "-100")]),
        numbers,
        np.arange(32),
        np.arange(32, 64),
        np.arange(64, 164),
        len(gallery),
    )
    return ranks, part, vectors


def test_true_ranks_agree():
    for seed in range(20):
        ranks, part, vectors = search(seed)
        assert disagreement(part, vectors, ranks) is None


def test_improved_ranks_are_found():
    ranks, part, vectors = search()
    assert "according to the stored ranks" in disagreement(part, vectors, np.ones_like(ranks))
    assert disagreement(part, vectors, np.maximum(1, ranks // 10)) is not None


def test_another_network_is_found():
    ranks, part, vectors = search()
    noise = np.random.default_rng(1).normal(size=vectors.shape)
    assert disagreement(part, noise, ranks) is not None
