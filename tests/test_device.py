import pytest
import torch

from msff import device
from msff.accelerator import own_device
from msff.device import can_compile, usable_precision


def test_bf16_where_the_device_has_it(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda native=native: {"avx512_f": True, "amx_bf16": native})
        assert usable_precision("bf16", cpu) == ("bf16" if native else "float32")
        assert usable_precision("float32", cpu) == "float32"
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, new=native: (9, 0) if new else (7, 5))
        assert usable_precision("bf16", cuda) == ("bf16" if native else "float32")


def test_each_process_has_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device("cuda") == "cuda"
    monkeypatch.setenv("WORLD_SIZE", "4")  # of something else than torchrun
    assert own_device("cuda") == "cuda"
    for name, value in {"TORCHELASTIC_RUN_ID": "a", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    assert own_device("cuda") == "cuda:1" and own_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(ValueError, match="3 processes here for 2 GPUs: --nproc-per-node 2"):
        own_device("cuda")


def test_compilation_needs_cuda_and_a_compiler(monkeypatch):
    uncached = can_compile.__wrapped__
    assert not uncached(torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(device, "find_spec", lambda _: "triton")
    monkeypatch.setenv("CC", "cc")
    assert uncached(torch.device("cuda"))
    monkeypatch.delenv("CC")
    monkeypatch.setattr(device, "which", lambda _: None)
    assert not uncached(torch.device("cuda"))
