"""Benchmarks: every method's training step and inference; the renderer's stages, whatever labels it has."""

import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import record_function

from msff.cli import main
from msff.models.backbone import BackboneConfig
from msff.models.registry import METHODS, NetworkConfig
from msff.study import bench
from msff.study.bench import STAGES, _percent, _Range, exclusive_times, kernel_times, synthetic_batch
from msff.study.runs import Experiment
from msff.training.chen_loss import ChenObjective
from msff.training.losses import HandObjective
from msff.training.posenet_loss import Pose2DObjective
from msff.training.song_loss import SongObjective
from msff.training.vae_loss import SpurrObjective, YangObjective

NETWORKS = [name for name, method in METHODS.items() if method.build]
TRUNK = BackboneConfig("basic", 8, (1, 1, 1, 1))
OBJECTIVES = {
    "msff": HandObjective, "internet": HandObjective, "posenet": Pose2DObjective, "chen": ChenObjective,
    "spurr": SpurrObjective, "yang": YangObjective, "song": SongObjective,
}  # fmt: skip


def slim_config(size):
    return NetworkConfig(
        crop_size=size, bins=size // 4, backbone=TRUNK, backbone18=TRUNK, pyramid_channels=16, deconv_channels=16,
        head_hidden=16, vae_hidden=16, posenet_width=0.0625,
    )  # fmt: skip


@pytest.fixture
def slim(monkeypatch):
    monkeypatch.setattr(bench, "network_config", slim_config)


def test_the_networks_are_the_papers_at_another_size():
    assert bench.network_config(256) == NetworkConfig()
    assert bench.network_config(96) == replace(NetworkConfig(), crop_size=96, bins=24)
    for size in (32, 100):
        with pytest.raises(ValueError, match=f"multiple of 32 and at least 64, got {size}"):
            bench.network_config(size)


@pytest.mark.parametrize("method", NETWORKS)
def test_every_method_trains(slim, monkeypatch, method):
    """With the objective of its heaviest phase and one hand per crop, or both for the networks that see both."""
    steps, step = [], bench.train_step

    def train_step(model, optimizer, batch, objective, rate):
        before = {name: p.clone() for name, p in model.named_parameters()}
        losses = step(model, optimizer, batch, objective, rate)
        changed = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        steps.append((type(objective), optimizer, batch.side_present, changed, losses["total"]))
        return losses

    monkeypatch.setattr(bench, "train_step", train_step)
    report = bench.bench_train(method, 64, 4, "cpu", 0.001)
    phase = {"posenet": "pose2d", "yang": "image"}.get(method, "all")
    assert report["bench"] == "train" and report["phase"] == phase and report["images_per_s"] > 0
    assert report["variant"] == ("plain" if method in ("chen", "spurr") else "full")
    assert report["parameters"] > 1000 and report["gmac_forward"] > 0
    for objective, optimizer, sides, changed, total in steps:
        assert objective is OBJECTIVES[method] and torch.isfinite(total) and total > 0
        assert isinstance(optimizer, torch.optim.RMSprop if method == "chen" else torch.optim.Adam)
        assert sides.tolist() == ([[1, 0], [0, 1]] * 2 if METHODS[method].one_hand else [[1, 1]] * 4)
        if method in bench.HEAVIEST_PHASE:
            assert changed == {{"posenet": "pose2d", "yang": "image_encoder"}[method]}
        else:
            assert changed


@pytest.mark.parametrize("method", NETWORKS)
def test_every_method_infers_and_a_volume_alone_is_decoded(slim, monkeypatch, method):
    decoded, decode = [], bench.decode
    monkeypatch.setattr(bench, "decode", lambda volume, how: decoded.append(how) or decode(volume, how))
    report = bench.bench_infer(method, 64, 2, "cpu", 0.001)
    assert report["bench"] == "infer" and report["images_per_s"] > 0 and "phase" not in report
    assert set(decoded) == (set() if METHODS[method].one_hand else {"argmax"})


def test_variants_that_cannot_be_measured_say_what_to_take_instead(slim):
    for function in (bench.bench_train, bench.bench_infer):
        with pytest.raises(ValueError, match="chen/full needs masks of the hands.*bench 'plain'"):
            function("chen", 64, 2, "cpu", 0.001, "full")
        with pytest.raises(ValueError, match="posenet/segmented needs masks.*bench 'full'"):
            function("posenet", 64, 2, "cpu", 0.001, "segmented")
        with pytest.raises(ValueError, match="yang has no variant 'half'"):
            function("yang", 64, 2, "cpu", 0.001, "half")
        with pytest.raises(ValueError, match="unknown network 'sidenet'"):
            function("sidenet", 64, 2, "cpu", 0.001)
        with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
            function("spurr", 64, 0, "cpu", 0.001)
    with pytest.raises(ValueError, match="song/regressed trains nothing itself: bench 'full'"):
        bench.bench_train("song", 64, 2, "cpu", 0.001, "regressed")
    assert bench.bench_infer("song", 64, 2, "cpu", 0.001, "regressed")["variant"] == "regressed"


