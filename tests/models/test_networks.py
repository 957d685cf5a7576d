"""The networks of the registry: sizes, variants, gradients, seeds, errors."""

from dataclasses import replace

import pytest
import torch
from distinct_networks import BUILT, DISTINCT
from torch import nn

from msff.models.building import (
    build,
    count_macs,
    count_parameters,
    count_used_parameters,
    module_outputs,
    takes_handedness,
)
from msff.models.registry import FACTORIAL, METHODS, NORM_VARIANTS, READINGS
from msff.settings.networks import LITE0, BackboneConfig, NetworkConfig

SLIM = NetworkConfig(
    crop_size=64, bins=16, backbone=BackboneConfig("basic", 8, (1, 1, 1, 1)),
    pyramid_channels=16, deconv_channels=16, head_hidden=16, backbone18=BackboneConfig("basic", 8, (1, 1, 1, 1)),
    vae_hidden=16, posenet_width=0.1,
)  # fmt: skip
HEAT_MAPS = [(name, variant) for name, variant in DISTINCT if not METHODS[name].single_hand]


def slim(method="msff", variant="full", seed=0):
    torch.manual_seed(seed)
    return build(method, variant, SLIM)


@pytest.mark.parametrize("method, variant", HEAT_MAPS)
def test_every_heat_map_network_gives_a_volume_at_a_quarter_scale_and_learns_everywhere(method, variant):
    net = slim(method, variant)
    output = net(torch.rand(2, 3, 64, 64))
    assert output.volume.shape == (2, 42, 16, 16, 16)
    loss = output.volume.square().mean()
    assert output.side_logits.shape == (2, 2) and output.relative_root_bin.shape == (2,)
    loss = loss + output.side_logits.square().sum() + output.relative_root_bin.sum()
    loss.backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert without == []


@pytest.mark.parametrize("method", ["msff", "internet"])
def test_training_and_evaluation_take_a_batch_of_one(method):
    net = slim(method)
    image = torch.rand(1, 3, 64, 64)
    assert torch.isfinite(net(image).volume).all()
    net.eval()
    pair = net(torch.cat([image, torch.rand(1, 3, 64, 64)])).volume
    torch.testing.assert_close(net(image).volume[0], pair[0], atol=1e-5, rtol=1e-4)


def test_the_network_of_the_paper_by_size():
    """MS-FF from its parts: trunk 23,508,032; channel conversion 2 C^2 / 16; laterals; volume; heads; six passes."""
    conversion = sum(2 * c * (c // 16) for c in (256, 512, 1024, 2048))
    laterals = 256 * (256 + 512 + 1024 + 2048) + 4 * 256
    one_pass = 128 * 128 * (1 + 9 + 1) + 3 * 2 * 128 + 2 * 128 * 8
    volume = 1024 * 42 * 64 + 42 * 64
    heads = 2 * (2048 * 512 + 512) + (512 * 2 + 2) + (512 * 64 + 64)
    with torch.device("meta"):
        net, plain = build("msff", "full", NetworkConfig()), build("msff", "bare", NetworkConfig())
    assert count_parameters(net) == 23_508_032 + conversion + laterals + 6 * one_pass + volume + heads
    assert count_parameters(plain) == 23_508_032 + laterals + volume + heads
    assert count_macs(net, 256) / 1e9 == pytest.approx(17.8, abs=0.05)


def test_internet_has_its_published_size():
    """47.3 M parameters, 11.9 G multiply-adds."""
    with torch.device("meta"):
        net = build("internet", "full", NetworkConfig())
    head = 256 * 16 * (2048 + 256 + 256) + 3 * 2 * 256 + 256 * 21 * 64 + 21 * 64
    fully_connected = 2 * (2048 * 512 + 512) + (512 * 2 + 2) + (512 * 64 + 64)
    assert count_parameters(net) == 23_508_032 + 2 * head + fully_connected == 47_305_474
    assert count_macs(net, 256) / 1e9 == pytest.approx(11.9, abs=0.05)


def test_macs_by_hand_and_without_a_trace():
    """A 1x1 convolution 3 -> 5 on 32 x 32 is 15 * 1024 multiply-adds; batch norm adds none and keeps its state."""
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 1), torch.nn.BatchNorm2d(5))
    assert count_macs(net, 32) == 15 * 1024
    assert net[1].num_batches_tracked == 0 and net[0].weight.device.type == "cpu" and net.training


