"""The renderer's benchmark: its stages, whatever labels it has."""

import json
import time
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType
from torch.profiler import record_function

from msff.bench import render as bench
from msff.bench.render import STAGES, _percent, _Range, exclusive_times, kernel_times
from msff.cli import main


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
    assert all(shown[name] > 0 for name in ("pose", "shade", "shadow"))
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
