"""Weights in shards: the limit, half precision, and files that are not as they were written."""

import pytest
import torch

from msff.training.checkpoint import CheckpointError
from msff.training.shards import count_bytes, half, read_shards, write_shards

LIMIT = 3000


@pytest.fixture
def state():
    torch.manual_seed(0)
    weights = torch.nn.Conv2d(8, 16, 3).to(memory_format=torch.channels_last)
    norm = torch.nn.BatchNorm2d(700)
    return {f"conv.{k}": v for k, v in weights.state_dict().items()} | {
        f"norm.{k}": v for k, v in norm.state_dict().items()
    }


def test_every_shard_is_smaller_than_the_limit_and_together_they_hold_the_state(state, tmp_path):
    index = write_shards(tmp_path, state, LIMIT)
    assert [s["file"] for s in index] == [f"model-{k:05d}-of-00005.safetensors" for k in range(1, 6)]
    assert all((tmp_path / s["file"]).stat().st_size == s["bytes"] < LIMIT for s in index)
    assert sum(s["bytes"] for s in index) > count_bytes(state) == 2 * (8 * 16 * 9 + 16 + 4 * 700) + 8
    found = read_shards(tmp_path, index, "")
    assert found.keys() == state.keys() and found["norm.num_batches_tracked"].dtype == torch.int64
    for name, tensor in state.items():
        torch.testing.assert_close(found[name].to(tensor.dtype), tensor, rtol=2**-11, atol=1e-7)
    assert all(t.dtype == torch.float16 for t in found.values() if t.is_floating_point())


def test_half_precision_twice_is_half_precision_once(state, tmp_path):
    read = read_shards(tmp_path, write_shards(tmp_path, state), "")
    again = half({name: tensor.float() for name, tensor in read.items() if tensor.is_floating_point()})
    assert all(torch.equal(tensor, read[name]) for name, tensor in again.items())


def test_one_large_enough_limit_gives_one_file(state, tmp_path):
    assert [s["file"] for s in write_shards(tmp_path, state)] == ["model-00001-of-00001.safetensors"]


def test_a_tensor_larger_than_a_shard(state, tmp_path):
    with pytest.raises(
        ValueError, match=r"conv.weight takes 2,\d+ bytes and does not fit into a shard of less than 2,000"
    ):
        write_shards(tmp_path, state, 2000)


@pytest.mark.parametrize("value", [1e5, float("nan")])
def test_values_that_half_precision_cannot_hold(value):
    with pytest.raises(CheckpointError, match="scale holds values beyond half precision"):
        half({"scale": torch.tensor([1.0, value])})


def test_missing_truncated_and_damaged_shards_are_told_apart(state, tmp_path):
    index = write_shards(tmp_path, state, LIMIT)
    first, second, third = (tmp_path / s["file"] for s in index[:3])
    content = first.read_bytes()
    first.write_bytes(content[:-1])
    with pytest.raises(CheckpointError, match=r"00001-of-00005.*has 2,\d+ bytes, expected .*cut short: fetch it"):
        read_shards(tmp_path, index, "fetch it")
    first.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(CheckpointError, match="00001-of-00005.*is damaged, its SHA-256"):
        read_shards(tmp_path, index, "fetch it")
    first.write_bytes(content)
    third.unlink()
    with pytest.raises(CheckpointError, match="00003-of-00005.safetensors is missing: fetch it"):
        read_shards(tmp_path, index, "fetch it")
    second.write_bytes(b"no tensors")
    index[1] |= {"bytes": 10, "sha256": "5ee25ba7e08a4d8b4d7f2c4cb1bd2dd11a7ed0b8a05e17a0b9d0e3a5a2e8f6d1"}
    with pytest.raises(CheckpointError, match="00002-of-00005.*is damaged"):
        read_shards(tmp_path, index[:2], "fetch it")


def test_a_file_that_is_no_safetensors_although_its_hash_is_right(tmp_path):
    import hashlib

    (tmp_path / "a.safetensors").write_bytes(b"no tensors")
    shard = {"file": "a.safetensors", "bytes": 10, "sha256": hashlib.sha256(b"no tensors").hexdigest()}
    with pytest.raises(CheckpointError, match="a.safetensors is no safetensors file .*: fetch it"):
        read_shards(tmp_path, [shard], "fetch it")