@pytest.mark.parametrize("method, variant", DISTINCT)
def test_the_registry_counts_what_a_forward_pass_uses(method, variant):
    """The layers of which the output of a hand depends on no parameter are those that only training needs."""
    net = slim(method, variant)
    used = count_used_parameters(net, 64)
    only_in_training = {
        "yang": ("canonical_encoder", "view_encoder"),
        "spurr": ("pose_encoder",),
    }.get(method, ())
    if (method, variant) == ("posenet", "segmented"):  # its first step is another pass, over the whole image
        only_in_training = ("segmentation",)
    left_out = sum(count_parameters(getattr(net, name)) for name in only_in_training)
    assert used == count_parameters(net) - left_out
    assert count_macs(net, 64) > 0


def test_every_variant_is_built_and_those_of_some_methods_take_the_handedness():
    built = {row: slim(*row) for row in BUILT}
    assert {row[0] for row, net in built.items() if takes_handedness(net)} == {"posenet", "chen", "yang", "spurr"}
    for method in METHODS:  # the other variants have the layers of a distinct one
        layers, distinct = ({str(built[row]) for row in rows if row[0] == method} for rows in (BUILT, DISTINCT))
        assert layers == distinct


def test_global_regression_without_local_optimisation_adds_no_function():
    """The head on sums of levels, with the differences of its weights, is the head on the levels themselves."""
    networks = {v: slim("msff", v).double().eval() for v in ("ccm", "no-lom", "no-grm", "full")}
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)

    def volume_with_undone_sums(plain, summed):
        state = networks[plain].state_dict()
        weight = state["volume.conv.weight"]  # (42 D, 4 C, 1, 1): four levels, fine to coarse
        levels = weight.unflatten(1, (4, -1))
        undone = torch.cat([levels[:, :1], levels[:, 1:] - levels[:, :-1]], 1)
        networks[summed].load_state_dict(state | {"volume.conv.weight": undone.flatten(1, 2)})
        return networks[summed](x).volume

    expected = networks["ccm"](x).volume
    torch.testing.assert_close(volume_with_undone_sums("ccm", "no-lom"), expected, rtol=1e-9, atol=1e-12)
    # Local optimisation bends the levels, and the same weights give another function.
    expected = networks["no-grm"](x).volume
    assert not torch.allclose(volume_with_undone_sums("no-grm", "full"), expected, rtol=1e-2)


@pytest.mark.parametrize("variant", READINGS)
def test_a_reading_changes_one_module_of_the_whole_network_and_no_other(variant):
    module, changes = READINGS[variant]
    full, other = (vars(slim("msff", name).config) for name in ("full", variant))
    assert {name for name in full if full[name] != other[name]} == {module}
    assert other[module] == replace(full[module], **changes) != full[module]


@pytest.mark.parametrize("variant", NORM_VARIANTS)
def test_a_variant_with_batch_norm_differs_from_its_namesake_in_the_convolutions_of_eq_6_alone(variant):
    own, other = (vars(slim("msff", name).config) for name in (variant, NORM_VARIANTS[variant]))
    assert {name for name in own if own[name] != other[name]} == {"global_regression"}
    assert own["global_regression"] == replace(other["global_regression"], norm=True)
    assert [type(layer[1]) for layer in slim("msff", variant).global_regression.lateral] == [nn.BatchNorm2d] * 4