@pytest.mark.parametrize("variant", ["scale-side", "native"])
def test_a_variant_can_be_asked_for(slim, variant):
    assert bench.bench_train("spurr", 64, 2, "cpu", 0.001, variant)["variant"] == variant


def test_the_heaviest_phase_is_one_of_the_methods(slim):
    assert set(bench.HEAVIEST_PHASE) <= set(NETWORKS)
    phase = bench.heaviest_phase(Experiment("bench", "standin-interhand", "posenet"), 64)
    assert phase.name == "pose2d" and phase.modules == ("pose2d",)


def test_a_synthetic_batch_of_one_hand_marks_the_other_as_absent():
    both, one = (synthetic_batch(3, 32, "cpu", torch.Generator().manual_seed(0), hands) for hands in (2, 1))
    assert both.joint_valid.all() and both.side_present.all() and both.relative_root_valid.all()
    assert one.side_present.tolist() == [[1, 0], [0, 1], [1, 0]] and not one.relative_root_valid.any()
    assert one.joint_valid.sum(1).tolist() == [21] * 3 and one.joint_valid[1, 21:].all()
    assert torch.equal(one.joint_visible, one.joint_valid) and torch.equal(one.image, both.image)


def test_exclusive_times_by_hand():
    ranges = [
        _Range("other", 1, 0, 100), _Range("shade", 1, 10, 50), _Range("shadow", 1, 20, 45),
        _Range("raster", 1, 50, 70), _Range("raster", 1, 80, 85), _Range("shadow", 2, 15, 18),
    ]  # fmt: skip
    assert exclusive_times(ranges) == {"other": 35, "shade": 15, "shadow": 25 + 3, "raster": 25}
    assert exclusive_times([]) == {}


def test_a_stage_within_itself_counts_once():
    assert exclusive_times([_Range("pose", 1, 0, 10), _Range("pose", 1, 2, 5)]) == {"pose": 10}


def event(at, durations, thread=1, kind=DeviceType.CPU):
    return SimpleNamespace(
        device_type=kind, thread=thread, time_range=SimpleNamespace(start=at, end=at + 1),
        kernels=[SimpleNamespace(duration=d) for d in durations],
    )  # fmt: skip


def test_kernels_belong_to_the_innermost_stage_that_launched_them():
    ranges = [_Range("other", 1, 0, 100), _Range("shade", 1, 10, 50), _Range("shadow", 1, 20, 45)]
    events = [
        event(5, [1]), event(12, [10, 20]), event(21, [7]), event(45, [3]), event(200, [2]), event(21, [4], thread=2),
        event(21, [99], kind=DeviceType.CUDA), event(22, []),
    ]  # fmt: skip
    assert kernel_times(events, ranges) == {"other": 1 + 2 + 4, "shade": 30 + 3, "shadow": 7}


def test_shares_keep_the_order_and_say_what_is_absent():
    shares = _percent({"raster": 1.0, "new": 1.0, "other": 2.0})
    assert list(shares) == [*STAGES, "new", "other"]
    assert shares["raster"] == 25 and shares["other"] == 50 and shares["shade"] is None


def staged(generator, count, size, device):
    """Shade takes twice as long as pose, of which shadow is half."""
    with record_function("standin::pose"):
        time.sleep(0.03)
    with record_function("standin::shade"):
        time.sleep(0.03)
        with record_function("standin::shadow"):
            time.sleep(0.03)
    return torch.zeros(count, 3, size, size)


def test_bench_render_reports_each_stage(monkeypatch, capsys):
    monkeypatch.setattr(bench, "render", staged)
    command = ["bench", "render", "--size", "16", "--batch", "2", "--device", "cpu", "--seconds", "0.05"]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    stages = report["stages"]
    shown = {name: values["percent"] for name, values in stages.items() if values["percent"] is not None}
    assert list(shown) == ["pose", "shade", "shadow", "other"]
    assert sum(shown.values()) == pytest.approx(100)
    assert all(shown[name] == pytest.approx(100 / 3, abs=12) for name in ("pose", "shade", "shadow"))
    total_ms = sum(values["ms_per_image"] for values in stages.values() if values["ms_per_image"] is not None)
    assert total_ms == pytest.approx(1e3 * report["step_s"] / 2)
    assert report["images_per_s"] == pytest.approx(2 / report["step_s"])
    assert report["stage_clock"] == "wall" and report["peak_mib"] > 50
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "shadow" in text and text.count("not marked") == len(STAGES) - 3


def test_a_renderer_without_labels_is_all_other(monkeypatch):
    monkeypatch.setattr(bench, "render", lambda *_: time.sleep(0.002))
    report = bench.bench_render(16, 1, "cpu", 0.01)
    assert report["stages"]["other"]["percent"] == pytest.approx(100)
    assert report["stages"]["raster"] == {"percent": None, "ms_per_image": None}


def test_wrong_device_and_size_are_explained(capsys):
    assert main(["bench", "render", "--device", "tpu"]) == 1
    assert "--device takes cpu, or cuda where CUDA works; got 'tpu'" in capsys.readouterr().err
    assert main(["bench", "render", "--size", "8", "--device", "cpu"]) == 1
    assert "size at least 16 px" in capsys.readouterr().err
