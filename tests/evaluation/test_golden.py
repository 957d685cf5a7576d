"""The package against an independent loop implementation, on predictions kept in tests/golden."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msff.evaluation.evaluate import evaluate
from msff.evaluation.predictions import Predictions, Truth
from msff.evaluation.tracks import PAPER_PROTOCOLS, TestTimeInputs

GOLDEN = Path(__file__).parents[1] / "golden"
LAYOUTS = ("rhd", "interhand")


def loops():
    spec = importlib.util.spec_from_file_location("golden_loops", GOLDEN / "loops.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expected():
    return json.loads((GOLDEN / "expected.json").read_text())


def arrays(layout):
    with np.load(GOLDEN / f"{layout}.npz") as file:
        return {name: file[name] for name in file.files}


def records(layout, stored=True):
    a = arrays(layout)
    n = len(a["true"])
    names = [f"g{i:02d}" for i in range(n)]
    truth = Truth(
        sample_id=names, joints_cam_mm=a["true"], joint_valid=a["valid"],
        joint_visible=a["visible"] if layout == "rhd" else None, side_present=a["present"],
        intrinsics=np.tile(np.eye(3, dtype=np.float32), (n, 1, 1)), box=np.ones((n, 4), np.float32),
        dataset=f"standin-{layout}", side_valid=a["side_valid"],
    )  # fmt: skip
    inputs = TestTimeInputs("true box", "true", "network", "none", "none", "true")
    depth = {"root_depth_mm": {"T2": a["root_depth"]}} if stored else {}
    predictions = Predictions(
        names, {"T2": a["pred"]}, a["side_probability"], a["relative"], inputs={"T2": inputs}, **depth
    )
    return truth, predictions


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_package_gives_the_golden_numbers(layout, expected):
    summary = evaluate(*records(layout), "T2").summary()
    for name, value in expected[layout].items():
        assert summary[name] == (None if value is None else pytest.approx(value, rel=1e-6)), name
    silent = {name for name in summary if name.endswith(("no_wrist_vis", "no_wrist_occluded"))}
    assert set(summary) - set(expected[layout]) == (silent if layout == "interhand" else set())
    assert all(summary[name] is None for name in silent)  # InterHand2.6M has no visibility


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_loops_still_give_the_stored_numbers(layout, expected):
    double = {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in arrays(layout).items()}
    numbers = getattr(loops(), layout)(double)
    assert set(numbers) == set(expected[layout])
    for name, value in numbers.items():
        assert value == (None if expected[layout][name] is None else pytest.approx(expected[layout][name])), name


def test_the_loops_do_not_use_the_package():
    source = (GOLDEN / "loops.py").read_text()
    assert "import msff" not in source and "from msff" not in source


def test_golden_numbers_are_far_from_perfect_and_differ_between_conventions(expected):
    rhd, two = expected["rhd"], expected["interhand"]
    millimetres = [rhd[n] for n in rhd if n.startswith(("wrist", "palm", "pa")) and "auc" not in n]
    assert min(millimetres) > 5 and len({round(v, 6) for v in millimetres}) == len(millimetres)
    assert two["mpjpe_all"] != pytest.approx(two["mpjpe_all_pooled"], abs=0.01)
    assert two["mpjpe_all"] != pytest.approx((two["mpjpe_single"] + two["mpjpe_interacting"]) / 2, abs=0.01)


def taken(layout, rows):
    """The golden records with these samples, in this order, each under a name of its own."""
    truth, predictions = records(layout)
    rows = np.asarray(rows)
    names = [f"t{i:03d}" for i in range(len(rows))]
    fields = {k: v[rows] for k, v in vars(truth).items() if isinstance(v, np.ndarray)}
    p = replace(
        predictions, sample_id=names, joints={"T2": predictions.joints["T2"][rows]},
        side_probability=predictions.side_probability[rows],
        relative_root_depth_mm=predictions.relative_root_depth_mm[rows],
        root_depth_mm={"T2": predictions.root_depth_mm["T2"][rows]},
    )  # fmt: skip
    return replace(truth, sample_id=names, **fields), p


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), copies=st.integers(1, 3))
def test_order_and_copies_of_samples_change_no_metric(layout, seed, copies):
    count = len(records(layout)[0])
    rows = np.random.default_rng(seed).permutation(np.tile(np.arange(count), copies))
    assert_same(evaluate(*taken(layout, rows), "T2").summary(), evaluate(*records(layout), "T2").summary())


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6))
def test_a_turn_of_the_camera_frame_changes_no_root_relative_metric(layout, seed):
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    turn *= np.linalg.det(turn)  # a rotation
    truth, p = records(layout)
    turned = evaluate(
        replace(truth, joints_cam_mm=truth.joints_cam_mm @ turn), replace(p, joints={"T2": p.joints["T2"] @ turn}), "T2"
    )
    camera = ("mrrpe", "mrrpe_own_offset", "root_depth")  # these depend on the position of the camera
    assert_same(turned.summary(), evaluate(truth, p, "T2").summary(), but=camera)


def assert_same(one, other, but=()):
    assert set(one) == set(other)
    for name in set(one) - set(but):
        assert one[name] == (None if other[name] is None else pytest.approx(other[name], rel=1e-6)), name


def test_every_known_metric_of_a_paper_is_measured(expected):
    known = {protocol.metric for protocol in PAPER_PROTOCOLS.values()} - {None}
    assert known <= set(expected["rhd"])


def test_without_the_depth_used_the_own_offset_is_unknown_for_a_network(expected):
    summary = evaluate(*records("interhand", stored=False), "T2").summary()
    assert summary["mrrpe_own_offset"] is None
    assert summary["mrrpe"] == pytest.approx(expected["interhand"]["mrrpe"], rel=1e-6)
