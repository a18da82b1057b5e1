"""What Faceness' parts learn from: attributes by part, faces where their labels say, background."""

import numpy as np
import pytest
from conftest import disc_scenes
from lrface import data
from lrface.data import part_windows
from lrface.data.part_windows import ATTRIBUTES, COLUMNS, PARTS, RANGE
from lrface.data.windows import LABELS, boxes_of
from lrface.errors import UsageError


@pytest.fixture(scope="module")
def faces():
    return data.load(part_windows.FACES, "val", 4)


def test_each_part_has_attributes_of_its_own_that_rendered_faces_know(faces):
    assert list(PARTS) == ["hair", "eye", "nose", "mouth", "beard"]
    assert len(ATTRIBUTES) == len(set(ATTRIBUTES)) == 25
    assert set(ATTRIBUTES) <= set(faces.attributes)
    words = {"hair": ("Hair", "Bald", "Bangs"), "eye": ("Eye",), "nose": ("Nose",)}
    for part, own in words.items():
        assert all(any(word in name for word in own) for name in PARTS[part])


def sampled(tmp_path, faces, heights, count=8, seed=0):
    scenes = disc_scenes(tmp_path, 5, heights)
    for name in ATTRIBUTES:
        scenes.boxes[name] = scenes.boxes["x"] > 100
    return part_windows.sampled(lambda: scenes, faces, count, seed), scenes


def test_windows_hold_what_their_labels_say(tmp_path, faces):
    (pictures, table), scenes = sampled(tmp_path, faces, (24, 60))
    face, of_scene = table["face"] == 1, table["scene"] < len(scenes)
    assert [len(table[m]) for m in (face & of_scene, face & ~of_scene, ~face)] == [8, 8, 8]
    squares = table[["left", "top", "side"]].to_numpy()
    boxes = boxes_of(squares[face], table.loc[face, list(LABELS[-4:])].to_numpy())
    height = boxes[:, 3] * RANGE.window / squares[face][:, 2]
    assert (height > RANGE.edges[0] * 0.97).all() and (height < RANGE.edges[-1] * 1.03).all()
    # a face of a scene is at its true place, and has its own attributes
    truth = scenes.truth()
    for i in np.flatnonzero(face & of_scene):
        faces_there = truth[table["scene"][i]]
        own = np.abs(faces_there - boxes[i]).max(1).argmin()
        assert np.allclose(faces_there[own], boxes[i])
        assert (table.loc[i, list(ATTRIBUTES)] == (faces_there[own, 0] > 100)).all()
    row = int(np.flatnonzero(~of_scene)[0])
    assert np.array_equal(
        pictures.read(table["scene"][row]), faces.read(table["scene"][row] - len(scenes))
    )
    assert table.loc[face, list(ATTRIBUTES)].isin([0, 1]).all(axis=None)


def test_background_has_no_face_of_a_size_that_is_looked_for(tmp_path, faces):
    (_, table), scenes = sampled(tmp_path, faces, (12, 60), count=40)
    background = table[table["face"] == 0]
    assert len(background) == 40 and (background[list(ATTRIBUTES)] == 0).all(axis=None)
    assert background[list(LABELS[-4:])].isna().all(axis=None)
    for one in background.itertuples():
        for x, y, w, h in scenes.truth()[one.scene]:
            across = min(x + w, one.left + one.side + 1) - max(x, one.left - 1)
            down = min(y + h, one.top + one.side + 1) - max(y, one.top - 1)
            shown = max(across, 0) * max(down, 0) / (w * h)
            assert shown < 0.25 or h <= one.side / 10


def test_the_seed_decides_the_windows(tmp_path, faces):
    tables = [sampled(tmp_path, faces, (24, 60), seed=seed)[0][1] for seed in (0, 0, 1)]
    assert tables[0].equals(tables[1]) and not tables[0].equals(tables[2])


def test_a_set_is_known_before_it_is_cut():
    one = data.load_part_windows("rendered-crowds")
    others = [
        data.load_part_windows("rendered-crowds", seed=1),
        data.load_part_windows("rendered-crowds", limit=5),
        data.load_part_windows("rendered-crowds", "val"),
        data.load_part_windows("rendered-portraits"),
        data.load_part_windows("rendered-crowds", count=7),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 6
    assert one.fingerprint == data.load_part_windows("rendered-crowds").fingerprint
    assert one.columns == COLUMNS and one.range is RANGE
    # nobody is in the training and in another split
    data.check_leakage(one.table, data.held_out("rendered-crowds"))
    data.check_leakage(one.table, data.held_out(part_windows.FACES))


@pytest.mark.parametrize("name", ["wider", "fddb", "anything"])
def test_a_set_without_attributes_is_refused(name):
    with pytest.raises(UsageError, match=f"{name} does not know its faces' attributes.*rendered"):
        data.load_part_windows(name)


@pytest.mark.slow
def test_windows_are_cut_once_and_mirrored():
    one = data.load_part_windows("rendered-crowds", "test", 2, count=3)
    assert one.stack([0, 8]).shape == (2, 3, 56, 56) and one.labels.shape == (9, len(COLUMNS))
    x = COLUMNS.index("x")
    changed = one.mirrored_labels != one.labels
    assert (
        not np.delete(changed, x, 1)[:6].any()
        and (one.mirrored_labels[:6, x] == -one.labels[:6, x]).all()
    )
