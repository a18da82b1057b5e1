"""What training on clips costs: planned by the real step, at paper size too."""

import pytest
from lrface import degrade
from lrface.training import cost_model, recipes

SETTING = degrade.setting("8x")


def test_the_plan_of_vidface_is_the_papers():
    config = recipes.config("VidFace", SETTING, "tufs", "paper", n_faces=116_320)
    assert (config.steps, config.batch, config.lr, config.frames) == (600_000, 16, 4e-4, 7)
    assert (config.schedule, config.size, config.patch) == ("annealed", "paper", None)


@pytest.mark.slow
@pytest.mark.parametrize("method, macs", [("EDVR", 505_640_448), ("MuCAN", 538_494_144)])
def test_a_step_is_about_three_inferences(method, macs):
    config = recipes.config(method, SETTING, "rendered-clips", "quick")
    assert 2.7 * macs < cost_model.cost(config).macs < 3.05 * macs


def test_a_single_frame_costs_what_a_face_of_its_size_does():
    how = dict(batch=28, patch=None, steps=1)
    frames = recipes.config("EDSR", SETTING, "rendered-clips", "quick", frames=1, **how)
    faces = recipes.config("EDSR", SETTING, "synthetic", "quick", **how)
    ratio = cost_model.cost(frames).macs / cost_model.cost(faces).macs
    assert ratio == pytest.approx(96 / 128, rel=0.02)
