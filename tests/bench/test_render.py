"""The renderer's benchmark."""

import json
import time

import pytest
import torch
from torch.profiler import record_function

from msff.bench import render as bench
from msff.bench.render import STAGES
from msff.cli import main


def staged(generator, count, size, device):
    """Shade takes twice as long as pose, of which shadow is half."""
    with record_function("standin::pose"):
        time.sleep(0.03)
    with record_function("standin::shade"):
        time.sleep(0.03)
        with record_function("standin::shadow"):
            time.sleep(0.03)
    return torch.zeros(count, 3, size, size)


def test_the_report_has_each_stage(monkeypatch, capsys):
    monkeypatch.setattr(bench, "render", staged)
    command = ["bench", "render", "--size", "16", "--batch", "2", "--device", "cpu", "--seconds", "0.05"]
    assert main([*command, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    stages = report["stages"]
    assert list(stages) == [*STAGES, "other"]
    shown = {name: values["percent"] for name, values in stages.items() if values["percent"] is not None}
    assert list(shown) == ["pose", "shade", "shadow", "other"]
    assert sum(shown.values()) == pytest.approx(100)
    assert all(shown[name] == pytest.approx(100 / 3, abs=15) for name in ("pose", "shade", "shadow"))
    total_ms = sum(values["ms_per_image"] for values in stages.values() if values["ms_per_image"] is not None)
    assert total_ms == pytest.approx(1e3 * report["step_s"] / 2)
    assert report["images_per_s"] == pytest.approx(2 / report["step_s"])
    assert report["stage_clock"] == "wall" and report["peak_mib"] > 50
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "shadow" in text and "sensor" in text


def test_the_renderer_marks_every_stage():
    stages = bench.bench_render(32, 1, "cpu", 0.01)["stages"]
    assert all(values["percent"] is not None for values in stages.values())


def test_wrong_device_and_size_are_explained(capsys):
    assert main(["bench", "render", "--device", "tpu"]) == 1
    assert "--device takes cpu, or cuda where CUDA works; got 'tpu'" in capsys.readouterr().err
    assert main(["bench", "render", "--size", "8", "--device", "cpu"]) == 1
    assert "size at least 16 px" in capsys.readouterr().err
