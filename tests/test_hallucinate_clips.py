"""``lrface hallucinate`` on videos, GIFs and folders of frames."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import draw
from lrface import data, degrade, inference, models
from lrface.data import video_files
from lrface.files import project_root
from lrface.inference import clips
from lrface.training import runs
from PIL import Image
from torch import nn


class Middle(nn.Module):
    """Restores nothing: enlarges the middle frame, or all of them, and notes what it was given."""

    scale = 8

    def __init__(self, all_frames):
        super().__init__()
        self.all_frames, self.seen = all_frames, []

    def forward(self, x):
        self.seen.append(x)
        larger = nn.functional.interpolate(x.flatten(0, 1), scale_factor=8).unflatten(
            0, x.shape[:2]
        )
        return larger if self.all_frames else larger[:, 3]


@pytest.fixture
def trained(monkeypatch):
    """``trained(net)``: this network is the best run of every method."""

    def call(net):
        config = SimpleNamespace(label="a test's network", steps=0)
        run = SimpleNamespace(config=config, model=lambda: net.eval())
        monkeypatch.setattr(runs, "best_run", lambda method, setting, data=None: run)
        return net

    return call


@pytest.fixture(scope="module")
def scene():
    """Six frames of 320x240 pixels with a rendered face that moves; none in frames 0 and 3."""
    loaded = data.load_clips("synthetic-clips", "test")
    faces = loaded.faces.stack(loaded.rows[3]).permute(0, 2, 3, 1).numpy()
    frames = np.full((6, 240, 320, 3), 100, np.uint8)
    for k in (1, 2, 4, 5):
        frames[k, 60:188, 60 + 10 * k : 188 + 10 * k] = faces[k]
    return frames


def tiny(count, width=12, height=16):
    return np.stack([draw(k, width, height) for k in range(count)])


def read(file):
    return np.stack(list(video_files.frames(file)))


@pytest.mark.parametrize("all_frames", [True, False])
def test_each_frame_is_restored_from_the_seven_around_it(all_frames):
    net = Middle(all_frames)
    faces = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1).expand(10, 3, 16, 12)
    restored = torch.stack(list(clips.restore_clip(net, faces, of_clips=True)))
    assert restored.shape == (10, 3, 128, 96) and restored[:, 0, 0, 0].tolist() == [*range(10)]
    windows = torch.cat(net.seen)[:, :, 0, 0, 0].mul(255).round().int().tolist()
    assert windows[0] == [0, 0, 0, 0, 1, 2, 3] and windows[5] == [2, 3, 4, 5, 6, 7, 8]
    assert windows[9] == [6, 7, 8, 9, 9, 9, 9] and len(windows) == 10


@pytest.mark.slow
@pytest.mark.parametrize("method", ["VidFace", "EDVR"])
def test_a_folder_of_tiny_frames_by_a_network_of_clips(lrface, tmp_path, trained, method):
    torch.manual_seed(0)
    net = trained(models.restorer(method, 8, "narrow"))
    (tmp_path / "in").mkdir()
    for k, frame in enumerate(tiny(3)):
        Image.fromarray(frame).save(tmp_path / "in" / f"{k}.png")
    (tmp_path / "in" / "3.png").write_bytes(b"x")
    code, out, err = lrface("hallucinate", tmp_path / "in", tmp_path / "out", "--method", method)
    assert code == 1 and "3 written" in out and err == "3.png: not an image\n"
    lr = torch.from_numpy(tiny(3)).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        sr = net(lr[[0, 0, 0, 1, 2, 2, 2]][None])
    expected = (sr[:, 3] if method == "VidFace" else sr)[0].clamp(0, 1) * 255
    with Image.open(tmp_path / "out" / "1.png") as image:
        assert image.size == (96, 128)
        found = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert (found - expected).abs().max() < 0.51


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_video_gives_a_video_of_the_same_kind_and_rate(lrface, tmp_path, scene, trained, suffix):
    net = trained(Middle(all_frames=True))
    file = video_files.write(tmp_path / f"a.{suffix}", scene, Fraction(10))
    code, out, err = lrface("hallucinate", file, tmp_path / "out", "--method", "VidFace")
    assert code == 0 and "1 written" in out and err == ""
    (result,) = (tmp_path / "out").iterdir()
    assert result.name == f"a.{suffix}"
    assert video_files.properties(result) == video_files.Properties(Fraction(10), 6)
    assert read(result).shape == (6, 128, 96, 3)
    # the face lies where it does in the crops that a network is trained on
    squares = video_files.faces(read(file))
    assert squares[0] is None and squares[3] is None
    small = (torch.cat(net.seen)[:, 3] * 255).round().byte()
    frames = read(file)
    for k in range(6):
        near = [squares[i] for i in (1, 2, 4, 5) if abs(i - k) <= 3]
        left, top, side = np.median(near, axis=0).round().astype(int)
        width = round(side * 0.75)
        left += (side - width) // 2
        face = torch.from_numpy(frames[k][top : top + side, left : left + width].copy())
        expected = degrade.resize(face.permute(2, 0, 1).float() / 255, (16, 12))
        assert torch.equal(small[k], (degrade.round_uint8(expected) * 255).round().byte())


def test_boxes_that_jump_are_steadied():
    squares = [(10 + k % 2, 20, 50 + 10 * (k % 2)) for k in range(10)]
    found = [clips.steady(squares, range(10), k) for k in range(3, 7)]
    assert np.ptp([side for _, _, side in found]) <= 10 and len({*found}) <= 2
    moving = [(5 * k, 0, 50) for k in range(10)]
    assert [clips.steady(moving, range(10), k) for k in (3, 6)] == [moving[3], moving[6]]


@pytest.mark.slow
def test_an_image_method_restores_frame_by_frame(lrface, tmp_path):
    file = video_files.write(tmp_path / "a.gif", tiny(4), Fraction(10))
    code, _, err = lrface("hallucinate", file, tmp_path / "b.gif", "--method", "bicubic")
    assert code == 0 and err == ""
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.gif", "b.gif"]
    net = models.restorer("bicubic", 8)
    for frame, found in zip(read(file), read(tmp_path / "b.gif"), strict=True):
        lr = torch.from_numpy(frame.copy()).permute(2, 0, 1)
        expected = inference.restore(net, lr).permute(1, 2, 0).numpy()
        # a GIF has 256 colours
        assert np.abs(found.astype(int) - expected).mean() < 8


@pytest.mark.slow
def test_a_target_says_the_kind_of_video(lrface, tmp_path):
    file = video_files.write(tmp_path / "a.gif", tiny(4), Fraction(25))
    code, _, _ = lrface("hallucinate", file, tmp_path / "b.mp4", "--method", "bicubic")
    assert code == 0
    found = video_files.properties(tmp_path / "b.mp4")
    assert found == video_files.Properties(Fraction(25), 4)


@pytest.mark.slow
def test_frames_of_40_rows_are_taken_whole(tmp_path, trained):
    net, frames = trained(Middle(all_frames=True)), tiny(2, 60, 40)
    for k, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{k}.png")
    written, _, _ = clips.apply(tmp_path, tmp_path / "out", net, of_clips=True)
    assert [file.name for file in written] == ["0.png", "1.png"]
    lr = degrade.resize(torch.from_numpy(frames[1]).permute(2, 0, 1).float() / 255, (16, 12))
    assert torch.equal(net.seen[0][1, 3], degrade.round_uint8(lr))


def test_wrong_requests_write_nothing(lrface, tmp_path, trained):
    trained(Middle(all_frames=True))
    Image.fromarray(draw(0, 12, 16)).save(tmp_path / "a.png")
    gif = video_files.write(tmp_path / "a.gif", tiny(4), Fraction(10))
    video_files.write(tmp_path / "still.gif", tiny(1), Fraction(10))
    (tmp_path / "none").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for source, target, words, sentence in (
        ("a.png", "out", ["--method", "VidFace"], "VidFace restores clips: give a video"),
        ("a.gif", "out", ["--method", "VidFace", "--scale", "4"], "videos are enlarged 8x"),
        ("a.gif", "out.webm", ["--method", "bicubic"], "written as .mp4 or .gif, not .webm"),
        ("a.gif", "a.gif", ["--method", "bicubic"], "would be overwritten by its own result"),
        ("a.gif", ".", ["--method", "bicubic"], "would be overwritten by its own result"),
        ("none", "out", ["--method", "VidFace"], "holds no image"),
        ("gone.mp4", "out", ["--method", "VidFace"], "does not exist"),
        ("still.gif", "out", ["--method", "VidFace"], "restores clips: give a video, a GIF"),
        ("a.gif", "out", ["--method", "VidFase"], "did you mean 'VidFace"),
    ):
        code, _, err = lrface("hallucinate", tmp_path / source, tmp_path / target, *words)
        assert code == 2 and sentence in err and err.count("\n") == 1, (source, words, err)
    assert sorted(tmp_path.rglob("*")) == before and gif.stat().st_size


@pytest.mark.slow
def test_videos_that_cannot_be_restored(lrface, tmp_path, scene):
    whole = video_files.write(tmp_path / "good.mp4", scene, Fraction(10)).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "empty.mp4").touch()
    video_files.write(tmp_path / "nobody.mp4", np.full((5, 64, 64, 3), 9, np.uint8), Fraction(9))
    video_files.write(tmp_path / "still.mp4", scene[1:2], Fraction(9))
    for name, sentence in (
        ("cut.mp4", "truncated"),
        ("text.mp4", "not a video"),
        ("empty.mp4", "the file is empty"),
        ("nobody.mp4", "shows no face in any of its 5 frames"),
        ("still.mp4", "has a single frame"),
    ):
        words = ["--method", "bicubic"]
        code, _, err = lrface("hallucinate", tmp_path / name, tmp_path / "out", *words)
        assert code == 1 and sentence in err and name in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_a_trained_network_the_study_is_named(lrface, tmp_path):
    file = video_files.write(tmp_path / "a.gif", tiny(4), Fraction(10))
    code, _, err = lrface(
        "hallucinate", file, tmp_path / "out", "--method", "MuCAN", "--setting", "8x"
    )
    assert code == 1 and "no trained MuCAN for 8x is at hand" in err
    written = any((project_root() / "notebooks").glob("06_*.ipynb"))
    assert ("STUDY=06" if written else "no study trains it") in err


def test_an_interrupted_video_leaves_nothing(tmp_path):
    def some():
        yield from tiny(3, 96, 128)
        raise KeyboardInterrupt

    for suffix in ("mp4", "gif"):
        with pytest.raises(KeyboardInterrupt):
            video_files.write(tmp_path / f"a.{suffix}", some(), Fraction(10))
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_is_always_there(tmp_path, monkeypatch):
    import av

    monkeypatch.setattr(av, "codecs_available", {"mpeg4"})
    file = video_files.write(tmp_path / "a.mp4", tiny(4, 96, 128), Fraction(30000, 1001))
    assert video_files.properties(file) == video_files.Properties(Fraction(30000, 1001), 4)
