"""One experiment, from data on disk to a run in the store."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import resource
import subprocess
import time
import uuid
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

from msff.data.datasets import DATASETS, load
from msff.data.loader import HandDataset
from msff.data.sample import DataError
from msff.evaluation.inference import predict, predict_mean_pose
from msff.evaluation.lifting import BoxDepth, fit_box_depth
from msff.evaluation.protocol import TRACKS, Truth, evaluate
from msff.models.mean_pose import MeanPose
from msff.models.registry import METHODS, build, count_macs, count_parameters
from msff.skeleton import ROOTS
from msff.standin import GENERATOR_VERSION
from msff.standin.writers import make
from msff.study.grid import find
from msff.study.profiles import Profile, get_profile
from msff.study.runs import Experiment, Run, Store
from msff.training.loop import fit

DATA_VARIABLES = {"rhd": "MSFF_RHD", "interhand26m": "MSFF_INTERHAND"}
"""Environment variables that say where the real datasets lie."""


def find_root(start: Path | None = None) -> Path:
    """The project's folder: the nearest parent of ``start`` that holds ``_config.yml`` and ``notebooks/``."""
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "_config.yml").exists() and (folder / "notebooks").is_dir():
            return folder
    raise FileNotFoundError(f"{start} is not inside the msff project: change into the folder that holds its Makefile")


class Study:
    """One profile of the study in one project folder: the notebooks' single entry point."""

    def __init__(self, profile: str, root: Path | str | None = None, device: str | None = None):
        self.profile: Profile = get_profile(profile)
        self.root = Path(root) if root else find_root()
        self.store = Store(self.root / "results" / profile)
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        if threads := os.environ.get("MSFF_THREADS"):
            torch.set_num_threads(int(threads))
        self._datasets: dict[tuple[str, str], HandDataset] = {}

    # data

    def data_root(self, dataset: str) -> Path:
        """Where the dataset lies: ``data/<profile>/<name>`` for the stand-in, else ``data/<name>`` or a variable."""
        if DATASETS[dataset].is_standin:
            return self.root / "data" / self.profile.name / dataset
        return Path(os.environ.get(DATA_VARIABLES[dataset], self.root / "data" / dataset))

    def make_data(self, dataset: str, progress: bool = True) -> Path:
        """Render the stand-in unless it is there already; a real dataset only has to exist."""
        root, data = self.data_root(dataset), self.profile.data
        if DATASETS[dataset].is_standin:
            return make(dataset, root, data.train, data.test, seed=data.seed, size=data.size, progress=progress)
        if not root.is_dir():
            raise DataError(
                f"{root} does not exist: put {DATASETS[dataset].label} there, "
                f"or set {DATA_VARIABLES[dataset]} to its folder"
            )
        return root

    def samples(self, dataset: str, part: str) -> HandDataset:
        """The images of ``part`` ("train" or "test") as the networks see them; read once per process."""
        if (dataset, part) not in self._datasets:
            self.make_data(dataset)
            real = not DATASETS[dataset].is_standin
            self._datasets[dataset, part] = HandDataset(
                load(dataset, self.data_root(dataset), part),
                self.profile.network.crop_size,
                device=self.device,
                cache=not real,  # the stand-in fits into memory, the real sets do not
                supersample=self.profile.supersample,
            )
        return self._datasets[dataset, part]

    def truth(self, dataset: str) -> Truth:
        """Ground truth of the test part, kept in the store so that tables need no images."""
        path = self.store.root / "truth" / f"{dataset}.npz"
        if not path.exists():
            self.store.save_truth(Truth.from_samples(self.samples(dataset, "test").samples, dataset))
        return self.store.truth(dataset)

    # runs

    def experiment(self, run_id: str) -> Experiment:
        return find(self.profile, run_id)

    def config(self, experiment: Experiment) -> dict:
        """Everything that changes the run's numbers, as plain JSON values."""
        data = dataclasses.asdict(self.profile.data)
        data.pop("datasets")
        if DATASETS[experiment.dataset].is_standin:
            data["generator_version"] = GENERATOR_VERSION
        else:
            data = {"real": experiment.dataset}
        profile = dataclasses.asdict(self.profile)
        config = {key: profile[key] for key in ("network", "training", "decoder", "supersample")}
        config |= {key: getattr(experiment, key) for key in ("dataset", "method", "variant", "seed")}
        return json.loads(json.dumps(config | {"data": data, "method_version": METHODS[experiment.method].version}))

    def config_hash(self, experiment: Experiment) -> str:
        return hashlib.sha256(json.dumps(self.config(experiment), sort_keys=True).encode()).hexdigest()[:12]

    def finished(self, experiment: Experiment, own: bool = False) -> Run | None:
        """The stored run if its configuration is today's; with ``own``, only if it is not the shipped reference."""
        run = self.store.get(experiment)
        if run is None or run.record["config_hash"] != self.config_hash(experiment):
            return None
        shipped = self.store.reference().get(experiment.run_id, {}).get("uid")
        return None if own and run.record["uid"] == shipped else run

    def checkpoint_path(self, experiment: Experiment) -> Path:
        return self.root / "data" / "checkpoints" / self.profile.name / f"{experiment.run_id}.pt"

    def ensure_run(self, run_id: str, force: bool | None = None, own: bool | None = None) -> Run:
        """The finished run, trained now if the store lacks it.

        ``force`` retrains in any case, ``own`` retrains what is only the shipped reference; both default to the
        variables MSFF_FORCE and MSFF_OWN that `msff study run` sets.
        """
        experiment = self.experiment(run_id)
        force = bool(os.environ.get("MSFF_FORCE")) if force is None else force
        own = bool(os.environ.get("MSFF_OWN")) if own is None else own
        # Within one forced study several notebooks ask for the same run: it is retrained once.
        since = float(os.environ.get("MSFF_FORCE_SINCE", "inf"))
        run = self.finished(experiment, own)
        if run is not None and (not force or run.record["finished"] >= since):
            return run
        return self.run(experiment, resume=not force)

    def run(self, experiment: Experiment, resume: bool = True) -> Run:
        """Train, predict, measure, store."""
        started = time.perf_counter()
        train, test = self.samples(experiment.dataset, "train"), self.samples(experiment.dataset, "test")
        truth = self.truth(experiment.dataset)
        train_truth = Truth.from_samples(train.samples, experiment.dataset)
        law = box_depth(train_truth)
        costs = {"parameters": 0, "macs": 0}
        peak = PeakMemory(self.device)
        if experiment.method == "mean-pose":
            mean = MeanPose.fit(train_truth.joints_cam_mm, train_truth.joint_valid)
            history, predictions = pd.DataFrame(), predict_mean_pose(mean, test, law)
        else:
            model, history = self._train(experiment, train, resume)
            spec = self.profile.volume
            predictions = predict(model, test, spec, self.profile.decoder, law)
            costs = {"parameters": count_parameters(model), "macs": count_macs(model, self.profile.network.crop_size)}
        record = {
            "run_id": experiment.run_id,
            "uid": uuid.uuid4().hex,
            "experiment": dataclasses.asdict(experiment),
            "config": self.config(experiment),
            "config_hash": self.config_hash(experiment),
            "box_depth": dataclasses.asdict(law),
            "metrics": {track: evaluate(truth, predictions, track).summary() for track in TRACKS},
            "seconds": time.perf_counter() - started,
            "finished": time.time(),
            "train_seconds": float(history["seconds"].sum()) if len(history) else 0.0,
            "images_per_s": float(history["images_per_s"].median()) if len(history) else None,
            "peak_mib": peak.mib(),
            "train_images": len(train),
            "test_images": len(test),
            "status": "finished",
            **costs,
            **provenance(self.root, self.device),
        }
        return self.store.save_run(experiment, record, history, predictions)

    def _train(self, experiment: Experiment, train: HandDataset, resume: bool):
        checkpoint, config_hash = self.checkpoint_path(experiment), self.config_hash(experiment)
        if not resume:
            checkpoint.unlink(missing_ok=True)
        elif checkpoint.exists() and _checkpoint_hash(checkpoint) != config_hash:
            checkpoint.unlink()  # of an older configuration: of no use to this one
        model = self.network(experiment)
        history = fit(
            model, train, self.profile.volume, self.profile.training, seed=experiment.seed,
            checkpoint=checkpoint, config_hash=config_hash, describe=dataclasses.asdict(experiment),
            progress=progress_file(experiment.run_id),
        )  # fmt: skip
        return model, history

    def network(self, experiment: Experiment) -> torch.nn.Module:
        """The untrained network on the study's device; its initial weights depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(experiment.seed)
            return build(experiment.method, experiment.variant, self.profile.network).to(self.device)


def box_depth(train: Truth) -> BoxDepth:
    """The depth of the wrists as a function of the box (track T2), fitted on the training part."""
    roots = list(ROOTS.values())
    return fit_box_depth(
        torch.as_tensor(train.box), torch.as_tensor(train.intrinsics),
        torch.as_tensor(train.joints_cam_mm[:, roots, 2]), torch.as_tensor(train.joint_valid[:, roots]),
    )  # fmt: skip


def _checkpoint_hash(path: Path) -> str:
    from msff.training.checkpoint import load_checkpoint

    return load_checkpoint(path)["config_hash"]


class PeakMemory:
    """Peak memory since construction on CUDA; on the CPU the process's peak resident size, all that is known."""

    def __init__(self, device: str):
        self.cuda = torch.device(device).type == "cuda"
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()

    def mib(self) -> float:
        if self.cuda:
            return torch.cuda.max_memory_allocated() / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if platform.system() == "Darwin" else 2**10)


