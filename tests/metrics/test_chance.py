"""Chance levels of a search against galleries in random order."""

import numpy as np
import pytest
from lrface.errors import UsageError
from lrface.metrics import search_chance


@pytest.mark.parametrize(("mates", "gallery"), [(1, 5), (3, 12), (4, 4)])
def test_as_galleries_in_random_order_have_it(mates, gallery):
    random = np.random.default_rng(0)
    order = random.permuted(np.tile(np.arange(gallery) < mates, (20_000, 1)), axis=1)
    precision = np.cumsum(order, 1) / np.arange(1, gallery + 1)
    simulated = {
        "rank1": order[:, 0].mean(),
        "rank3": order[:, :3].any(1).mean(),
        "mAP": ((precision * order).sum(1) / mates).mean(),
    }
    for metric, value in simulated.items():
        assert search_chance(metric, np.array([mates]), gallery)[0] == pytest.approx(
            value, abs=0.01
        )


def test_an_unknown_metric_is_refused():
    with pytest.raises(UsageError, match="no chance level of 'accuracy'"):
        search_chance("accuracy", np.array([1]), 10)
