"""The data chapter's numbers: viewpoints and shares worked by hand."""

from pathlib import Path

import numpy as np
import pytest

from msff.data.sample import HandSample
from msff.models.baselines.mean_pose import MeanPose
from msff.report.dataset_statistics import ROWS, comparison, mean_pose_error_mm, palm_angles_deg, statistics
from msff.report.published import DATASET_FACTS
from msff.skeleton import SWAP_HANDS

K = np.array([[300.0, 0, 50], [0, 300, 50], [0, 0, 1]])


def flat_hands():
    """(42, 3): a left hand held up before the camera, its back seen (thumb to the right), and its mirror image."""
    joints = np.zeros((42, 3))
    for start, sign in ((21, 1), (0, -1)):
        joints[start + 20] = (0, 50, 400)
        joints[start + 7] = (sign * 25, -39, 400)
        joints[start + 19] = (-sign * 33, -24, 400)
    return joints


def valid_corners():
    valid = np.zeros(42, bool)
    valid[[7, 19, 20, 28, 40, 41]] = True
    return valid


def sample(hand_type, joints, valid, visible=None, box=(0, 0, 30, 40), subject=None, size=(100, 80)):
    pixels = joints[:, :2] / np.where(joints[:, 2:] > 0, joints[:, 2:], 1) * 300 + 50
    meta = {} if subject is None else {"subject": subject}
    return HandSample(
        "0", Path("none.png"), size, joints, pixels, valid, visible, K, np.array(box, float), hand_type, meta=meta
    )


def test_palm_angles_by_hand():
    hands, valid = flat_hands()[None], valid_corners()[None]
    back = palm_angles_deg(hands, valid)
    assert back == pytest.approx([180, 180], abs=1.5)  # its middle is 3 mm off the camera's axis
    mirrored = hands[:, SWAP_HANDS]  # the same points as hands of the other side: their palms are seen
    assert palm_angles_deg(mirrored, valid) == pytest.approx([0, 0], abs=1.5)


def test_a_hand_turned_by_30_degrees():
    turn = np.radians(30)
    rotate = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    hands, valid = flat_hands(), valid_corners()
    middle = hands[[41, 28, 40]].mean(0)
    turned = (hands - middle) @ rotate.T + [0, 0, 400]  # its middle now lies on the axis
    valid[:21] = False
    assert palm_angles_deg(turned[None], valid[None]) == pytest.approx([150])
    valid[28] = False
    assert len(palm_angles_deg(turned[None], valid[None])) == 0


def test_statistics_by_hand():
    joints, valid = flat_hands(), valid_corners()
    right, left = valid & (np.arange(42) < 21), valid & (np.arange(42) >= 21)
    seen = right & (np.arange(42) != 7)
    samples = [
        sample("right", joints, right, seen, (0, 0, 10, 40), subject=1),
        sample("right", joints + [0, 0, 200], right, right, (0, 0, 30, 20), subject=2),
        sample("left", joints[SWAP_HANDS], left, left, (0, 0, 60, 50), subject=1),
        sample("interacting", joints, valid, valid, (0, 0, 90, 80), subject=1),
    ]
    values = statistics(samples)
    assert values["images"] == 4 and values["persons"] == 2
    assert values[["right_percent", "left_percent", "interacting_percent"]].tolist() == [50, 25, 25]
    assert values["visible_percent"] == pytest.approx(100 * 14 / 15)
    assert values["valid_percent"] == pytest.approx(100 * 15 / 105)  # 3 of each of five hands' 21
    assert values[["box_px_low", "box_px", "box_px_high"]].tolist() == [37.5, 50, 67.5]  # of 40, 30, 60, 90
    assert values["wrist_mm"] == 400 and values["wrist_mm_high"] == 400
    assert values[["palm_percent", "back_percent", "side_percent"]].tolist() == [20, 80, 0]
    assert values["tilt_deg_high"] < 1.5  # flat before the camera, back or palm
    assert values["focal_px"] == 300 and (values["width"], values["height"]) == (100, 80)
    assert values["reprojection_px"] == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match="no samples"):
        statistics([])


def test_mean_pose_of_one_part_on_another():
    joints, valid = np.zeros((2, 42, 3)), np.zeros((2, 42), bool)
    valid[:, [0, 1, 20]] = True
    joints[0, 0], joints[1, 0] = (10, 0, 0), (30, 0, 0)
    mean = MeanPose.fit(joints, valid)  # joint 0 at 20 mm, joint 1 at 0
    assert mean_pose_error_mm(mean, joints, valid) == pytest.approx((10 + 0 + 10 + 0) / 4)
    other = joints[:1].copy()
    other[0, 1] = (0, 3, 4)
    assert mean_pose_error_mm(mean, other, valid[:1]) == pytest.approx((10 + 5) / 2)
    train, test = (
        [sample("right", j + [0, 0, 500], v) for j, v in zip(part, valid, strict=False)] for part in (joints, other)
    )
    assert statistics(test, train)["mean_pose_mm"] == pytest.approx(7.5)
    assert statistics(test)["mean_pose_mm"] == pytest.approx(0)


def test_the_table_stands_beside_published_facts():
    joints, valid = flat_hands(), valid_corners()
    parts = {"train": [sample("interacting", joints, valid)] * 3, "test": [sample("interacting", joints, valid)]}
    table = comparison("standin-interhand", parts, "smoke").set_index("quantity")
    assert table.loc["images"].tolist()[:3] == ["3", "1", "1,361,062 / 849,160"]
    assert table.loc["visible joints, %", "test"] == "not annotated"
    assert table.loc["persons", "test"] == "not annotated"
    assert table.loc["wrist distance, median mm [quartiles]", "train"] == "400 [400, 400]"
    assert table.loc["visible joints, %", "InterHand2.6M, published"] == "not published"
    caption = comparison("standin-rhd", parts, "smoke").attrs["caption"]
    assert "stand-in in RHD format (rendered), profile smoke, 3 training and 1 test images" in caption
    assert "rendered" not in comparison("rhd", parts, "paper").attrs["caption"]


def test_published_facts_have_a_row_and_a_source():
    labels = {label for label, _ in ROWS}
    for facts in DATASET_FACTS.values():
        assert set(facts) <= labels
        assert all(source for _, source in facts.values())
    # 687,548 single and 673,514 interacting; 488,968 and 360,192
    shares = [100 * 673_514 / (687_548 + 673_514), 100 * 360_192 / (488_968 + 360_192)]
    assert DATASET_FACTS["interhand"]["interacting hands, %"][0] == " / ".join(f"{s:.1f}" for s in shares)