@pytest.mark.parametrize("variant", FACTORIAL)
def test_an_ablated_module_is_the_identity_and_no_other(variant):
    net = slim("msff", variant)
    ccm, grm, lom = FACTORIAL[variant]
    passes = [one_pass for level in net.local_optimization.levels for one_pass in level]
    assert len(passes) == 6
    inner = [one_pass.conversion for one_pass in passes] if lom else []
    assert {isinstance(module, nn.Identity) for module in (*net.channel_conversion, *inner)} == {not ccm}
    assert isinstance(net.global_regression.top_down, nn.Identity) == (not grm)
    assert {isinstance(one_pass, nn.Identity) for one_pass in passes} == {not lom}


def test_a_single_scale_is_bare_without_the_three_finer_maps():
    one, bare = slim("msff", "one-scale").eval(), slim("msff", "bare").eval()
    state = bare.state_dict()
    coarsest = {name: t for name, t in state.items() if not name.startswith("global_regression.lateral")}
    for name in ("weight", "bias"):
        coarsest[f"global_regression.lateral.0.{name}"] = state[f"global_regression.lateral.3.{name}"]
    width = one.config.global_regression.channels
    coarsest["volume.conv.weight"] = state["volume.conv.weight"][:, 3 * width :]
    one.load_state_dict(coarsest)
    with torch.no_grad():
        bare.volume.conv.weight[:, : 3 * width] = 0  # of the three finer maps
    image = torch.rand(2, 3, 64, 64)
    found, expected = vars(one(image)), vars(bare(image))
    assert expected["volume"].std() > 0
    torch.testing.assert_close(found, expected)


def test_the_maps_of_each_module_come_out_of_the_same_forward():
    net = slim().eval()
    with module_outputs(net) as outputs:
        output = net(torch.rand(1, 3, 64, 64))
    maps = {name: outputs[part] for name, part in net.named_children()}
    assert [tuple(m.shape[1:]) for m in maps["backbone"]] == [(8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]
    assert [tuple(m.shape[1:]) for m in maps["global_regression"]] == [(16, 16, 16), (16, 8, 8), (16, 4, 4), (16, 2, 2)]
    assert [tuple(m.shape[1:]) for m in maps["local_optimization"]] == [(16, 16, 16)] * 4
    torch.testing.assert_close(net.volume(torch.cat(maps["local_optimization"], 1)), output.volume)
    torch.testing.assert_close(net.handedness(maps["channel_conversion"][3]), output.side_logits)
    assert not any(m._forward_hooks for m in net.modules())


def test_internets_first_head_is_the_right_hand():
    net = slim("internet").eval()
    image = torch.rand(1, 3, 64, 64)
    before = net(image).volume
    with torch.no_grad():
        net.hands["right"][-1].conv.bias.add_(1.0)
    torch.testing.assert_close(net(image).volume[:, :21], before[:, :21] + 1)
    assert torch.equal(net(image).volume[:, 21:], before[:, 21:])


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(ValueError, match="choose one of mean-pose, oracle, posenet"):
        build("resnet", "full", SLIM)
    with pytest.raises(ValueError, match="no variant 'tiny'"):
        build("msff", "tiny", SLIM)
    with pytest.raises(ValueError, match="has no network"):
        build("mean-pose", "full", SLIM)
    with pytest.raises(ValueError, match="crop_size / 4 = 24"):
        NetworkConfig(crop_size=96)
    with pytest.raises(ValueError, match="multiple of 32"):
        NetworkConfig(crop_size=100, bins=25)


def test_variants_from_scratch_have_the_same_trunk_without_its_weights():
    network = replace(SLIM, backbone=LITE0)
    for method, variant in (("msff", "scratch"), ("msff", "scratch-bare"), ("internet", "scratch")):
        config = build(method, variant, network).config.backbone
        assert config == replace(LITE0, pretrained=False)
    assert build("msff", "full", network).config.backbone == LITE0
