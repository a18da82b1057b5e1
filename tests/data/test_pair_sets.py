"""Verification pairs with their faces."""

import pandas as pd
from lrface import data
from lrface.data import pair_sets


def test_pairs_name_the_faces_they_compare():
    found = pair_sets.load("synthetic", limit=40)
    listed = data.pairs("synthetic").groupby(["fold", "same"], group_keys=False).head(2)
    keys = found.faces.table["key"].to_numpy()
    assert keys[found.first].tolist() == listed["first"].tolist()
    assert keys[found.second].tolist() == listed["second"].tolist()
    assert found.same.tolist() == listed["same"].tolist() and not found.made
    people = found.people
    assert ((people[found.first] == people[found.second]) == found.same).all()
    assert len(found.hr) == len(found.points) == len(found.faces) and found.left_out == 0


def test_a_list_of_the_set_s_own_is_not_called_made():
    assert not pair_sets.load("synthetic", limit=20).made
    assert not pair_sets.load("synthetic", limit=20, hard=True).made


def test_a_unit_s_vector_is_the_mean_of_its_faces():
    found = pair_sets.without_pairs(data.load("synthetic", "val", 4))
    vectors = pd.DataFrame({"vector 0": [1.0, 2, 3, 4]})
    assert found.of_units(vectors).ravel().tolist() == [1, 2, 3, 4]
    assert len(found.first) == 0
