"""Which stored decisions count as those of a training."""

import numpy as np
import pytest
from lrface.metrics import decisions


@pytest.mark.parametrize(
    "flipped, accepted",
    [
        ([0.0, 0.2, 0.2], True),  # this processor
        ([0.25, 0.2, 0.2], True),  # another one, whose trainings differ as seeds do
        ([0.25, 0.01, 0.01], False),  # the others say that seeds are far more alike
        ([0.4, 0.0, 0.0], False),
        ([0.5, 0.5, 0.5], False),  # all three seeds spoilt: none is a yardstick for another
        ([1.0, 1.0, 1.0], False),
    ],
)
def test_stored_decisions_are_accepted_if_a_training_decides_so(flipped, accepted):
    random = np.random.default_rng(0)
    true = random.random(2000) < 0.5
    stored, *peers = (true ^ (random.random(2000) < share) for share in flipped)
    assert (decisions.disagreement(stored, true, peers) is None) == accepted
