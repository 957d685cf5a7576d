"""What the tests run under torchrun: ``CASE FOLDER``. Each process leaves its results in ``FOLDER/<CASE>-<rank>.pt``.

The same functions serve the tests for the one process that it is compared with. `made_by_two` starts the processes once
per run of pytest.
"""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from made_once import copy_made_once
from make_official import write_rhd
from tiny_study import NETWORK, tiny_study
from torch import nn

from msff import cli
from msff.data.batches import HandDataset
from msff.data.rhd import read_rhd
from msff.models.building import build
from msff.settings.networks import NetworkConfig, VolumeSpec
from msff.settings.training import AugmentConfig, TrainingConfig
from msff.study.profiles import RootDepthSpec
from msff.study.workspace import Workspace
from msff.training.checkpoint import read_header, save_checkpoint
from msff.training.engine import Engine
from msff.training.loop import Phase, TrainingError, fit
from msff.training.objectives.heatmap import HandObjective

INTERNET = NetworkConfig(crop_size=64, bins=16, **NETWORK)
MSE = HandObjective(VolumeSpec(bins=16, crop_size=64, sigma_bin=0.625))  # a mean over samples, whatever is valid


class Extent(nn.Module):
    """Width and height of the box from the image, without batch norm."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 8, stride=8)
        self.out = nn.Linear(4, 2)

    def forward(self, image):
        return self.out(self.trunk(image).relu().mean((2, 3)))

    def learned(self, batch):
        off = self(batch.image) - batch.box[:, 2:] / 64
        return {"total": off.square().mean(), "width": off[:, 0].abs().mean()}


class Chancy(nn.Module):
    """Dropout's chance and a buffer that depends on the images a process has seen."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.drawn = nn.BatchNorm2d(3), nn.Dropout(0.5), []

    def learned(self, batch):
        self.drawn.append(self.drop(torch.ones(16)))
        return {"total": self.drop(self.norm(batch.image)).square().mean()}


def extent_phases(batch_size=4):
    config = {"batch_size": batch_size, "augment": AugmentConfig(), "decay_epochs": ()}
    return (
        Phase("trunk", Extent.learned, TrainingConfig(epochs=1, learning_rate=1e-2, **config), ("trunk",)),
        Phase("all", Extent.learned, TrainingConfig(epochs=2, learning_rate=1e-2, optimizer="rmsprop", **config)),
    )


def dataset(folder: Path) -> HandDataset:
    return HandDataset(read_rhd(folder / "rhd", "training"), 64)


def gradients(folder: Path) -> dict:
    """Of one step of InterNet with its batch norm at rest, after which it has moved."""
    torch.manual_seed(0)
    engine, model = Engine(), build("internet", "full", INTERNET).eval()
    step = engine.step(model, MSE)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    draws = torch.Generator().manual_seed(0)
    part = (engine.rank, engine.world)
    batch = next(dataset(folder).batches(6, augment=AugmentConfig(), shuffle=True, generator=draws, part=part))
    engine.backward(step(batch)["total"])
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    optimizer.step()
    return {"gradients": found, "weights": model.state_dict(), "index": batch.index}


def training(folder: Path, checkpoint: str = "extent.pt", die: Callable[[], None] | None = None) -> dict:
    """A training of two phases; ``die`` is called in the second epoch."""
    torch.manual_seed(0)
    engine, model, seen, written = Engine(), Extent(), [], []

    def save(path, **state):
        written.append(state["epoch"])
        save_checkpoint(path, **state)

    def progress(epoch, epochs, step, steps, loss):
        seen.append(loss)
        if die and epoch == 2:
            die()

    with mock.patch("msff.training.loop.save_checkpoint", save):
        history = fit(
            model, dataset(folder), extent_phases(), seed=0, checkpoint=folder / checkpoint, config_hash="a",
            progress=progress, engine=engine,
        )  # fmt: skip
    losses = history[["loss", "loss_width"]].to_numpy().tolist()
    return {"weights": model.state_dict(), "loss": losses, "seen": seen, "written": written}


def alignment(folder: Path) -> dict:
    """Running statistics after a training with batch norm and dropout, and the first draw."""
    model, config = Chancy(), TrainingConfig(batch_size=4, epochs=1, augment=None)
    fit(model, dataset(folder), (Phase("all", Chancy.learned, config),), seed=0, engine=Engine())
    return {"mean": model.norm.running_mean, "drawn": model.drawn[0]}


