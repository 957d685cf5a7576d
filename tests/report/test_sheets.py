"""Contact sheets: which samples, where their pixels and joints go, what the files are."""

import io

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from PIL import Image

from msff.cli import main
from msff.data.datasets import load
from msff.data.sample import DataError, HandSample
from msff.report import sheets
from msff.report.drawing import FINGER_COLOURS, WRIST_COLOUR
from msff.report.sheets import choose_sheet, decode_depth, depth_picture, draw_sheet, encoded, mask_overlay, read_sheet
from msff.standin.formats import encode_depth
from msff.standin.version import GENERATOR_VERSION
from msff.standin.writers import make


@pytest.fixture(scope="module")
def rhd(tmp_path_factory):
    return make("standin-rhd", tmp_path_factory.mktemp("sets") / "rhd", 9, 5, size=96, progress=False)


@pytest.fixture(scope="module")
def interhand(tmp_path_factory):
    return make("standin-interhand", tmp_path_factory.mktemp("sets") / "ih", 9, 10, size=96, progress=False)


def words(figure):
    return " ".join(t.get_text() for t in figure.findobj(matplotlib.text.Text))


def frame_sample(folder, width, height, hand_type="right"):
    """A black frame of ``width`` x ``height`` px with its joint 0 at (20, 10)."""
    path = folder / f"{width}x{height}.png"
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[8:13, 18:23] = 255
    Image.fromarray(pixels).save(path)
    valid = np.zeros(42, bool)
    valid[[0, 1, 20]] = True
    joints = np.zeros((42, 2))
    joints[[0, 1, 20]] = [[20, 10], [40, 20], [60, 70]]
    return HandSample(
        "0", path, (width, height), np.ones((42, 3)), joints, valid, valid & (np.arange(42) != 1), np.eye(3),
        np.array([10.0, 5, 60, 70]), hand_type,
    )  # fmt: skip


def test_the_choice_depends_on_the_seed_and_keeps_the_order(rhd):
    chosen = [[s.sample_id for s in read_sheet("standin-rhd", rhd, "train", 4, seed).samples] for seed in (0, 0, 1)]
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(len(set(ids)) == 4 and ids == sorted(ids) for ids in chosen)


def test_captions_say_which_data(rhd):
    caption = read_sheet("standin-rhd", rhd, "train", 4, 3).caption
    made = f"rendered, not photographs: generator version {GENERATOR_VERSION}, seed 0"
    assert caption == f"stand-in in RHD format, train part: 4 of 9 images, choice by seed 3\n{made}"
    everything = read_sheet("standin-rhd", rhd, "test", 64)
    assert len(everything.samples) == 5
    assert "all 5 images (64 were requested)" in everything.caption
    real = choose_sheet("rhd", rhd, "test", load("standin-rhd", rhd, "test"), 2)
    assert "rendered" not in real.caption and real.caption.startswith("RHD, test part: 2 of 5")


@pytest.mark.parametrize(("wrong", "message"), [({"count": 0}, "at least 1"), ({"seed": -1}, "must not be negative")])
def test_bad_requests(rhd, wrong, message):
    with pytest.raises(ValueError, match=message):
        read_sheet("standin-rhd", rhd, **wrong)


def test_a_wide_frame_is_centred_and_its_joints_move_along(tmp_path):
    mosaic = np.full((200, 200, 3), 255, np.uint8)
    sample = frame_sample(tmp_path, 320, 160)
    scale, shift = sheets._place(mosaic, sample, (10, 20), (160, 160))
    assert scale == 0.5 and shift.tolist() == [9.75, 59.75]  # 40 px of white above; pixel centres are whole numbers
    assert (mosaic[20:60] == 255).all() and (mosaic[61:139, 40:170] < 40).all() and (mosaic[140:] == 255).all()
    x, y = sample.joints_image_px[0] * scale + shift  # the white square's centre
    assert mosaic[round(y), round(x)].min() > 200


def test_truth_is_drawn_where_it_is_valid_and_hollow_where_it_is_not_seen(tmp_path):
    sample = frame_sample(tmp_path, 100, 100)
    _, ax = plt.subplots()
    sheets.draw_truth(ax, sample, 2.0, np.array([1.0, 3.0]))
    right, left = ax.collections[:2], ax.collections[2:4]
    assert len(right[1].get_segments()) == 1 and len(left[1].get_segments()) == 0  # of three joints one bone: 0 to 1
    assert right[1].get_segments()[0].tolist() == [[41, 23], [81, 43]]
    dots = ax.collections[4]
    assert dots.get_offsets().tolist() == [[41, 23], [81, 43], [121, 143]]
    thumb, wrist = (*to_rgb(FINGER_COLOURS["thumb"]), 1), (*to_rgb(WRIST_COLOUR), 1)
    assert [tuple(c) for c in dots.get_facecolors()] == [thumb, (1, 1, 1, 1), wrist]
    assert [tuple(c) for c in dots.get_edgecolors()] == [thumb, thumb, wrist]
    box = ax.patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (21, 13, 120, 140)


