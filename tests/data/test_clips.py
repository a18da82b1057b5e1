"""Sets of clips: TUFS-145K, IJB-C, a folder of clips, and videos."""

import json
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from conftest import draw
from lrface import data
from lrface.data import video_files
from lrface.data.images import located
from lrface.data.landmarks import Landmarker
from lrface.data.readers import tufs
from lrface.errors import LrfaceError, UsageError
from lrface.models.video.objectives import fractions
from PIL import Image


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    return tmp_path


def save(file, picture):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(file)
    return file


@pytest.fixture
def tufs_root(root):
    """Four people: two of train, one of val who is also in test, and one of test."""
    lists = {
        "train": ["id1/a-1", "id1/b_2", "id2/c"],
        "val": ["id3/d", "id4/e"],
        "test": ["id4/f"],
    }
    for part, clips in lists.items():
        lines = "".join(f"{clip} 7 (16, 12, 3)\n" for clip in clips)
        (root / "tufs").mkdir(exist_ok=True)
        (root / "tufs" / f"tufs_{part}.txt").write_text(lines)
        for clip in clips:
            for k in range(1, 8):
                seed = sum(clip.encode()) * 10 + k
                save(root / "tufs" / "GT" / clip / f"im{k}.png", draw(seed, 96, 128))
    return root


def test_tufs_in_the_official_layout(tufs_root):
    table = data.load("tufs").table
    assert len(table) == 7 * 5 and table["key"].is_unique
    assert table["key"].tolist()[:2] == ["id1/a-1/im1.png", "id1/a-1/im2.png"]
    assert table["clip"].unique().tolist() == ["id1/a-1", "id1/b_2", "id2/c", "id3/d", "id4/f"]
    assert table["frame"].tolist() == [1, 2, 3, 4, 5, 6, 7] * 5
    assert table.groupby("split")["identity"].unique().map(list).to_dict() == {
        "train": ["id1", "id2"],
        "val": ["id3"],
        "test": ["id4"],
    }


def test_tufs_frames_are_read_without_loss(tufs_root):
    clips = data.load_clips("tufs", "train")
    assert clips.table["key"].tolist() == ["id1/a-1", "id1/b_2", "id2/c"]
    assert clips.faces.split_rule == data.OFFICIAL
    frames = clips.stack([2])[0]
    for k, frame in enumerate(frames, 1):
        with Image.open(tufs_root / f"tufs/GT/id2/c/im{k}.png") as image:
            assert np.array_equal(frame.permute(1, 2, 0), np.asarray(image))


def test_people_of_two_lists_are_in_one_split(tufs_root):
    held_out = data.held_out("tufs")
    assert sorted(held_out["identity"].unique()) == ["id3", "id4"]
    data.check_leakage(data.load_clips("tufs", "train").table, held_out)
    assert "id4/e" not in held_out["key"].str.rpartition("/")[0].tolist()


