"""Truth and predictions on disk and in memory."""

from dataclasses import replace

import numpy as np
import pytest
from make_results import make_predictions, make_truth

from msff.evaluation.evaluate import evaluate
from msff.evaluation.predictions import Predictions, ResultError, Truth
from msff.evaluation.tracks import PAPER_PROTOCOLS, PAPER_TRACK, TRACKS
from msff.skeleton import ROOTS

RHD, INTERHAND = "standin-rhd", "standin-interhand"


def test_truth_round_trip(tmp_path):
    for dataset in (RHD, INTERHAND):
        truth = make_truth(dataset)
        truth.save(tmp_path / "t.npz")
        back = Truth.load(tmp_path / "t.npz")
        assert back.sample_id == truth.sample_id and back.dataset == dataset
        assert np.array_equal(back.joints_cam_mm, truth.joints_cam_mm)
        assert (back.joint_visible is None) == (dataset == INTERHAND)


def test_predictions_round_trip_within_a_tenth_of_a_millimetre(tmp_path):
    predictions = make_predictions(make_truth(RHD), 5.0)
    predictions.save(tmp_path / "p.npz")
    back = Predictions.load(tmp_path / "p.npz")
    for track in TRACKS:
        difference = np.abs(back.joints[track] - predictions.joints[track])
        assert 0 < difference.max() < 0.1
        assert difference[:, list(ROOTS.values())].max() == 0
    assert np.array_equal(back.side_probability, predictions.side_probability)


def test_damaged_files_are_named_with_a_remedy(tmp_path):
    path = tmp_path / "p.npz"
    make_predictions(make_truth(RHD), 5.0).save(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"not an archive"):
        path.write_bytes(content)
        with pytest.raises(ResultError, match=r"p\.npz is truncated.*run the study again"):
            Predictions.load(path)
    np.savez(path, sample_id=np.array(["a"]))
    with pytest.raises(ResultError, match="lacks side_probability"):
        Predictions.load(path)
    with pytest.raises(ResultError, match="missing"):
        Predictions.load(tmp_path / "absent.npz")


def test_pickled_content_is_refused(tmp_path):
    path = tmp_path / "p.npz"
    np.savez(path, sample_id=np.array([{"code": 1}], dtype=object))
    with pytest.raises(ResultError, match=r"p\.npz"):
        Predictions.load(path)


def test_shapes_and_ids_are_checked():
    truth = make_truth(RHD)
    with pytest.raises(ResultError, match=r"joint_valid must have shape \(40, 42\)"):
        replace(truth, joint_valid=truth.joint_valid[:, :21])
    with pytest.raises(ResultError, match="occur twice"):
        replace(truth, sample_id=["same"] * 40)
    with pytest.raises(ResultError, match="exactly one hand"):
        replace(truth, side_present=np.ones((40, 2), bool))
    with pytest.raises(ResultError, match="dataset must be one of"):
        replace(truth, dataset="unheard-of")
    with pytest.raises(ResultError, match="no samples"):
        replace(truth, sample_id=[])
    with pytest.raises(ResultError, match="no sample to evaluate"):
        Truth.from_samples([], RHD)


@pytest.mark.parametrize("dataset", [RHD, INTERHAND])
def test_what_is_evaluated_as_stored_is_what_is_stored(dataset, tmp_path):
    """The file's numbers to the last bit: they differ from those of the float32 predictions."""
    truth = make_truth(dataset)
    p = replace(make_predictions(truth, 5.0), root_depth_mm={"T2": np.full((40, 2), 512.3, np.float32)})
    rounded = p.as_stored(truth)
    rounded.save(tmp_path / "p.npz")
    loaded = Predictions.load(tmp_path / "p.npz")
    p.save(tmp_path / "whole.npz")
    whole = Predictions.load(tmp_path / "whole.npz")
    for track in TRACKS:
        np.testing.assert_array_equal(loaded.joints[track], rounded.joints[track])  # a second rounding changes nothing
        assert loaded.joints[track].dtype == rounded.joints[track].dtype == np.float32
        assert evaluate(truth, loaded, track).summary() == evaluate(truth, rounded, track).summary()
        assert evaluate(truth, loaded, track).summary() == evaluate(truth, whole, track).summary()
        assert evaluate(truth, loaded, track).summary() != evaluate(truth, p, track).summary()


