"""PoseNet's targets and the noise on them, by hand."""

from dataclasses import replace

import pytest
import torch

from msff.data.single_hand import single_hands
from msff.data.synthetic import synthetic_batch
from msff.models.baselines.canonical_frame import from_canonical
from msff.models.baselines.posenet_targets import (
    canonical_targets,
    jittered,
    palm_hands,
    pooled,
    score_map_targets,
    truncated_normal,
)
from msff.settings.losses import JitterConfig
from msff.skeleton import MIDDLE_MCP, WRIST


def batch_of(count=3, size=32, seed=0):
    return synthetic_batch(count, size, "cpu", torch.Generator().manual_seed(seed))


def test_score_maps_by_hand():
    """At 64 px sigma is 25 / 4 = 6.25 px; the centre (20.9, 30.2) counts as (20, 30)."""
    joints = torch.zeros(1, 21, 2)
    joints[0, 3], joints[0, 4], joints[0, 5], joints[0, 6] = torch.tensor(
        [[20.9, 30.2], [20, 30], [63.2, 30], [0.5, 9]]
    )
    visible = torch.zeros(1, 21, dtype=torch.bool)
    visible[0, [3, 5, 6]] = True  # 4 is not visible, 5 and 6 lie on the border
    maps = score_map_targets(joints, visible, 64)
    assert maps.shape == (1, 21, 64, 64) and maps[0, 3, 30, 20] == 1
    assert maps[0, 3, 33, 24].item() == pytest.approx(2.718281828 ** (-25 / 6.25**2))
    assert maps[0, [0, 4, 5, 6]].abs().max() == 0
    assert pooled(maps).shape == (1, 21, 8, 8)
    assert pooled(maps)[0, 3, 3, 2].item() == pytest.approx(maps[0, 3, 24:32, 16:24].mean().item())


def test_palm_hands():
    batch = batch_of()
    batch.joint_valid[1, 21 + MIDDLE_MCP] = False  # the left hand of crop 1 has no frame
    hands = palm_hands(batch)
    plain = single_hands(batch)
    assert len(plain) == 6 and len(hands) == 5 and hands.side.tolist() == [0, 1, 0, 0, 1]
    palm = (plain.joints_cam_mm[0, WRIST] + plain.joints_cam_mm[0, MIDDLE_MCP]) / 2
    expected = (plain.joints_cam_mm[0, 5] - palm) / plain.scale_mm[0]
    torch.testing.assert_close(hands.relative[0, 5], expected)
    canonical, rotation = canonical_targets(hands)
    torch.testing.assert_close(from_canonical(canonical, rotation, hands.side), hands.relative, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(hands.zoom, torch.ones(5))


def test_truncated_normal_has_the_deviation_of_its_law():
    """Cut at two deviations the normal keeps a deviation of 0.8796."""
    values = truncated_normal((200_000,), torch.Generator().manual_seed(0))
    assert values.abs().max() <= 2 and values.mean().abs() < 0.01
    assert values.std().item() == pytest.approx(0.8796, abs=0.005)


def test_jitter():
    generator, joints = torch.Generator().manual_seed(0), torch.rand(500, 21, 2) * 64
    still = JitterConfig(joint_px=0, centre_px=0, offset_px=0, zoom=(1.0, 1.0))
    torch.testing.assert_close(jittered(joints, torch.ones(500), 64, still, generator), joints)
    wide = jittered(joints, torch.ones(500), 64, replace(still, centre_px=20.0), generator)
    assert wide.min() > -1e-3 and wide.max() < 64 + 1e-3  # the crop grows: what was inside stays inside
    assert jittered(joints, torch.ones(500), 64, replace(still, offset_px=20.0), generator).min() < -20
    larger = jittered(joints, torch.ones(500), 64, replace(still, zoom=(1.2, 1.2)), generator)
    torch.testing.assert_close(larger - 32, (joints - 32) * 1.2, atol=1e-4, rtol=1e-4)
    shaken = jittered(joints, torch.full((500,), 2.0), 64, replace(still, joint_px=2.5), generator) - joints
    assert shaken.std().item() == pytest.approx(5 * 0.8796, rel=0.02) and shaken.abs().max() <= 10 + 1e-3