def test_tufs_landmarks_come_out_as_the_same_fractions(tufs_root):
    five = np.linspace(0.2, 0.8, 10)
    marks = {"id2/c/im3.png": five.tolist(), "elsewhere/x/im1.png": [0.5] * 10}
    (tufs_root / "tufs" / "landmarks.json").write_text(json.dumps(marks))
    clips = data.load_clips("tufs", "train")
    found = fractions(torch.from_numpy(clips.landmarks), 128, 96)
    assert found[2, 2].numpy() == pytest.approx(five.reshape(5, 2) - 0.5, abs=1e-5)
    known = found.isfinite().flatten(2).all(2)
    assert known.sum() == 1 and known[2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("text", ["[1, 2]", "{", '{"id2/c/im3.png": [1, 2]}', "\x80\x04K\x01."])
def test_tufs_landmarks_in_another_form_are_refused(tufs_root, text):
    (tufs_root / "tufs" / "landmarks.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(LrfaceError, match=r"landmarks.json is not the JSON of ten numbers"):
        data.load("tufs")


def test_tufs_without_lists_is_split_by_identity(tufs_root):
    for part in tufs.PARTS:
        (tufs_root / "tufs" / f"tufs_{part}.txt").unlink()
    faces = data.load("tufs")
    assert len(faces) == 42 and "sha256 of identity" in faces.split_rule


def test_tufs_says_what_is_missing(tufs_root, capsys):
    (tufs_root / "tufs/GT/id2/c/im5.png").unlink()
    clips = data.load_clips("tufs", "train")
    assert "id2/c/im5.png: the file is missing" in capsys.readouterr().err
    assert clips.details["found"].tolist() == [7, 7, 6] and clips.stack([2]).shape[1] == 7
    (tufs_root / "tufs/tufs_val.txt").write_text("id9/../../x 7\n")
    with pytest.raises(LrfaceError, match="tufs_val.txt is not in the official form"):
        data.load("tufs")


def test_an_empty_tufs_says_the_layout(root):
    with pytest.raises(LrfaceError, match="put tufs there as tufs/GT/id/clip/im1.png"):
        data.load("tufs")
    (root / "tufs").mkdir()
    with pytest.raises(LrfaceError, match="holds no GT/id/clip/im1.png"):
        data.load("tufs")


HEADER = (
    "SUBJECT_ID,FILENAME,SIGHTING_ID,FACE_X,FACE_Y,FACE_WIDTH,FACE_HEIGHT,FRAME_NUM,FACIAL_HAIR"
)


@pytest.fixture
def ijbc_root(root):
    """A clip of five frames, one of three (too short), a still, and one frame of two people."""
    rows = [f"7,frames/{k}.png,100,60,40,50,60,{30 * (12 - k)},0" for k in range(1, 6)]
    rows += [f"7,frames/{k}.png,101,60,40,50,60,{k},0" for k in range(6, 9)]
    rows += ["7,img/1.png,102,60,40,50,60,,0"]
    rows += [f"8,frames/{k}.png,200,20,30,40,40,,0" for k in (5, 9, 10, 11)]
    protocols = root / "IJB-C" / "protocols"
    protocols.mkdir(parents=True)
    (protocols / "ijbc_metadata.csv").write_text("\n".join([HEADER, *rows, rows[0], ""]))
    for k in range(1, 12):
        save(root / "IJB-C" / "images" / "frames" / f"{k}.png", draw(k, 200, 160))
    return root


def test_ijbc_in_the_official_layout(ijbc_root):
    faces = data.load("ijbc")
    table = faces.table
    assert table["clip"].value_counts().to_dict() == {"7/100": 5, "8/200": 4}
    assert table["key"].tolist()[:2] == ["7/100/1.png", "7/100/2.png"]
    # 1.2 times the larger side, 60, about (85, 70)
    assert located(table["path"][0]) == ("IJB-C/images/frames/1.png", (49, 34, 72))
    assert table.loc[table["clip"] == "8/200", "frame"].tolist() == [10, 11, 5, 9]
    clips = data.load_clips("ijbc")
    assert clips.table["key"].tolist() == ["7/100", "8/200"]
    assert clips.faces.table["frame"].tolist()[:5] == [210, 240, 270, 300, 330]


def test_ijbc_boxes_that_place_no_face_are_skipped_and_named(ijbc_root, capsys):
    file = ijbc_root / "IJB-C" / "protocols" / "ijbc_metadata.csv"
    text = file.read_text().replace("7,frames/2.png,100,60", "7,frames/2.png,100,")
    file.write_text(text + "8,frames/9.png,200,90,30,40,40,,0\n")
    faces = data.load("ijbc")
    assert set(faces.skipped) == {"7/100/2.png", "8/200/9.png"}
    assert "skipped 2 of 9 files" in capsys.readouterr().err


def test_ijbc_lists_that_are_missing_or_in_another_form(ijbc_root):
    file = ijbc_root / "IJB-C" / "protocols" / "ijbc_metadata.csv"
    for text in ("", "a,b\n1,2\n", HEADER + "\n7,frames/1.png,100,here,40,50,60,1,0\n"):
        file.write_text(text)
        with pytest.raises(LrfaceError, match="not in the official form, with the columns"):
            data.load("ijbc")
    file.write_text(HEADER + "\n7,frames/1.png,100,60,40,50,60,1,0\n")
    with pytest.raises(LrfaceError, match="names no clip of 4 frames or more"):
        data.load("ijbc")
    file.unlink()
    with pytest.raises(LrfaceError, match="ijbc_metadata.csv is missing"):
        data.load("ijbc")


def folder_clip(folder, count, width=96, height=128, first=0):
    for k in range(count):
        save(folder / f"f{k + first}.png", draw(k + 100 * width, width, height))


def test_a_folder_of_clips(tmp_path):
    folder_clip(tmp_path / "ann" / "x", 11)
    folder_clip(tmp_path / "bob" / "x", 2, 200, 140)
    folder_clip(tmp_path / "bob" / ".hidden", 2)
    clips = data.load_clips(f"folder:{tmp_path}", frames=11)
    assert clips.table["key"].tolist() == ["ann/x", "bob/x"]
    names = clips.faces.table["key"].str.rpartition("/")[2].tolist()[:11]
    assert names == [f"f{k}.png" for k in range(11)]
    portrait = clips.stack([0])[0, 10].permute(1, 2, 0)
    assert np.array_equal(portrait, draw(10 + 9600, 96, 128))
    square = Image.fromarray(draw(20000, 200, 140)).crop((30, 0, 170, 140))
    middle = np.asarray(square.resize((128, 128), Image.Resampling.LANCZOS))[:, 16:112]
    assert np.array_equal(clips.stack([1])[0, 0].permute(1, 2, 0), middle)


def test_clips_that_cannot_be_used_are_named_and_the_rest_goes_on(tmp_path, capsys):
    folder_clip(tmp_path / "ann" / "good", 3)
    folder_clip(tmp_path / "ann" / "mixed", 3)
    folder_clip(tmp_path / "ann" / "mixed", 2, 100, 128, first=3)
    folder_clip(tmp_path / "bob" / "one", 1)
    (tmp_path / "ann" / "good" / "f9.png").write_bytes(b"x")
    clips = data.load_clips(f"folder:{tmp_path}")
    assert clips.table["key"].tolist() == ["ann/good"] and clips.details["found"].tolist() == [3]
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3 and "ann/good/f9.png: not an image" in said[0]
    assert said[1].endswith("skipped 1 of 3 clips, which have a single frame: bob/one")
    assert said[2].endswith("skipped 1 of 3 clips, which have frames of different sizes: ann/mixed")
    folder_clip(tmp_path / "none" / "a" / "b", 1)
    with pytest.raises(LrfaceError, match="no clip of two frames or more"):
        data.load_clips(f"folder:{tmp_path / 'none'}")


def test_a_folder_of_pictures_is_no_folder_of_clips_and_the_reverse(tmp_path):
    folder_clip(tmp_path / "ann", 3, 128, 128)
    assert len(data.load(f"folder:{tmp_path}")) == 3
    with pytest.raises(LrfaceError, match=r"lay clips out as PATH/identity/clip/frame.jpg"):
        data.load_clips(f"folder:{tmp_path}")
    folder_clip(tmp_path / "clips" / "ann" / "x", 3)
    with pytest.raises(LrfaceError, match="holds no image one level down"):
        data.load(f"folder:{tmp_path / 'clips'}")
    split = data.load_clips(f"folder:{tmp_path / 'clips'}").table["split"].iat[0]
    assert len(data.held_out(f"folder:{tmp_path / 'clips'}")) == (0 if split == "train" else 3)
    state = data.state(f"folder:{tmp_path / 'clips'}")
    folder_clip(tmp_path / "clips" / "ann" / "x", 4)
    assert data.state(f"folder:{tmp_path / 'clips'}") != state


def test_a_photo_that_is_turned_is_a_portrait(tmp_path):
    for k in range(2):
        image, exif = Image.fromarray(draw(k, 128, 96)), Image.Exif()
        exif[274] = 6
        file = tmp_path / "ann" / "x" / f"{k}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file, quality=100, exif=exif)
    clips = data.load_clips(f"folder:{tmp_path}")
    assert clips.faces.table["size"].unique().tolist() == ["96x128"]
    with Image.open(tmp_path / "ann/x/0.jpg") as image:
        upright = np.rot90(np.asarray(image), -1)
    assert np.array_equal(clips.stack([0])[0, 0].permute(1, 2, 0), upright)


@pytest.fixture(scope="module")
def scene():
    """Ten frames of 320x240 pixels, nine of which show a rendered face that moves."""
    clips = data.load_clips("synthetic-clips", "test")
    faces = clips.faces.stack(clips.rows[3]).permute(0, 2, 3, 1).numpy()
    frames = np.full((10, 240, 320, 3), 100, np.uint8)
    for k in range(10):
        if k != 4:
            frames[k, 40 + 2 * k : 168 + 2 * k, 60 + 5 * k : 188 + 5 * k] = faces[min(k, 6)]
    return frames


def encode(file, frames, rate=12):
    return video_files.write(file, frames, Fraction(rate))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["mp4", "gif"])
def test_a_video_gives_the_face_crops_of_its_frames(tmp_path, scene, suffix):
    file = encode(tmp_path / f"ann.{suffix}", scene)
    faces = data.load(f"video:{file}")
    table = faces.table
    assert table["frame"].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert set(table["clip"]) == set(table["identity"]) == {"ann"}
    assert table["key"].tolist()[:1] == ["ann/000000.png"]
    sides = table["side"].to_numpy()
    assert ((sides > 90) & (sides < 160)).all()
    found = Landmarker().detect(faces.stack(range(len(faces))))
    centre = (found[:, :2] + found[:, 2:]) / 2
    assert np.nanmedian(centre, axis=0) == pytest.approx([64, 64 + 0.09 * 128 / 1.4], abs=4)
    clips = data.load_clips(f"video:{file}")
    assert clips.table["key"].tolist() == ["ann/ann"] and clips.details["found"].tolist() == [9]
    assert clips.stack([0]).shape == (1, 7, 3, 128, 96)


@pytest.mark.slow
def test_the_stored_crops_are_the_frames_pixels(tmp_path, scene):
    file = encode(tmp_path / "ann.mp4", scene)
    table = data.load(f"video:{file}").table
    frame = list(video_files.frames(file))[2]
    with Image.open(table["path"][2]) as stored:
        crop = np.asarray(stored)
    side = len(crop)
    places = [
        (y, x)
        for y in range(240 - side)
        for x in range(320 - side)
        if np.array_equal(frame[y, x : x + side], crop[0])
        and np.array_equal(frame[y : y + side, x : x + side], crop)
    ]
    assert len(places) == 1


def broken_videos(folder, scene):
    """One file of each kind that cannot be used, and why."""
    whole = encode(folder / "good.mp4", scene).read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("this is no video")
    (folder / "empty.gif").touch()
    encode(folder / "nobody.mp4", np.full((5, 64, 64, 3), 90, np.uint8))
    encode(folder / "single.gif", np.stack([scene[4], scene[0]]))
    return {
        "cut.mp4": "truncated",
        "text.mp4": "not a video",
        "empty.gif": "the file is empty",
        "nobody.mp4": "none of its 5 frames shows a face",
        "single.gif": "one of its 2 frames shows a face, and a clip needs two",
    }


def test_videos_that_cannot_be_used(tmp_path, scene, capsys):
    reasons = broken_videos(tmp_path, scene)
    for name, reason in reasons.items():
        with pytest.raises(LrfaceError, match=rf"{re.escape(name)}: .*{reason}") as caught:
            data.load(f"video:{tmp_path / name}")
        assert "\n" not in str(caught.value)
    faces = data.load(f"video:{tmp_path}")
    said = capsys.readouterr().err
    assert set(faces.skipped) == set(reasons) and said.count("\n") == 1
    assert all(f"{name}: " in said for name in reasons)
    assert set(faces.table["clip"]) == {"good"} and len(faces) == 9
    assert data.load_clips(f"video:{tmp_path}").table["key"].tolist() == ["good/good"]


def test_a_video_with_its_index_in_front_that_was_cut_off(tmp_path, scene):
    import av

    file = tmp_path / "a.mp4"
    noisy = scene ^ np.random.default_rng(0).integers(0, 64, scene.shape, np.uint8)
    with av.open(str(file), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for frame in noisy:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    assert len(list(video_files.frames(file))) == 10
    content = file.read_bytes()
    file.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(video_files.BadVideo, match="truncated"):
        list(video_files.frames(file))


def test_a_video_of_a_phone_held_upright_is_turned(tmp_path):
    import av

    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=12, options={"qscale": "1"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.set_display_rotation(-90)  # a quarter turn clockwise
        frame = av.VideoFrame.from_ndarray(draw(0, 128, 96), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])
    (found,) = video_files.frames(tmp_path / "a.mp4")
    upright = np.rot90(draw(0, 128, 96), -1)
    assert found.shape == (128, 96, 3) and np.abs(found.astype(int) - upright).mean() < 10


def test_places_without_a_video(tmp_path):
    with pytest.raises(LrfaceError, match=r"gone.mp4 does not exist; give video:PATH"):
        data.load(f"video:{tmp_path / 'gone.mp4'}")
    with pytest.raises(LrfaceError, match="holds no video"):
        data.load(f"video:{tmp_path}")
    with pytest.raises(UsageError, match="unknown split"):
        data.load_clips(f"video:{tmp_path}", "dev")


@pytest.mark.slow
def test_faces_of_a_video_are_found_once(tmp_path, scene, monkeypatch):
    file = encode(tmp_path / "ann.gif", scene)
    first = data.load(f"video:{file}")
    monkeypatch.setattr(video_files, "faces", lambda *_: 1 / 0)
    assert data.load(f"video:{file}").fingerprint == first.fingerprint
    assert data.state(f"video:{file}") == data.state(f"video:{file}")


@pytest.mark.slow
def test_large_frames_are_searched_at_a_smaller_size(scene):
    large = np.asarray(Image.fromarray(scene[0]).resize((1600, 1200)))
    square = video_files.faces([scene[0]])[0]
    assert np.array(video_files.faces([large])[0]) / 5 == pytest.approx(square, abs=8)
