"""The trunk against torchvision's ResNet, its scales, its errors."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torchvision

from msff.models import efficientnet
from msff.models.backbone import ResNet, build_backbone
from msff.settings.networks import LITE0, BackboneConfig

SLIM = BackboneConfig(block="basic", width=8, blocks=(1, 1, 1, 1))


def test_resnet18_is_torchvisions_with_its_parameter_names():
    torch.manual_seed(0)
    reference = torchvision.models.resnet18().eval()
    ours = ResNet(BackboneConfig(block="basic", blocks=(2, 2, 2, 2))).eval()
    state = {name: value for name, value in reference.state_dict().items() if not name.startswith("fc.")}
    ours.load_state_dict(state)  # strict
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = reference(image)
        ours_class = reference.fc(ours(image)[-1].mean((2, 3)))
    torch.testing.assert_close(ours_class, expected)


def test_resnet50_has_torchvisions_parameters():
    with torch.device("meta"):
        reference, ours = torchvision.models.resnet50(), ResNet(BackboneConfig())
    shapes = {name: value.shape for name, value in reference.state_dict().items() if not name.startswith("fc.")}
    assert {name: value.shape for name, value in ours.state_dict().items()} == shapes
    maps = ours(torch.empty(2, 3, 256, 256, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(256, 64, 64), (512, 32, 32), (1024, 16, 16), (2048, 8, 8)]


def test_slim_maps_have_the_scales_and_the_stated_channels():
    maps = ResNet(SLIM)(torch.rand(2, 3, 96, 96))
    assert [tuple(m.shape) for m in maps] == [(2, 8, 24, 24), (2, 16, 12, 12), (2, 32, 6, 6), (2, 64, 3, 3)]
    assert SLIM.channels == (8, 16, 32, 64) and BackboneConfig().channels == (256, 512, 1024, 2048)


def test_names():
    assert BackboneConfig().name == "resnet50"
    assert BackboneConfig(block="basic", blocks=[2, 2, 2, 2]).name == "resnet18"
    assert SLIM.name == "resnet-basic-w8-1111"


def test_normalise_is_imagenets_and_changes_no_parameter():
    torch.manual_seed(0)
    plain = ResNet(SLIM).eval()
    normalised = ResNet(BackboneConfig(block="basic", width=8, blocks=(1, 1, 1, 1), normalise=True)).eval()
    normalised.load_state_dict(plain.state_dict())
    image = torch.rand(1, 3, 64, 64)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    by_hand = (image - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(normalised(image)[0], plain(by_hand)[0])


def test_a_batch_of_one_trains_at_64_px_and_is_refused_at_32():
    net = ResNet(SLIM)
    assert torch.isfinite(net(torch.rand(1, 3, 64, 64))[-1]).all()
    with pytest.raises(ValueError, match="batch of at least 2"):
        net(torch.rand(1, 3, 32, 32))
    assert net.eval()(torch.rand(1, 3, 32, 32))[-1].shape == (1, 64, 1, 1)


def test_bad_input_and_config_are_named():
    with pytest.raises(ValueError, match="multiple of 32"):
        ResNet(SLIM)(torch.rand(1, 3, 100, 100))
    with pytest.raises(ValueError, match="bottleneck, basic"):
        BackboneConfig(block="vgg")
    with pytest.raises(ValueError, match="four counts"):
        BackboneConfig(blocks=(1, 1, 1))
    with pytest.raises(ValueError, match="no ImageNet weights"):
        BackboneConfig(width=16, pretrained=True)


def test_weights_that_cannot_be_fetched_say_where_to_put_them(monkeypatch):
    class Offline:
        url = "https://example.org/resnet18-abc.pth"

        def get_state_dict(self, **_):
            raise OSError("no route to host")

    config = BackboneConfig(block="basic", blocks=(2, 2, 2, 2), pretrained=True)
    monkeypatch.setattr("torchvision.models.get_model_weights", lambda name: SimpleNamespace(IMAGENET1K_V1=Offline()))
    with (
        torch.device("meta"),
        pytest.raises(OSError, match="resnet18-abc.pth into .*checkpoints, or use pretrained=False"),
    ):
        ResNet(config)


def test_efficientnet_lite0_computes_what_the_network_of_its_weights_computes():
    """The maps of efficientnet-lite-pytorch 0.1.0, for which the weights were converted, on this image."""
    rows, columns = torch.arange(96.0)[:, None], torch.arange(96.0)[None]
    waves = 0.5 + 0.5 * torch.sin(rows / 7 + columns / 11), 0.5 + 0.5 * torch.cos(columns / 5 - rows / 13)
    image = torch.stack([waves[0], rows * columns % 97 / 96, waves[1]])[None]
    with torch.no_grad():
        maps = build_backbone(LITE0).eval()(image)
    assert [tuple(m.shape[1:]) for m in maps] == [(24, 24, 24), (40, 12, 12), (112, 6, 6), (320, 3, 3)]
    assert LITE0.channels == (24, 40, 112, 320) and LITE0.name == "efficientnet_lite0"
    stored = [
        (-10.01854, -2.58906, -15.40374, -3.48171, -17.70277), (-0.19727, 6.50548, 20.83281, 0.1892, 16.2109),
        (-0.82059, -3.94135, 8.5738, -6.60595, -0.21271), (-1.68275, -3.04286, 5.15355, 3.23225, 1.73647),
    ]  # fmt: skip
    for level, mean, values in zip(maps, (9.874266, 9.191714, 6.884393, 3.285053), stored, strict=True):
        found = level.flatten()[:: level.numel() // 5][:5]
        torch.testing.assert_close(found, torch.tensor(values), rtol=1e-4, atol=1e-3)
        assert float(level.abs().mean()) == pytest.approx(mean, rel=1e-4)


def test_efficientnet_lite0_without_weights_is_another_network_of_the_same_size():
    torch.manual_seed(0)
    loaded, fresh = (build_backbone(replace(LITE0, pretrained=p)) for p in (True, False))
    assert {n: v.shape for n, v in loaded.state_dict().items()} == {n: v.shape for n, v in fresh.state_dict().items()}
    assert not torch.equal(loaded.net.conv_stem.weight, fresh.net.conv_stem.weight)


def test_efficientnet_lite0_computes_in_float32_on_a_cpu_whatever_autocast_says():
    trunk, image = build_backbone(LITE0).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        plain = trunk(image)[-1]
        with torch.autocast("cpu", torch.bfloat16):
            cast = trunk(image)[-1]
    assert cast.dtype == torch.float32
    torch.testing.assert_close(cast, plain)


def test_another_weights_file_is_refused_by_the_entry_that_differs(tmp_path, monkeypatch):
    path = tmp_path / "lite1.pth"
    state = {f"entry{i}": value for i, value in enumerate(build_backbone(LITE0).state_dict().values())}
    torch.save(state | {"entry5": torch.zeros(3)}, path)
    monkeypatch.setattr(efficientnet, "_weights_path", lambda: path)
    with pytest.raises(ValueError, match="lite1.pth: entry5 has shape .3,. where bn1.num_batches_tracked needs"):
        build_backbone(LITE0)
    torch.save({"entry0": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="lite1.pth holds 1 entries"):
        build_backbone(LITE0)


def test_a_trunk_that_does_not_exist_or_an_input_that_it_does_not_take():
    with pytest.raises(ValueError, match="resnet, efficientnet_lite0, got 'vit'"):
        BackboneConfig(trunk="vit")
    with pytest.raises(ValueError, match="normalise must be True"):
        BackboneConfig(trunk="efficientnet_lite0", pretrained=True)
