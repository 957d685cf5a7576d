"""The trunk against torchvision's ResNet, its scales, its errors."""

import pytest
import torch
import torchvision

from msff.models import backbone as module
from msff.models.backbone import BackboneConfig, ResNet

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
    monkeypatch.setitem(module._WEIGHTS, ("basic", 64, (2, 2, 2, 2)), Offline())
    with (
        torch.device("meta"),
        pytest.raises(OSError, match="resnet18-abc.pth into .*checkpoints, or use pretrained=False"),
    ):
        ResNet(config)
