import dataclasses
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import two_processes
from tiny_study import NETWORK

from msff.data.batches import HandDataset
from msff.data.rhd import read_rhd
from msff.device import can_compile
from msff.models.building import build
from msff.settings.training import AugmentConfig, SpeedConfig, TrainingConfig
from msff.study.profiles import PROFILES
from msff.training.engine import Engine
from msff.training.loop import Phase, fit
from msff.training.objectives.heatmap import HandObjective

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


ALONE = """
import resource
import torch
from msff.training.engine import Engine, SpeedConfig, keep_freed_memory

def page_faults():
    for count in range(10):  # as a training step does: several large tensors, all freed
        if count == 6:  # by now the heap is as large as it gets, wherever the first ones left gaps
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        tensors = [torch.ones(12 * 2**20) for _ in range(4)]
        del tensors
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(page_faults())
keep_freed_memory()
print(page_faults())
Engine("cpu", SpeedConfig("bf16", True)).step(torch.nn.Linear(1, 1), None)
"""


@pytest.fixture(scope="module")
def alone():
    """What a process of its own prints: page faults of a few steps before and after memory is kept, then an engine."""
    return subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=True, cwd=ROOT)


def same(ones: dict, others: dict, **tolerance):
    assert ones.keys() == others.keys()
    for name, value in ones.items():
        torch.testing.assert_close(value, others[name], **tolerance, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_serves_the_next_step(alone):
    usual, kept = map(int, alone.stdout.splitlines())
    assert kept < usual / 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With ten training images, and what two processes have made."""
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def both(folder):
    return two_processes.made_by_two(folder)


@pytest.fixture(scope="module")
def one(folder, both):
    """The same training by one process."""
    return two_processes.training(folder, "one.pt")


# two processes against one


def test_gradients_and_weights_after_a_step_are_those_of_one_process(folder, both):
    alone = two_processes.gradients(folder)
    for process in both:
        same(process["gradients"]["gradients"], alone["gradients"], **CLOSE)
        same(process["gradients"]["weights"], alone["weights"], **CLOSE)
    halves = [process["gradients"]["index"].tolist() for process in both]
    assert halves == [alone["index"].tolist()[0::2], alone["index"].tolist()[1::2]]


def test_a_training_of_two_phases_is_that_of_one_process(both, one):
    for process in both:
        same(process["training"]["weights"], one["weights"], rtol=1e-3, atol=1e-5)
        assert process["training"]["loss"] == [pytest.approx(row, rel=1e-4) for row in one["loss"]]
        assert process["training"]["seen"] == pytest.approx(one["seen"], rel=1e-4)  # the loss of each step
    same(both[0]["training"]["weights"], both[1]["training"]["weights"], rtol=0, atol=0)


def test_the_first_process_alone_writes(both):
    assert both[0]["training"]["written"] == [1, 2, 3] and both[1]["training"]["written"] == []


def test_all_end_with_the_first_ones_running_statistics(both):
    mean = [process["alignment"]["mean"] for process in both]
    assert torch.equal(*mean) and mean[0].abs().max() > 0


def test_chance_differs_between_processes_and_is_the_first_ones_alone(folder, both):
    first, second = (process["alignment"]["drawn"] for process in both)
    assert torch.equal(first, two_processes.alignment(folder)["drawn"]) and not torch.equal(first, second)


def test_refusals_are_those_of_all_processes(both):
    for rank, process in enumerate(both):
        assert "phase 'trunk' has batches of 3, which 2 processes cannot share equally" in process["refusals"]["shares"]
        assert "in epoch 1, step 1: lower learning_rate" in process["refusals"]["finite"], rank


def test_dealings_between_processes(both):
    for process in both:
        dealings = process["helpers"]
        assert dealings["gathered"] == [0, 1] and dealings["agreed"] == "of 0" and dealings["mean"] == 0.5


def test_an_interrupted_training_goes_on(both, one):
    for process in both:
        assert process["resumed"]["from"] == 1
        same(process["resumed"]["weights"], one["weights"], rtol=1e-3, atol=1e-5)
        assert process["resumed"]["loss"] == [pytest.approx(row, rel=1e-4) for row in one["loss"]]


# parts of a batch


@pytest.mark.parametrize("parts", [2, 3])
@pytest.mark.parametrize("pixels", [True, False])
def test_the_parts_of_a_pass_are_one_process_s_batches(folder, both, parts, pixels):
    data = two_processes.dataset(folder)

    def one_pass(part=(0, 1)):
        options = {"augment": AugmentConfig(), "shuffle": True, "pixels": pixels, "limit": 9}
        return list(data.batches(4, generator=torch.Generator().manual_seed(3), part=part, **options))

    whole = one_pass()
    shares = [one_pass((number, parts)) for number in range(parts)]
    assert [len(share) for share in shares] == [len(whole)] * parts == [2] * parts
    for number, share in enumerate(shares):
        for batch, own in zip(whole, share, strict=True):
            assert own.index.tolist() == batch.index.tolist()[number::parts]
            for name in ("image", "affine", "joints_crop_px"):
                assert torch.equal(getattr(own, name), getattr(batch, name)[number::parts])
    seen = [i for share in shares for batch in share for i in batch.index.tolist()]
    assert sorted(seen) == sorted(i for batch in whole for i in batch.index.tolist()) and len(set(seen)) == 8


def test_parts_that_cannot_be(folder, both):
    data, options = two_processes.dataset(folder), {"augment": None, "shuffle": True, "generator": torch.Generator()}
    with pytest.raises(ValueError, match="a batch of 4 samples cannot be shared by 5 processes"):
        next(data.batches(4, part=(0, 5), **options))


# one process


def test_one_process_keeps_quiet(alone):
    """Fabric makes its logger when it is imported."""
    assert alone.stderr == "" and len(alone.stdout.splitlines()) == 2


def test_one_process_is_the_first_and_has_all():
    engine = Engine()
    assert engine.is_first
    assert engine.gathered("x") == ["x"] and engine.agreed("x") == "x"
    assert engine.describe() == {"precision": "float32", "compiled": False, "processes": 1}


# precision and compilation


def test_a_wrong_precision():
    with pytest.raises(ValueError, match="SpeedConfig.precision must be one of float32, bf16, got 'half'"):
        SpeedConfig("half")


@pytest.mark.skipif(not (torch.cuda.is_available() and can_compile(torch.device("cuda"))), reason="needs CUDA")
def test_compiled_bf16_on_cuda_trains_as_eager_float32(folder, both):
    data = HandDataset(read_rhd(folder / "rhd", "training"), 64, device="cuda")
    found = {}
    for name, speed in (("eager", SpeedConfig()), ("fast", SpeedConfig("bf16", compile=True))):
        torch.manual_seed(0)
        model = build("msff", "full", dataclasses.replace(PROFILES["smoke"].network, **NETWORK)).cuda()
        training = TrainingConfig(batch_size=4, epochs=3, learning_rate=1e-3, decay_epochs=(2,))
        phases = [
            Phase(part, HandObjective(PROFILES["smoke"].volume, PROFILES["smoke"].loss), training) for part in "ab"
        ]
        engine = Engine("cuda", speed)
        found[name] = fit(model, data, phases, seed=0, engine=engine)
        assert all(p.dtype == torch.float32 for p in model.parameters())
    torch.testing.assert_close(*(torch.tensor(h["loss"].to_numpy()) for h in found.values()), rtol=0.1, atol=0.0)
