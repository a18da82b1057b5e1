"""Clips in the training loop: frame order, mirrored landmarks, clipping, Lookahead, resuming."""

import numpy as np
import pytest
import torch
from lrface import data, degrade, models, runs
from lrface.data.landmarks import MIRRORED
from lrface.models.objective import Objective
from lrface.training import loop, recipes
from lrface.training.batches import TrainingData, batches
from lrface.training.hyperparameters import Hyperparameters
from torch import nn

SETTING = degrade.setting("8x")
SET = "synthetic-clips"


@pytest.fixture(scope="module")
def clips():
    return data.load_clips(SET, "val")


def first_batch(clips, seed=0, **fields):
    how = TrainingData(clips, SETTING, landmarks=clips.landmarks, **fields)
    hyper = Hyperparameters(steps=1, batch=2, patch=None, lr=1e-3, seed=seed)
    return next(batches(how, hyper))


def same_frame(a, b):
    return torch.equal(a, b) or torch.equal(a, b.flip(-1))


def test_frames_are_shuffled_in_each_clip_and_mirrored_together(clips):
    found = [first_batch(clips, seed) for seed in range(6)]
    originals = clips.stack([0, 1]).float() / 255
    orders = []
    for batch in found:
        assert batch.lr.shape == (2, 7, 3, 16, 12) and batch.hr.shape == (2, 7, 3, 128, 96)
        assert batch.points.shape == (2, 7, 68, 2)
        for clip in batch.hr:
            whose = next(o for o in originals if any(same_frame(clip[0], f) for f in o))
            flipped = not any(torch.equal(clip[0], f) for f in whose)
            frames = clip.flip(-1) if flipped else clip
            order = [next(i for i, f in enumerate(whose) if torch.equal(f, x)) for x in frames]
            assert sorted(order) == list(range(7))
            orders.append((tuple(order), flipped))
    assert len({order for order, _ in orders}) == 12
    assert {flipped for _, flipped in orders} == {True, False}


def test_small_frames_belong_to_their_large_ones(clips):
    batch = first_batch(clips)
    lr = SETTING(batch.hr.flatten(0, 1)).unflatten(0, (2, 7))
    # a mirrored face is degraded before it is mirrored
    assert (lr - batch.lr).abs().max() <= 1.01 / 255


@pytest.mark.parametrize("mirrors", [True, False])
def test_landmarks_follow_their_frame(clips, mirrors):
    originals, points = clips.stack([0, 1]).float() / 255, torch.from_numpy(clips.landmarks)
    seen = set()
    for seed in range(4):
        batch = first_batch(clips, seed, mirrors_landmarks=mirrors)
        for frame, found in zip(batch.hr.flatten(0, 1), batch.points.flatten(0, 1), strict=True):
            for original, true in zip(originals.flatten(0, 1), points.flatten(0, 1), strict=True):
                if torch.equal(frame, original):
                    assert torch.equal(found, true)
                elif torch.equal(frame, original.flip(-1)):
                    mirrored = true[MIRRORED] * torch.tensor([-1.0, 1]) + torch.tensor([95.0, 0])
                    assert torch.allclose(found, mirrored if mirrors else true)
                    seen.add("mirrored")
    assert seen


def test_a_restorer_of_faces_gets_single_frames(clips):
    batch = first_batch(clips, frames=1)
    assert batch.lr.shape == (2, 3, 16, 12) and batch.points.shape == (2, 68, 2)


def test_several_processes_share_a_batch_of_clips(clips):
    how = TrainingData(clips, SETTING)
    hyper = Hyperparameters(steps=1, batch=4, patch=None, lr=1e-3)
    whole = next(batches(how, hyper))
    parts = [next(batches(how, hyper, share=slice(i, None, 2))) for i in range(2)]
    for i, part in enumerate(parts):
        assert torch.equal(part.lr, whole.lr[i::2]) and torch.equal(part.hr, whole.hr[i::2])


class Bright(nn.Module):
    """One weight: the brightness of every enlarged frame."""

    scale = 8

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))

    def forward(self, clips):
        large = nn.functional.interpolate(clips.flatten(0, 1), scale_factor=8)
        return self.weight * large.unflatten(0, clips.shape[:2])


