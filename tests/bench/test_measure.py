"""Time and memory, on workloads of a known cost."""

from contextlib import contextmanager

import pytest
import torch

from msff.bench import measure
from msff.bench.measure import alternate, matrix_peak, peak_mib


def test_implementations_take_turns():
    order = []
    steps = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    results = alternate(steps, 3, 0.05)
    turns = [name for name, before in zip(order, [None, *order], strict=False) if name != before]
    assert len(turns) >= 2 and turns == ["a", "b"] * (len(turns) // 2)
    for result in results.values():
        assert result["steps"] > 0 and result["images_per_s"] == pytest.approx(3 / result["step_s"])


@contextmanager
def blocks(implementation):
    """60 MiB in each step, freed after it."""
    yield lambda: torch.ones(60 * 2**20, dtype=torch.uint8)


def test_memory_is_that_of_a_process_of_its_own():
    held = torch.ones(300 * 2**20, dtype=torch.uint8)
    assert 55 < peak_mib(blocks, "fast", "cpu") < 120
    del held


def test_the_matrix_peak_of_both_precisions(monkeypatch):
    monkeypatch.setattr(measure, "_MATRIX_SIZES", {"cpu": (32, 64)})
    assert all(0 < matrix_peak("cpu", precision, seconds=0.001) < 1e6 for precision in ("float32", "bf16"))
