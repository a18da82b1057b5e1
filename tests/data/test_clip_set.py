"""ClipSet: which frames make up a clip, what a fingerprint depends on, clips rendered on demand."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from lrface import data
from lrface.data import ClipSet, loading, rendered_clips
from lrface.data.landmarks import landmarks
from lrface.data.synthetic.make import VERSIONS
from lrface.errors import LrfaceError, UsageError


@pytest.fixture(scope="module")
def clips():
    return data.load_clips("synthetic-clips", "val")


def test_frames_are_the_middle_columns_of_the_faces_in_order(clips):
    faces = data.load("synthetic-clips", "val")
    first = faces.table.query("identity == @clips.table['identity'].iloc[0]").sort_values("frame")
    frames = clips.stack([0])[0]
    assert frames.shape == (7, 3, 128, 96)
    for frame, row in zip(frames, first.index, strict=True):
        whole = torch.from_numpy(faces.read(row).copy()).permute(2, 0, 1)
        assert torch.equal(frame, whole[..., 16:112])


def test_landmarks_move_with_the_cut(clips):
    whole = landmarks(clips.faces)[clips.rows]
    assert np.allclose(clips.landmarks, whole - np.float32([16, 0]))


def test_an_order_picks_frames(clips):
    order = np.array([[6, 0], [2, 2]])
    assert torch.equal(clips.stack([0, 1], order)[1], clips.stack([1])[0][[2, 2]]) and torch.equal(
        clips.stack([0, 1], order)[0, 0], clips.stack([0])[0, 6]
    )


@pytest.mark.parametrize(
    "frames, chosen", [(1, [3]), (3, [0, 3, 6]), (7, range(7)), (9, [0, 1, 2, 3, 4, 5, 6, 0, 1])]
)
def test_more_frames_are_thinned_out_and_fewer_repeated(clips, frames, chosen):
    rows = replace(clips, frames=frames).rows
    assert rows[0].tolist() == clips.rows[0][list(chosen)].tolist()


def test_the_fingerprint_depends_on_frames_and_capture_and_clips(clips):
    others = [
        replace(clips, frames=5),
        replace(clips, captured=True),
        clips.where([True, False]),
        data.load_clips("synthetic-clips", "test"),
    ]
    assert len({clips.fingerprint, *(one.fingerprint for one in others)}) == 5
    assert clips.where([True, True]).fingerprint == clips.fingerprint


def test_where_keeps_the_clips(clips):
    second = clips.where([False, True])
    assert len(second) == 1 and torch.equal(second.stack([0]), clips.stack([1]))


def test_a_clip_of_one_frame_is_skipped_and_named(monkeypatch, capsys):
    faces = data.load("synthetic-clips", "val")
    table = faces.table.sort_values(["identity", "frame"]).iloc[6:].reset_index(drop=True)
    short = replace(faces, table=table)
    monkeypatch.setattr(loading, "_load", lambda *_, **__: short)
    clips = data.load_clips("synthetic-clips", "val")
    assert len(clips) == 1
    said = capsys.readouterr().err
    assert (
        "skipped 1 of 2 clips, which have a single frame" in said and table["identity"][0] in said
    )


@pytest.mark.slow
def test_what_has_no_clips_says_so():
    with pytest.raises(LrfaceError, match="holds faces, not clips"):
        data.load_clips("synthetic", "val")
    with pytest.raises(UsageError, match="frames is 0"):
        data.load_clips("synthetic-clips", "val", frames=0)
    with pytest.raises(UsageError, match="no split None"):
        data.load_clips("rendered-clips")
    with pytest.raises(LrfaceError, match="no native captures"):
        data.load_clips("synthetic-clips", "val").native()


def test_the_list_of_rendered_clips_renders_nothing(monkeypatch):
    name = "rendered-clips"
    monkeypatch.setattr(rendered_clips, "make", None)
    train = data.load_clips(name, "train")
    test = data.load_clips(name, "test")
    assert len(train) == 800 and train.table["identity"].nunique() == 400
    assert len(test) == test.table["identity"].nunique() == 60
    data.check_leakage(train.table, test.table)
    data.check_leakage(train.table, data.held_out(name))
    few = data.load_clips(name, "train", 5)
    assert set(few.table["key"]) < set(train.table["key"])
    prints = {c.fingerprint for c in (train, test, few, train.native())}
    assert len(prints) == 4


def test_the_prints_of_rendered_clips_are_those_of_released_networks():
    # they are hashes of the plan: a change of it, or of the renderer's version, retires networks
    train = data.load_clips("rendered-clips", "train")
    assert (train.fingerprint, train.native().fingerprint) == (
        "82bc7b18a9764cf3",
        data.load_clips("rendered-clips+native", "train").fingerprint,
    )


def test_the_second_generation_draws_rendered_clips():
    facts = rendered_clips.plan("val").facts()
    assert facts["generation"] == 2 and facts["version"] == VERSIONS[2]


@pytest.mark.slow
def test_rendered_clips_are_what_their_list_says():
    clips = data.load_clips("rendered-clips", "val", 2)
    assert clips.faces.name == "rendered-clips"
    assert clips.faces.table.groupby("identity").size().tolist() == [7, 7]
    assert clips.rows.shape == (2, 7) and clips.stack([0]).shape == (1, 7, 3, 128, 96)
    small = clips.native().captures([0, 1])
    assert small.shape == (2, 7, 3, 16, 12)
    # captures are framed and exposed as the frames: close to them when those are made small
    means = clips.stack([0, 1]).float().unflatten(3, (16, 8)).unflatten(5, (12, 8)).mean((4, 6))
    error = (means - small.float()).abs().mean()
    wrong = (means - small.flip(0).float()).abs().mean()
    assert error < 25 and error < wrong / 1.5
    # each frame is cropped by itself
    centres = clips.landmarks.mean(2)
    assert np.diff(centres, axis=1).std() > 1
    spread = clips.details["yaw_span"]
    assert (spread > 0).all() and (clips.details["found"] == 7).all()


def test_clips_of_any_source_are_grouped(tmp_path):
    faces = data.load("synthetic-clips", "val")
    shuffled = faces.table.sample(frac=1, random_state=0).reset_index(drop=True)
    made = ClipSet("mine", partial(lambda x: x, replace(faces, table=shuffled)))
    assert torch.equal(made.stack([0]), data.load_clips("synthetic-clips", "val").stack([0]))
