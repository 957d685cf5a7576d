"""Stored weights: half precision, and files that are not as they were written."""

import hashlib

import pytest
import torch

from msff.demo.network import REMEDY, WEIGHTS, half, read_weights, write_weights
from msff.training.checkpoint import CheckpointError


@pytest.fixture
def state():
    torch.manual_seed(0)
    weights = torch.nn.Conv2d(8, 16, 3).to(memory_format=torch.channels_last)
    norm = torch.nn.BatchNorm2d(700)
    return {f"conv.{k}": v for k, v in weights.state_dict().items()} | {
        f"norm.{k}": v for k, v in norm.state_dict().items()
    }


def test_the_file_holds_the_state_in_half_precision(state, tmp_path):
    found = read_weights(tmp_path, write_weights(tmp_path, state))
    assert found.keys() == state.keys() and found["norm.num_batches_tracked"].dtype == torch.int64
    for name, tensor in state.items():
        torch.testing.assert_close(found[name].to(tensor.dtype), tensor, rtol=2**-11, atol=1e-7)
    assert all(t.dtype == torch.float16 for t in found.values() if t.is_floating_point())


def test_half_precision_twice_is_half_precision_once(state, tmp_path):
    read = read_weights(tmp_path, write_weights(tmp_path, state))
    again = half({name: tensor.float() for name, tensor in read.items() if tensor.is_floating_point()})
    assert all(torch.equal(tensor, read[name]) for name, tensor in again.items())


@pytest.mark.parametrize("value", [1e5, float("nan")])
def test_values_that_half_precision_cannot_hold(value):
    with pytest.raises(CheckpointError, match="scale holds values beyond half precision"):
        half({"scale": torch.tensor([1.0, value])})


def test_a_missing_a_truncated_a_damaged_and_a_foreign_file_are_told_apart(state, tmp_path):
    index = write_weights(tmp_path, state)
    path = tmp_path / WEIGHTS
    content = path.read_bytes()
    for spoilt, message in (
        (content[:-1], r"has [\d,]+ bytes, expected .*cut short: "),
        (content[:-1] + bytes([content[-1] ^ 1]), "is damaged, its SHA-256"),
        (None, "is missing: "),
    ):
        path.unlink()
        if spoilt is not None:
            path.write_bytes(spoilt)
        with pytest.raises(CheckpointError, match=f"{WEIGHTS} {message}"):
            read_weights(tmp_path, index)
        path.touch()
    path.write_bytes(b"no tensors")
    index = [{"file": WEIGHTS, "bytes": 10, "sha256": hashlib.sha256(b"no tensors").hexdigest()}]
    with pytest.raises(CheckpointError, match=f"{WEIGHTS} is no safetensors file .*: {REMEDY}"):
        read_weights(tmp_path, index)
