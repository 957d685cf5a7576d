"""Contact sheets: which samples, where their pixels and joints go, what the files are."""

from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from PIL import Image
from report.reading import texts

from msff.cli import main
from msff.data.images import decode_sample
from msff.data.loading import load
from msff.data.sample import HandSample
from msff.report import sheets
from msff.report.drawing import FINGER_COLOURS, WRIST_COLOUR
from msff.report.sheets import choose_sheet, depth_picture, draw_sheet, mask_overlay, read_sheet
from msff.standin.version import GENERATOR_VERSION
from msff.standin.writers import make


@pytest.fixture(scope="module")
def rhd(tmp_path_factory):
    return make("standin-rhd", tmp_path_factory.mktemp("sets") / "rhd", 9, 5, size=96, progress=False)


@pytest.fixture(scope="module")
def interhand(tmp_path_factory):
    return make("standin-interhand", tmp_path_factory.mktemp("sets") / "ih", 9, 10, size=96, progress=False)


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


def test_truth_is_drawn_where_it_is_valid_and_hollow_where_it_is_not_seen(tmp_path):
    _, ax = plt.subplots()
    sheets.draw_truth(ax, frame_sample(tmp_path, 100, 100), 9)
    under, over, dots = ax.collections
    assert [segment.tolist() for segment in over.get_segments()] == [[[20, 10], [40, 20]]]  # of three joints one bone
    assert len(under.get_segments()) == 1 and dots.get_offsets().tolist() == [[20, 10], [40, 20], [60, 70]]
    thumb, wrist = (*to_rgb(FINGER_COLOURS["thumb"]), 1), (*to_rgb(WRIST_COLOUR), 1)
    assert [tuple(c) for c in dots.get_facecolors()] == [thumb, (1, 1, 1, 1), wrist]
    assert [tuple(c) for c in dots.get_edgecolors()] == [thumb, thumb, wrist]
    box = ax.patches[0]
    assert (box.get_x(), box.get_y(), box.get_width(), box.get_height()) == (10, 5, 60, 70)
    assert ax.texts[0].get_text() == "right: 2 of 3 joints visible"


def test_mask_colours_by_hand():
    pixels = np.full((1, 5, 3), 100, np.uint8)
    over = mask_overlay(pixels, np.array([[0, 1, 2, 20, 33]]))[0]
    assert over[0].tolist() == [100, 100, 100]
    assert over[1].tolist() == [154, 154, 154]  # 100 + 0.35 (255 - 100) = 154.25: a person's other parts
    thumb, palm = 255 * np.array(to_rgb(FINGER_COLOURS["thumb"])), 255 * np.array(to_rgb(WRIST_COLOUR))
    assert over[2].tolist() == over[3].tolist() == np.rint(100 + 0.7 * (thumb - 100)).tolist()  # left tip, right base
    assert over[4].tolist() == np.rint(100 + 0.7 * (palm - 100)).tolist()


def test_depth_by_hand():
    depth = np.array([[400.0, 500.0, 5000.0]])
    picture = depth_picture(depth, np.array([[True, True, False]])).astype(int)
    assert picture[0, 0].sum() > picture[0, 1].sum()  # near is light
    assert picture[0, 2].tolist() == [225] * 3
    assert (depth_picture(depth, np.zeros((1, 3), bool)) == 225).all()


def dots(figure):
    return [c for ax in figure.axes for c in ax.collections if isinstance(c, matplotlib.collections.PathCollection)]


def test_both_layouts_plain_and_with_truth(rhd, interhand):
    for name, root in (("standin-rhd", rhd), ("standin-interhand", interhand)):
        sheet = read_sheet(name, root, "train", 9)
        plain, truth = draw_sheet(sheet), draw_sheet(sheet, truth=True)
        assert "rendered, not photographs" in texts(plain) and "rendered, not photographs" in texts(truth)
        assert sum(len(d.get_offsets()) for d in dots(truth)) == sum(s.joint_valid.sum() for s in sheet.samples)
        assert not dots(plain) and "joints valid" not in texts(plain)
        assert np.array_equal(plain.axes[0].images[0].get_array(), decode_sample(sheet.samples[0]))
    assert "42 joints valid" in texts(truth)  # of interacting hands
    samples = load("standin-rhd", rhd, "train")
    shown = dots(draw_sheet(read_sheet("standin-rhd", rhd, "train", 9), truth=True))
    filled = sum(int((d.get_facecolors()[:, :3] != 1).any(1).sum()) for d in shown)
    assert filled == sum(s.joint_visible.sum() for s in samples) < 9 * 21


def test_masks_and_depth_stand_beside_the_image_where_the_layout_has_them(rhd, tmp_path):
    sheet = read_sheet("standin-rhd", rhd, "train", 1)
    width, height = sheet.samples[0].image_size
    tile = draw_sheet(sheet, truth=True).axes[0].images[0].get_array()
    assert tile.shape[:2] == (height, width + height // 2)
    photo = replace(sheet, dataset="realworld", samples=[frame_sample(tmp_path, 90, 60)])
    assert draw_sheet(photo, truth=True).axes[0].images[0].get_array().shape[:2] == (60, 90)


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
        (["--seed", "-1"], "--seed must not be negative"),
        (["--out", "sheet.gif"], "--out must end in .png, .jpg, .jpeg, got 'sheet.gif'"),
    ],
)
def test_errors_of_the_command(rhd, tmp_path, monkeypatch, capsys, change, message):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "sheet", "standin-rhd", "--root", str(rhd), *change]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
