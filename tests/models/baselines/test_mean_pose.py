"""The mean pose: by hand, and its errors."""

import numpy as np
import pytest
import torch

from msff.models.baselines.mean_pose import MeanPose


def test_mean_pose_by_hand():
    """Right thumb tip at +10 and +30 mm of its wrist in two valid samples, at +500 in one whose wrist is invalid."""
    joints, valid = np.zeros((3, 42, 3)), np.ones((3, 42), bool)
    joints[:, 20] = [[1, 2, 600], [5, 5, 700], [0, 0, 0]]
    joints[:, 0] = joints[:, 20] + [[10, 0, 0], [30, 0, -4], [500, 0, 0]]
    valid[2, 20] = False
    valid[:, 21:] = False
    mean = MeanPose.fit(joints, valid)
    assert mean.relative_mm.shape == (42, 3)
    assert mean.relative_mm[0].tolist() == [20.0, 0.0, -2.0]
    assert (mean.relative_mm[20:] == 0).all()
    wrists = torch.tensor([[[1.0, 1.0, 500.0], [9.0, 9.0, 900.0]]])
    posed = mean.predict(wrists)
    assert posed[0, 0].tolist() == [21.0, 1.0, 498.0]
    assert posed[0, 41].tolist() == [9.0, 9.0, 900.0]


def test_mean_pose_refuses_empty_and_misshapen_data():
    with pytest.raises(ValueError, match="at least one valid joint"):
        MeanPose.fit(np.zeros((2, 42, 3)), np.zeros((2, 42), bool))
    with pytest.raises(ValueError, match="expected"):
        MeanPose.fit(np.zeros((2, 21, 3)), np.ones((2, 21), bool))