def test_mask_colours_by_hand():
    pixels = np.full((1, 5, 3), 100, np.uint8)
    over = mask_overlay(pixels, np.array([[0, 1, 2, 20, 33]]))[0]
    assert over[0].tolist() == [100, 100, 100]
    assert over[1].tolist() == [154, 154, 154]  # 100 + 0.35 (255 - 100) = 154.25: a person's other parts
    thumb, palm = 255 * np.array(to_rgb(FINGER_COLOURS["thumb"])), 255 * np.array(to_rgb(WRIST_COLOUR))
    assert over[2].tolist() == over[3].tolist() == np.rint(100 + 0.7 * (thumb - 100)).tolist()  # left tip, right base
    assert over[4].tolist() == np.rint(100 + 0.7 * (palm - 100)).tolist()


def test_depth_by_hand():
    depth = decode_depth(encode_depth(np.array([[400.0, 500.0, 0.0]])))
    assert depth[0, :2] == pytest.approx([400, 500], abs=0.05) and depth[0, 2] == 5000
    picture = depth_picture(depth, np.array([[True, True, False]])).astype(int)
    assert picture[0, 0].sum() > picture[0, 1].sum()  # near is light
    assert picture[0, 2].tolist() == [225] * 3
    assert (depth_picture(depth, np.zeros((1, 3), bool)) == 225).all()


def test_both_layouts_plain_and_with_truth(rhd, interhand):
    for name, root in (("standin-rhd", rhd), ("standin-interhand", interhand)):
        sheet = read_sheet(name, root, "train", 9)
        plain, truth = draw_sheet(sheet), draw_sheet(sheet, truth=True)
        assert "rendered, not photographs" in words(plain) and "rendered, not photographs" in words(truth)
        dots = [c for c in truth.axes[0].collections if isinstance(c, matplotlib.collections.PathCollection)]
        assert sum(len(d.get_offsets()) for d in dots) == sum(int(s.joint_valid.sum()) for s in sheet.samples)
        assert not plain.axes[0].collections and "joints valid" not in words(plain)
    visible = sum(int(s.joint_visible.sum()) for s in load("standin-rhd", rhd, "train"))
    figure = draw_sheet(read_sheet("standin-rhd", rhd, "train", 9), truth=True)
    shown = [c for c in figure.axes[0].collections if isinstance(c, matplotlib.collections.PathCollection)]
    filled = sum(int((d.get_facecolors()[:, :3] != 1).any(1).sum()) for d in shown)
    assert filled == visible < 9 * 21
    assert "42 joints valid" in words(draw_sheet(read_sheet("standin-interhand", interhand, "train", 9), truth=True))


def test_the_mosaic_is_shown_pixel_by_pixel(rhd):
    sheet = read_sheet("standin-rhd", rhd, "train", 9)
    picture = Image.open(io.BytesIO(encoded(draw_sheet(sheet), ".png"))).convert("RGB")
    assert picture.size == (8 * 164 - 4, 2 * 164 - 4 + 2 * 19 + 8 + 4)
    first = np.asarray(Image.open(sheet.samples[0].image_path).resize((160, 160), Image.Resampling.LANCZOS))
    assert np.array_equal(np.asarray(picture)[46 : 46 + 160, :160], first)


def test_a_large_png_gets_a_palette(rhd, monkeypatch):
    sheet = read_sheet("standin-rhd", rhd, "train", 9)
    full = encoded(draw_sheet(sheet), ".png")
    monkeypatch.setattr(sheets, "MAX_BYTES", len(full) - 1)
    small = encoded(draw_sheet(sheet), ".png")
    assert len(small) < len(full) and Image.open(io.BytesIO(small)).mode == "P"
    assert Image.open(io.BytesIO(encoded(draw_sheet(sheet), ".jpg"))).format == "JPEG"


def test_command(rhd, interhand, tmp_path, capsys):
    out = tmp_path / "new" / "sheet.png"
    for name, root in (("standin-rhd", rhd), ("standin-interhand", interhand)):
        command = ["data", "sheet", name, "--root", str(root), "--count", "6", "--out", str(out), "--truth"]
        assert main(command) == 0
        assert "rendered, not photographs" in capsys.readouterr().out
        first = out.read_bytes()
        assert main(command) == 0 and out.read_bytes() == first
        assert [p.name for p in out.parent.iterdir()] == ["sheet.png"]
        assert not {"Software", "Creation Time"} & set(Image.open(out).info)
    capsys.readouterr()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--root", "/nowhere/at/all"], "/nowhere/at/all: expected the folder"),
        (["--split", "training"], "has no part 'training'; expected one of train, test"),
        (["--count", "0"], "--count must be at least 1"),
        (["--out", "sheet.gif"], "--out must end in .png, .jpg, .jpeg, got 'sheet.gif'"),
    ],
)
def test_errors_of_the_command(rhd, tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "sheet", "standin-rhd", "--root", str(rhd), *change]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_empty_folders_and_wrong_names(rhd, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected standin\.json"):
        read_sheet("standin-rhd", tmp_path / "empty")
    with pytest.raises(DataError, match="is a rendered stand-in and not RHD"):
        read_sheet("rhd", rhd)
