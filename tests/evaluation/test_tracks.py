"""What ground truth was given: named, stored with the predictions, and known for older files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from make_results import make_predictions, make_truth

from msff.evaluation.evaluate import NATIVE, TRACKS, Predictions, ResultError, evaluate
from msff.evaluation.tracks import TRACK_NAMES, one_hand_given
from msff.report.published import TABLE1

RHD, INTERHAND = "standin-rhd", "standin-interhand"
NETWORK = replace(TRACKS["T2"].given, root_depth="network")


def test_the_tracks_name_what_they_take_from_the_annotation():
    assert TRACKS["T1"].given.from_truth == ("crop", "intrinsics", "root_depth", "side_slot")
    assert TRACKS["T2"].given.from_truth == ("crop", "intrinsics", "side_slot")
    assert TRACK_NAMES == ("T0", "T1", "T2")


def test_what_a_method_of_one_hand_is_given():
    first, second = (one_hand_given(t, needs_side=True, needs_scale=True, per_hand_box=True) for t in TRACKS)
    assert first.from_truth == ("crop", "scale", "side_input", "side_slot")
    assert second.from_truth == ("crop", "side_slot") and first.crop == second.crop == "true box per hand"
    assert (second.scale, second.side_input, second.root_depth) == ("training mean", "predicted", "none")
    for track, depth in (("T1", "true"), ("T2", "network")):
        plain = one_hand_given(track, needs_side=False, needs_scale=False, per_hand_box=False, root_depth=depth)
        assert plain == replace(TRACKS[track].given, root_depth=depth)
    found = one_hand_given("T2", needs_side=True, needs_scale=True, per_hand_box=False, crop="found")
    assert found.from_truth == ("side_slot",)
    with pytest.raises(ValueError, match="T1, T2, got 'T0'"):
        one_hand_given("T0", needs_side=True, needs_scale=True, per_hand_box=False)


def test_unknown_words_are_refused():
    known = "root_depth must be one of true, box, network, own, none, unknown, got 'guess'"
    with pytest.raises(ValueError, match=known):
        replace(TRACKS["T1"].given, root_depth="guess")


def test_the_native_records_agree_with_the_marks_of_table_1():
    assert set(NATIVE) == {row.method for row in TABLE1}
    for row in TABLE1:
        given = NATIVE[row.method].given
        if given.scale != "unknown":
            assert (given.scale == "true bone", given.side_input == "true") == (row.gt_scale, row.gt_side), row.label


def test_what_was_given_is_stored_with_the_predictions(tmp_path):
    truth = make_truth(RHD)
    depth = np.full((40, 2), 512.25, np.float32)
    p = replace(make_predictions(truth, 5.0), given={"T2": NETWORK}, root_depth_mm={"T2": depth})
    p.save(tmp_path / "p.npz")
    back = Predictions.load(tmp_path / "p.npz")
    assert back.given_on("T2") == NETWORK and back.given_on("T1") == TRACKS["T1"].given
    assert np.array_equal(back.root_depth_mm["T2"], depth) and "T1" not in back.root_depth_mm
    assert evaluate(truth, back, "T2").given.root_depth == "network"


def test_files_from_before_the_record_keep_their_meaning(tmp_path):
    truth = make_truth(INTERHAND)
    p = make_predictions(truth, 5.0)
    p.save(tmp_path / "new.npz")
    with np.load(tmp_path / "new.npz") as file:
        old = {name: file[name] for name in file.files if name != "given" and "root_depth" not in name}
    old["relative_root_depth_mm"] = p.relative_root_depth_mm
    np.savez(tmp_path / "old.npz", **old)
    back = Predictions.load(tmp_path / "old.npz")
    assert back.given == {} and back.given_on("T2") == TRACKS["T2"].given
    assert (
        evaluate(truth, back, "T2").summary() == evaluate(truth, Predictions.load(tmp_path / "new.npz"), "T2").summary()
    )


def test_a_damaged_record_of_what_was_given_is_told(tmp_path):
    p = make_predictions(make_truth(RHD), 5.0)
    p.save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as file:
        arrays = {name: file[name] for name in file.files}
    for text in ("{", '{"T2": {"crop": "true box"}}', '{"T2": 3}'):
        np.savez(tmp_path / "p.npz", **arrays | {"given": np.array(text)})
        with pytest.raises(ResultError, match=r"p\.npz"):
            Predictions.load(tmp_path / "p.npz")


def test_the_native_track_must_say_what_it_was_given():
    truth = make_truth(RHD)
    p = make_predictions(truth, 5.0)
    with pytest.raises(ResultError, match="T0 differs by method"):
        replace(p, joints={"T0": p.joints["T2"]})
    native = NATIVE["posenet"]
    p = replace(p, joints={"T0": p.joints["T2"]}, given={"T0": native.given})
    evaluation = evaluate(truth, p, "T0")
    assert evaluation.given.scale == "true bone" and evaluation.summary()[native.metric] > 0


def test_order_of_samples_carries_the_depth_along():
    truth = make_truth(RHD)
    p = replace(make_predictions(truth, 5.0), root_depth_mm={"T2": np.arange(80, dtype=np.float32).reshape(40, 2)})
    turned = replace(truth, **{
        name: value[::-1] for name, value in vars(truth).items() if name != "dataset" and value is not None
    })  # fmt: skip
    assert p.in_order_of(turned).root_depth_mm["T2"][0].tolist() == [78, 79]
    with pytest.raises(ResultError, match="root_depth_mm of T2"):
        replace(p, root_depth_mm={"T2": np.zeros((3, 2))})


def test_the_own_offset_follows_the_source_of_the_depth():
    """Either wrist off by its own amount in depth: on T1 the annotation was added, on T2 one depth for both."""
    truth = make_truth(INTERHAND)
    p = make_predictions(truth, 0.0)
    for joints in p.joints.values():
        joints[:, 41, 2] += 10  # the left wrist's own map says 10 mm
    t1 = evaluate(truth, p, "T1").errors
    interacting = torch.as_tensor(truth.side_present.all(1))
    wrist = torch.as_tensor(truth.joints_cam_mm[:, 41]).double()
    ray = (wrist / (wrist[:, 2:] + 10)).clone()  # the pixel of the moved wrist: x and y stayed, z grew
    ray[:, 2] = 1
    expected = (ray * (wrist[:, 2:] + 10) - wrist).norm(dim=1)
    assert torch.allclose(t1["mrrpe_own_offset"].error_mm[interacting, 0], expected[interacting], atol=1e-3)
    assert (t1["mrrpe"].error_mm[interacting, 0] < expected[interacting]).all()