class Far(Objective):
    clip_norm = 0.05

    def forward(self, net, batch):
        return {"loss": 1000 * (net(batch.lr) - batch.hr).square().mean()}


def test_the_gradient_is_clipped(clips, tmp_path, monkeypatch):
    norms = []
    step = torch.optim.Adam.step

    def watched(self, *args, **kwargs):
        norms.append(self.param_groups[0]["params"][0].grad.abs().item())
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    hyper = Hyperparameters(steps=3, batch=2, patch=None, lr=1e-3)
    loop.train(
        *(Bright(), TrainingData(clips, SETTING), Far(), hyper),
        checkpoint=tmp_path / "last.pt",
        label="bright",
    )
    assert norms == pytest.approx([0.05] * 3, rel=1e-3)


def test_validation_is_of_the_middle_frame(clips):
    net = models.restorer("bicubic", 8)

    class Middle(nn.Module):
        def forward(self, x):
            return net(x[:, 3])

    class Every(nn.Module):
        def forward(self, x):
            return net(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    cpu = torch.device("cpu")
    of_middle = loop.validate(Middle(), clips, SETTING, cpu)
    assert loop.validate(Every(), clips, SETTING, cpu) == pytest.approx(of_middle, abs=1e-4)
    single = data.load_clips(SET, "val", frames=1)
    assert loop.validate(net, single, SETTING, cpu) == pytest.approx(of_middle, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["VidFace", "EDVR", "MuCAN", "EDSR"])
def test_every_kind_trains_through_the_same_fit(method, own_places):
    train = data.load_clips(SET, "train", 3)
    more = dict(frames=1, patch=None) if method == "EDSR" else {}
    how = dict(n_train=3, steps=3, batch=2, **more)
    config = recipes.config(method, SETTING, SET, "smoke", n_faces=3, **how)
    run = runs.fit(config, train)
    assert run.source == "trained" and np.isfinite(run.log[-1]["val_psnr"])
    assert runs.fit(config).folder == run.folder  # loaded by name, and found again
    stored = runs.Config.model_validate_json((run.folder / "config.json").read_text())
    assert stored == config


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(own_places, monkeypatch):
    # eight steps: Lookahead's slow weights exist from the sixth on
    train = data.load_clips(SET, "train", 3)
    how = dict(n_train=3, steps=8, batch=2)
    config = recipes.config("VidFace", SETTING, SET, "smoke", n_faces=3, **how)
    whole = runs.fit(config, train).model().state_dict()
    for stop in (3, 7):
        monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
        monkeypatch.setattr(loop, "SAVE_RATIO", 0)
        step, count = loop._step_in_memory, iter(range(100))

        def killed(*args, stop=stop, step=step, count=count):
            if next(count) == stop:
                raise KeyboardInterrupt
            return step(*args)

        monkeypatch.setattr(loop, "_step_in_memory", killed)
        with pytest.raises(KeyboardInterrupt):
            runs.fit(config, train, retrain=True)
        monkeypatch.setattr(loop, "_step_in_memory", step)
        again = runs.fit(config, train, retrain=True)
        assert again.record["resumed"] == 1
        found = again.model().state_dict()
        assert all(torch.equal(found[name], weight) for name, weight in whole.items())


def test_frames_are_part_of_the_key_only_where_they_are_used():
    faces = recipes.config("EDSR", SETTING, "synthetic", "quick")
    assert "frames" not in faces.model_dump_json()
    clips = faces.model_copy(update={"frames": 1})
    assert runs.key(clips, "x") != runs.key(faces, "x")
    with pytest.raises(ValueError, match="say how many frames"):
        runs.Config(method="VidFace", degradation=SETTING, data=SET, steps=1, size="narrow")
    with pytest.raises(ValueError, match="restores single faces"):
        runs.Config(method="EDSR", degradation=SETTING, data=SET, steps=1, frames=7)
    with pytest.raises(ValueError, match="no size 'small'"):
        runs.Config(method="EDVR", degradation=SETTING, data=SET, steps=1, frames=7)
