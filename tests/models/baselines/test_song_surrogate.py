"""Song-S, the surrogate: shapes, size by its parts, decoding, parts of the hand and the turn of a crop by hand."""

import math

import pytest
import torch

from msff.data.crops import augmented_affine, draw_augmentation
from msff.models.baselines.canonical_frame import turn_with_crop
from msff.models.baselines.song_surrogate import SongConfig, SongSurrogate, part_classes, part_groups, peaks
from msff.models.building import count_macs, count_parameters
from msff.settings.networks import BackboneConfig
from msff.settings.training import AugmentConfig

SLIM = SongConfig(BackboneConfig(block="basic", width=8, blocks=(1, 1, 1, 1)), deconv_channels=16, hidden=32)


def test_size_from_its_parts():
    """Trunk, three deconvolutions, 21 + 17 maps, 1024 hidden units to 63 numbers, side and gamma."""
    deconvolutions = 256 * 16 * (2048 + 256 + 256) + 3 * 2 * 256
    maps = (256 + 1) * (21 + 17)
    joints = 2048 * 1024 + 1024 + 1024 * 63 + 63
    with torch.device("meta"):
        net = SongSurrogate(SongConfig())
    assert count_parameters(net) == 23_508_032 + deconvolutions + maps + joints + 2 * 2049 == 36_171_943
    assert count_macs(net, 256) == 7_259_360_256


@pytest.mark.parametrize("training", [True, False])
def test_the_output_is_the_same_type_in_training_and_evaluation(training):
    output = SongSurrogate(SLIM).train(training)(torch.rand(3, 3, 64, 64))
    assert output.heat_maps.shape == (3, 21, 16, 16) and output.part_logits.shape == (3, 17, 16, 16)
    assert output.relative_dm.shape == (3, 21, 3) and output.side_logit.shape == output.gamma.shape == (3,)


def test_a_batch_of_one_and_none_at_all():
    net = SongSurrogate(SLIM)
    assert torch.isfinite(net(torch.rand(1, 3, 64, 64)).relative_dm).all()
    images = torch.rand(2, 3, 64, 64)
    one, two = net.eval()(images[:1]), net(images)
    torch.testing.assert_close(one.relative_dm[0], two.relative_dm[0], atol=1e-5, rtol=1e-4)
    empty = net(torch.rand(0, 3, 64, 64))
    assert empty.heat_maps.shape == (0, 21, 16, 16) and empty.gamma.shape == (0,)
    assert [p.shape for p in peaks(empty.heat_maps, 64)] == [(0, 21, 2), (0, 21)]


def test_untrained_its_depth_is_a_rule_of_the_box():
    assert (SongSurrogate(SLIM)(torch.rand(2, 3, 64, 64)).gamma - 0.8).abs().max() < 0.1


def test_peaks_by_hand():
    """A Gaussian of half height at bin (5.3, 9) of 16 is at 4 px per bin: (21.2, 36), confidence 0.5."""
    x, y = torch.arange(16.0), torch.arange(16.0)
    gauss = 0.5 * torch.exp(-((x - 5.3) ** 2 + (y[:, None] - 9) ** 2) / 8)
    place, confidence = peaks(gauss.expand(1, 21, 16, 16), crop_size=64)
    torch.testing.assert_close(place[0, 3], torch.tensor([21.2, 36.0]), atol=1e-3, rtol=0)
    assert confidence[0, 3].item() == pytest.approx(0.5 * math.exp(-(0.3**2) / 8))
    assert peaks(3 * gauss.expand(1, 21, 16, 16), 64)[1].max() == 1
    assert peaks(-gauss.expand(1, 21, 16, 16), 64)[1].max() == 0


def test_parts_of_either_hand():
    """Left thumb tip 2, left palm 17, right thumb tip 18, right index tip 21, right palm 33, person 1, nothing 0."""
    labels = torch.tensor([[[2, 17, 18, 21, 33, 1, 0, 255]]], dtype=torch.uint8).expand(2, 1, 8)
    parts = part_classes(labels, torch.tensor([0, 1]))
    assert parts[0, 0].tolist() == [0, 0, 1, 4, 16, 0, 0, -1]
    assert parts[1, 0].tolist() == [1, 16, 0, 0, 0, 0, 0, -1]


def test_groups_of_parts():
    groups = part_groups(torch.tensor([[[0, 1, 3, 4, 15, 16]]]))[0, :, 0]
    assert groups.int().tolist() == [
        [0, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


def test_the_turn_is_that_of_the_augmentation_mirrored_or_not():
    drawn = draw_augmentation(AugmentConfig(rotation_probability=1.0), 32, torch.Generator().manual_seed(0))
    assert drawn.flip.any() and not drawn.flip.all()
    affine = augmented_affine(torch.tensor([[10.0, 20, 50, 70]]).expand(32, 4), torch.full((32,), 320.0), 64, drawn)
    cos, sin = drawn.rotation_rad.cos(), drawn.rotation_rad.sin()
    along_x = torch.tensor([[[1.0, 0, 5]]]).expand(32, 1, 3)
    expected = torch.stack([cos, sin, torch.full_like(cos, 5.0)], -1)[:, None]
    torch.testing.assert_close(turn_with_crop(along_x, affine), expected, atol=1e-5, rtol=0)
