"""Rows of random numbers: reproducible, in order, and distributed as their names say."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from msff.standin.draws import ROW, Draws, once, row


def many(count: int = 20000) -> Draws:
    return Draws.of_generator(torch.Generator().manual_seed(0), count, "cpu")


def test_a_row_depends_on_its_key_alone():
    both, alone = Draws.of_keys([(1, 2), (1, 3), (1, 2)]), Draws.of_keys([(1, 3)])
    first = both.take(4)
    assert torch.equal(first[0], first[2]) and not torch.equal(first[0], first[1])
    assert torch.equal(first[1:2], alone.take(4))
    assert row(1, 2)[:3].tolist() == pytest.approx(first[0, :3].tolist(), abs=0)
    assert not torch.equal(both.take(4), first)  # numbers are consumed


def test_distributions():
    draws = many()
    normal = draws.normal(3.0, 2.0)
    assert normal.mean().item() == pytest.approx(3, abs=0.05) and normal.std().item() == pytest.approx(2, abs=0.05)
    uniform = draws.uniform(-1.0, 4.0, 2)
    assert uniform.shape == (20000, 2) and uniform.min() >= -1 and uniform.max() < 4
    assert uniform.mean().item() == pytest.approx(1.5, abs=0.05)
    share = torch.bincount(draws.choice((0.2, 0.5, 0.3)), minlength=3) / 20000
    assert share.tolist() == pytest.approx([0.2, 0.5, 0.3], abs=0.015)
    assert draws.flag(0.25).double().mean().item() == pytest.approx(0.25, abs=0.015)
    assert set(draws.sign().tolist()) == {-1.0, 1.0}


def test_the_extremes_of_the_uniform_give_finite_normals():
    edge = Draws(torch.tensor([[0.0, 1 - 2**-53]], dtype=torch.float64))
    assert edge.normal(0.0, 1.0, 2).abs().max() < 5.1


def test_too_many_numbers_and_wrong_rows_are_errors():
    draws = many(2)
    draws.take(ROW - 1)
    with pytest.raises(ValueError, match="a row holds"):
        draws.take(2)
    with pytest.raises(ValueError, match="float64 matrix"):
        Draws(torch.rand(3, 4))


def test_once_builds_once_for_all_threads_and_spellings():
    built = []

    @once
    def slow(size: int, device: torch.device | str = "cpu") -> list:
        time.sleep(0.05)
        built.append(size)
        return [size]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: slow(3), range(8)))
    assert built == [3] and all(r is results[0] for r in results)
    assert slow(3, "cpu") is slow(3, device=torch.device("cpu")) is results[0]
    assert slow(4) == [4] and built == [3, 4]