def progress_file(label: str):
    """A training callback that leaves its state in the folder MSFF_PROGRESS, for the process that shows the bar."""
    folder = os.environ.get("MSFF_PROGRESS")
    if not folder:
        return None
    path = Path(folder) / f"{os.getpid()}.json"
    last = 0.0

    def report(epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
        nonlocal last
        if time.monotonic() - last < 0.5 and step < steps:
            return
        last = time.monotonic()
        done = (epoch - 1 + step / steps) / epochs
        text = json.dumps({"label": label, "epoch": epoch, "epochs": epochs, "done": done, "loss": loss})
        with contextlib.suppress(FileNotFoundError):  # the folder goes when nobody watches any more
            partial = path.with_suffix(".partial")
            partial.write_text(text)
            partial.replace(path)

    return report


def provenance(root: Path, device: str) -> dict:
    """Commit, versions and hardware, for run.json."""
    packages = ("torch", "torchvision", "numpy", "pandas")
    return {
        "commit": _commit(root),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "device": str(device),
        "hardware": _hardware(device),
        "threads": torch.get_num_threads(),
    }


@lru_cache
def _commit(root: Path) -> str:
    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)

    head = git("rev-parse", "--short=12", "HEAD")
    if head.returncode:
        return "unknown"
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "msff").stdout.strip()
    return head.stdout.strip() + ("+changes" if changed else "")


def _hardware(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return f"{model}, {os.cpu_count()} cores"