def test_hands_that_nothing_reads_are_not_stored():
    """A wrongly predicted handedness keeps its slot, for the metric that takes it; so does the annotated hand."""
    truth = make_truth(RHD)
    wrong = ~truth.side_present[:, 0], ~truth.side_present[:, 1]
    likely = truth.side_present.astype(np.float32)
    likely[0] = [wrong[0][0], wrong[1][0]]  # of one image
    likely[1] = np.nan  # without such a head
    p = replace(make_predictions(truth, 5.0), side_probability=likely)
    stored = p.as_stored(truth).joints["T2"].reshape(40, 2, -1)
    kept = truth.side_present.copy()
    kept[0] = True
    assert np.array_equal(np.isfinite(stored).all(-1), kept) and np.array_equal(np.isfinite(stored).any(-1), kept)
    both = make_truth(INTERHAND)
    stored = replace(make_predictions(both, 5.0), side_probability=np.full((40, 2), 0.9, np.float32)).as_stored(both)
    assert np.isfinite(stored.joints["T2"]).all()


def test_the_test_time_inputs_are_stored_with_the_predictions(tmp_path):
    truth = make_truth(RHD)
    depth = np.full((40, 2), 512.25, np.float32)
    network = replace(TRACKS["T2"], root_depth="network")
    p = make_predictions(truth, 5.0)
    p = replace(p, inputs=p.inputs | {"T2": network}, root_depth_mm={"T2": depth})
    p.save(tmp_path / "p.npz")
    back = Predictions.load(tmp_path / "p.npz")
    assert back.inputs == {"T1": TRACKS["T1"], "T2": network}
    assert np.array_equal(back.root_depth_mm["T2"], depth) and "T1" not in back.root_depth_mm
    assert evaluate(truth, back, "T2").inputs.root_depth == "network"


def test_damaged_test_time_inputs_are_refused(tmp_path):
    p = make_predictions(make_truth(RHD), 5.0)
    p.save(tmp_path / "p.npz")
    with np.load(tmp_path / "p.npz") as file:
        arrays = {name: file[name] for name in file.files}
    for text in ("{", '{"T2": {"crop": "true box"}}', '{"T2": 3}'):
        np.savez(tmp_path / "p.npz", **arrays | {"given": np.array(text)})
        with pytest.raises(ResultError, match=r"p\.npz"):
            Predictions.load(tmp_path / "p.npz")


def test_every_track_has_its_test_time_inputs():
    p = make_predictions(make_truth(RHD), 5.0)
    with pytest.raises(ResultError, match="inputs of track T0 are missing"):
        replace(p, joints={"T0": p.joints["T2"]})


def test_one_track_alone_and_as_the_papers_track(tmp_path):
    truth, protocol = make_truth(RHD), PAPER_PROTOCOLS["posenet"]
    depths = {track: np.full((40, 2), float(n), np.float32) for n, track in enumerate(TRACKS)}
    p = replace(make_predictions(truth, 5.0), inputs=dict.fromkeys(TRACKS, protocol.inputs), root_depth_mm=depths)
    for track in TRACKS:
        alone, paper = p.only(track), p.only(track, PAPER_TRACK)
        assert list(alone.joints) == list(alone.inputs) == list(alone.root_depth_mm) == [track]
        assert paper.inputs == {"T0": protocol.inputs} and np.array_equal(paper.joints["T0"], p.joints[track])
        assert np.array_equal(paper.root_depth_mm["T0"], depths[track])
        paper.save(tmp_path / "p.npz")
        evaluation = evaluate(truth, Predictions.load(tmp_path / "p.npz"), "T0")
        assert evaluation.inputs == protocol.inputs and evaluation.track == "T0"
        assert evaluation.summary()[protocol.metric] > 0
    assert set(p.joints) == set(TRACKS)


def test_order_of_samples_carries_the_depth_along():
    truth = make_truth(RHD)
    p = replace(make_predictions(truth, 5.0), root_depth_mm={"T2": np.arange(80, dtype=np.float32).reshape(40, 2)})
    turned = replace(truth, **{
        name: value[::-1] for name, value in vars(truth).items() if name != "dataset" and value is not None
    })  # fmt: skip
    assert p.in_order_of(turned).root_depth_mm["T2"][0].tolist() == [78, 79]
    with pytest.raises(ResultError, match="root_depth_mm of T2"):
        replace(p, root_depth_mm={"T2": np.zeros((3, 2))})