def refusals(folder: Path) -> dict:
    """What a training says that has batches of 3, or whose loss is not finite in the last process's part alone."""
    engine = Engine()

    def infinite(model, batch):
        return {"total": model.out.bias.sum() / (engine.rank + 1 < engine.world)}

    said = {}
    config = TrainingConfig(batch_size=4, epochs=1)
    for name, phases in (("shares", extent_phases(3)), ("finite", (Phase("all", infinite, config),))):
        try:
            fit(Extent(), dataset(folder), phases, seed=0, engine=engine)
        except (ValueError, TrainingError) as error:
            said[name] = str(error)
    return said


def helpers(folder: Path) -> dict:
    """The engine's own dealings between processes."""
    engine = Engine()
    return {
        "gathered": engine.gathered(engine.rank), "agreed": engine.agreed(f"of {engine.rank}"),
        "mean": engine.mean(torch.tensor(float(engine.rank))),
    }  # fmt: skip


STUDIED = {"internet": "full", "spurr": "side"}  # a heat-map network; a method of one hand that needs SideNet


def odd_study(folder: Path) -> Workspace:
    """A tiny one with an odd number of test images and the depth from the box."""
    profile = tiny_study(folder / "project").profile
    profile = replace(profile, data=replace(profile.data, test=7), root_depth=RootDepthSpec("box"))
    return Workspace(profile, folder / "project", "cpu")


def studied(folder: Path) -> dict:
    """What `msff train` prints, who writes, and the runs, for two methods and their auxiliary networks."""
    study, written = odd_study(folder), []
    save, printed = study.store.save_run, io.StringIO()

    def saved(record, *arguments):
        written.append(record.run_id)
        return save(record, *arguments)

    study.store.save_run = saved
    with mock.patch("msff.cli.common.open_workspace", lambda args: study), redirect_stdout(printed):
        codes = [cli.main(["train", "--method", method, "--variant", v]) for method, v in STUDIED.items() for _ in "12"]
    runs = {method: study.store.select(method=method)[0].record.uid for method in STUDIED}
    return {"codes": codes, "printed": printed.getvalue(), "written": written, "runs": runs}


def interrupt() -> None:
    raise KeyboardInterrupt


def resumed(folder: Path) -> dict:
    """A training that is interrupted in its second epoch and goes on."""
    with suppress(KeyboardInterrupt):
        training(folder, "resumed.pt", interrupt)
    epoch = read_header(folder / "resumed.pt")["epoch"]
    return training(folder, "resumed.pt") | {"from": epoch}


def together(folder: Path) -> dict:
    """All of them, since most of the time is that of starting processes."""
    cases = (helpers, gradients, training, resumed, alignment, studied, refusals)
    return {case.__name__: case(folder) for case in cases}


def made_by_two(folder: Path) -> list[dict]:
    """Copy what the processes left to ``folder``; return the results of `together`, by rank."""
    copy_made_once("two-processes", _start, folder)
    return [torch.load(folder / f"together-{rank}.pt") for rank in range(2)]


def _start(folder: Path) -> None:
    write_rhd(folder / "rhd", "training", count=10)
    done = torchrun("together", folder)
    assert done.returncode == 0, done.stderr


def torchrun(case: str, folder: Path) -> subprocess.CompletedProcess:
    """Start two processes on the CPU, one thread each; without the real photographs, which studies would predict."""
    root = Path(__file__).parents[1]
    path = os.pathsep.join([str(root), str(root / "tests"), os.environ.get("PYTHONPATH", "")])
    own = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path, "MSFF_REALWORLD": ""}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__]
    return subprocess.run([*command, case, str(folder)], env=os.environ | own, capture_output=True, text=True)


def _die() -> None:
    """kill -9 of the last process."""
    if Engine().rank == Engine().world - 1:
        os.kill(os.getpid(), signal.SIGKILL)


CASES = {
    "together": together,
    "undisturbed": lambda folder: training(folder, "undisturbed.pt"),  # the other three serve fault_trials.py
    "killed9": lambda folder: training(folder, "killed9.pt", _die),
    "resumed9": lambda folder: training(folder, "killed9.pt"),
}

if __name__ == "__main__":
    case, place = sys.argv[1], Path(sys.argv[2])
    found = CASES[case](place)
    torch.save(found, place / f"{case}-{Engine().rank}.pt")
