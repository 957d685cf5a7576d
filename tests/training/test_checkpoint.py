import random
from contextlib import suppress

import pytest
import torch

from msff.training.checkpoint import CheckpointError, load_checkpoint, read_header, save_checkpoint


def save(path, **changes):
    state = {"config_hash": "abc", "epoch": 3, "model": {"w": torch.tensor([1.0, 2.0])}} | changes
    save_checkpoint(path, **state)


def test_round_trip(tmp_path):
    path = tmp_path / "deep" / "run.pt"
    save(path, history=[{"epoch": 1, "loss": 0.5}])
    state = load_checkpoint(path, config_hash="abc")
    assert state["epoch"] == 3 and state["history"] == [{"epoch": 1, "loss": 0.5}]
    assert torch.equal(state["model"]["w"], torch.tensor([1.0, 2.0]))


def test_missing(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_checkpoint(tmp_path / "none.pt")


def test_truncated(tmp_path):
    path = tmp_path / "run.pt"
    save(path, model={"w": torch.randn(1000)})
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(CheckpointError, match="damaged.*rm "):
        load_checkpoint(path)


def test_every_damaged_byte_is_read_or_named(tmp_path):
    """The parsers raise KeyError, IndexError, NotImplementedError and others, by what is damaged."""
    path, draws = tmp_path / "run.pt", random.Random(0)
    save(path)
    whole = path.read_bytes()
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(draws.choice((1, 5))):
            content[draws.randrange(len(content))] = draws.choice((0, 255, draws.randrange(256)))
        path.write_bytes(content)
        for read in (load_checkpoint, read_header):
            with suppress(CheckpointError):
                read(path)


def test_not_a_checkpoint(tmp_path):
    path = tmp_path / "run.pt"
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="expected the keys"):
        load_checkpoint(path)


class Harmful:
    def __reduce__(self):
        return (print, ("ran",))


def test_code_in_the_file_is_refused(tmp_path, capsys):
    path = tmp_path / "run.pt"
    torch.save(Harmful(), path)
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)
    assert "ran" not in capsys.readouterr().out


def test_another_configuration(tmp_path):
    path = tmp_path / "run.pt"
    save(path)
    with pytest.raises(CheckpointError, match="belongs to configuration abc, this run is def"):
        load_checkpoint(path, config_hash="def")
