"""One experiment, from data on disk to a run in the store."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
import uuid
from pathlib import Path

import pandas as pd
import torch

from msff.data.datasets import DATASETS, load
from msff.data.loader import HandDataset
from msff.data.sample import DataError
from msff.evaluation.inference import predict, predict_mean_pose
from msff.evaluation.lifting import BoxDepth, RootDepth, fit_box_depth
from msff.evaluation.protocol import TRACKS, Truth, evaluate
from msff.evaluation.root_depth import NetworkDepth, depth_accuracy
from msff.models.mean_pose import MeanPose
from msff.models.registry import HELPERS, build, count_macs, count_parameters, method_of
from msff.skeleton import ROOTS
from msff.standin import GENERATOR_VERSION
from msff.standin.writers import make
from msff.study.grid import find, helper
from msff.study.machine import PeakMemory, progress_file, provenance
from msff.study.profiles import Profile, get_profile
from msff.study.runs import Experiment, Run, Store, alone
from msff.training.checkpoint import load_checkpoint
from msff.training.loop import Objective, TrainingConfig, fit
from msff.training.losses import HandObjective
from msff.training.root_loss import RootObjective

DATA_VARIABLES = {"rhd": "MSFF_RHD", "interhand26m": "MSFF_INTERHAND", "realworld": "MSFF_REALWORLD"}
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
        self._root_nets: dict[str, tuple[Run, torch.nn.Module]] = {}

    # data

    def data_root(self, dataset: str) -> Path:
        """Where the dataset lies: ``data/<profile>/<name>`` for the stand-in, else ``data/<name>`` or a variable."""
        if DATASETS[dataset].is_standin:
            return self.root / "data" / self.profile.name / dataset
        return Path(os.environ.get(DATA_VARIABLES[dataset], self.root / "data" / dataset))

    def make_data(self, dataset: str, progress: bool = True, check: bool = True) -> Path:
        """Render the stand-in unless it is there already, whole (``check``); a real dataset only has to exist."""
        root, data = self.data_root(dataset), self.profile.data
        if DATASETS[dataset].is_standin:
            return make(dataset, root, data.train, data.test, data.seed, data.size, progress, check=check)
        if not root.is_dir():
            raise DataError(
                f"{root} does not exist: put {DATASETS[dataset].label} there, "
                f"or set {DATA_VARIABLES[dataset]} to its folder"
            )
        return root

    def samples(self, dataset: str, part: str) -> HandDataset:
        """The images of ``part`` ("train" or "test") as the networks see them; read once per process."""
        if (dataset, part) not in self._datasets:
            self.make_data(dataset, check=False)  # the study has checked it once for all its processes
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
        source = self.data_config(dataset)
        if self.store.truth_source(dataset) != source:  # none yet, or of another size, seed or generator version
            self.store.save_truth(Truth.from_samples(self.samples(dataset, "test").samples, dataset), source)
        return self.store.truth(dataset)

    # runs

    def experiment(self, run_id: str) -> Experiment:
        return find(self.profile, run_id)

    def data_config(self, dataset: str) -> dict:
        """Everything that decides which images the dataset holds."""
        if not DATASETS[dataset].is_standin:
            return {"real": dataset}
        data = dataclasses.asdict(self.profile.data) | {"generator_version": GENERATOR_VERSION}
        data.pop("datasets")
        return data

    def config(self, experiment: Experiment) -> dict:
        """Everything that changes the run's numbers, as plain JSON values."""
        data = self.data_config(experiment.dataset)
        profile = dataclasses.asdict(self.profile)
        config = {key: profile[key] for key in ("network", "supersample")}
        if experiment.method in HELPERS:
            config |= {key: profile["root_depth"][key] for key in ("training", "loss")}
        else:
            config |= {key: profile[key] for key in ("training", "loss", "decoder")}
            config["root_depth"] = self._root_depth_config(experiment.dataset)
        config |= {key: getattr(experiment, key) for key in ("dataset", "method", "variant", "seed")}
        config |= {"data": data, "method_version": method_of(experiment.method).version}
        return json.loads(json.dumps(config))

    def _root_depth_config(self, dataset: str) -> dict:
        """Where track T2's depth comes from: the box, or the helper of that run id and configuration."""
        source = self.profile.root_depth.source
        if source == "box":
            return {"source": source}
        shared = helper(self.profile, dataset)
        return {"source": source, "helper": shared.run_id, "config_hash": self.config_hash(shared)}

    def config_hash(self, experiment: Experiment) -> str:
        return hashlib.sha256(json.dumps(self.config(experiment), sort_keys=True).encode()).hexdigest()[:12]

    def finished(self, experiment: Experiment, own: bool = False) -> Run | None:
        """The stored run if its configuration is today's; with ``own``, only if it is not the shipped reference.

        A helper is one's own where its weights are, for they are not shipped.
        """
        run = self.store.get(experiment)
        if run is None or run.record["config_hash"] != self.config_hash(experiment):
            return None
        if experiment.method in HELPERS:
            return run if not own or self.trained(experiment) else None
        shipped = self.store.reference().get(experiment.run_id, {}).get("uid")
        return None if own and run.record["uid"] == shipped else run

    def checkpoint_path(self, experiment: Experiment) -> Path:
        return self.root / "data" / "checkpoints" / self.profile.name / f"{experiment.run_id}.pt"

    def trained(self, experiment: Experiment) -> bool:
        """Whether this machine holds the weights of the whole training in today's configuration."""
        path = self.checkpoint_path(experiment)
        if not path.exists():
            return False
        state = load_checkpoint(path, mapped=True)
        whole = state["epoch"] >= self.training(experiment).epochs
        return whole and state["config_hash"] == self.config_hash(experiment)

    def training(self, experiment: Experiment) -> TrainingConfig:
        """How the experiment's network is trained."""
        return self.profile.root_depth.training if experiment.method in HELPERS else self.profile.training

    def objective(self, experiment: Experiment) -> Objective:
        """What the experiment's network is trained for."""
        if experiment.method in HELPERS:
            return RootObjective(self.profile.root_depth.loss)
        return HandObjective(self.profile.volume, self.profile.loss)

    def ensure_run(self, run_id: str, force: bool | None = None, own: bool | None = None) -> Run:
        """The finished run, trained now if the store lacks it.

        ``force`` retrains in any case, ``own`` retrains what is only the shipped reference; both default to the
        variables MSFF_FORCE and MSFF_OWN that `msff study run` sets. What track T2 needs is trained with it.
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
        if experiment.method in HELPERS:
            return self._run_helper(experiment, resume)
        depth, source = self.root_depth(experiment.dataset)  # shared: none of this run's cost
        started, peak = time.perf_counter(), PeakMemory(self.device)
        train, test = self.samples(experiment.dataset, "train"), self.samples(experiment.dataset, "test")
        truth = self.truth(experiment.dataset)
        model, history = None, pd.DataFrame()
        if experiment.method == "mean-pose":
            train_truth = Truth.from_samples(train.samples, experiment.dataset)
            mean = MeanPose.fit(train_truth.joints_cam_mm, train_truth.joint_valid)
            predictions = predict_mean_pose(mean, test, depth)
        else:
            model, history = self._train(experiment, train, resume)
            predictions = predict(model, test, self.profile.volume, self.profile.decoder, depth)
        record = self._record(experiment, model, history, started, peak) | {
            "root_depth": source,
            "given": {track: dataclasses.asdict(predictions.given_on(track)) for track in TRACKS},
            "metrics": {track: evaluate(truth, predictions, track).summary() for track in TRACKS},
        }
        return self.store.save_run(experiment, record, history, predictions)

    def _run_helper(self, experiment: Experiment, resume: bool) -> Run:
        """Train and measure a depth network beside the law of the box; another process that wants it waits."""
        with alone(self.checkpoint_path(experiment).with_suffix(".lock")):
            run = self.finished(experiment, own=True)
            if run is not None and resume:  # by another process, just now
                return run
            started, peak = time.perf_counter(), PeakMemory(self.device)
            train, test = self.samples(experiment.dataset, "train"), self.samples(experiment.dataset, "test")
            model, history = self._train(experiment, train, resume)
            law = box_depth(Truth.from_samples(train.samples, experiment.dataset))
            record = self._record(experiment, model, history, started, peak) | {
                "box_depth": dataclasses.asdict(law),
                "metrics": {d.source: depth_accuracy(d, test) for d in (NetworkDepth(model), law)},
            }
            self._root_nets.pop(experiment.dataset, None)
            return self.store.save_run(experiment, record, history, None)

    def root_depth(self, dataset: str) -> tuple[RootDepth, dict]:
        """Track T2's depth of the wrists, the same for all methods and seeds, and what a record says of it.

        A depth network whose weights are not here is trained now.
        """
        if self.profile.root_depth.source == "box":
            law = box_depth(Truth.from_samples(self.samples(dataset, "train").samples, dataset))
            return law, {"source": law.source} | dataclasses.asdict(law)
        if dataset not in self._root_nets:
            shared = helper(self.profile, dataset)
            run = self.finished(shared, own=True) or self.run(shared)
            model = self.network(shared)
            model.load_state_dict(load_checkpoint(self.checkpoint_path(shared), self.device)["model"])
            self._root_nets[dataset] = run, model
        run, model = self._root_nets[dataset]
        keys = ("run_id", "config_hash", "uid", "metrics")
        return NetworkDepth(model), {"source": NetworkDepth.source} | {key: run.record[key] for key in keys}

    def _record(self, experiment, model, history: pd.DataFrame, started: float, peak: PeakMemory) -> dict:
        """What every run says of itself, whatever it is; ``model`` None: it has no network."""
        size = self.profile.network.crop_size
        return {
            "run_id": experiment.run_id,
            "uid": uuid.uuid4().hex,
            "experiment": dataclasses.asdict(experiment),
            "config": self.config(experiment),
            "config_hash": self.config_hash(experiment),
            "seconds": time.perf_counter() - started,
            "finished": time.time(),
            "train_seconds": float(history["seconds"].sum()) if len(history) else 0.0,
            "images_per_s": float(history["images_per_s"].median()) if len(history) else None,
            "peak_mib": peak.mib(),
            "train_images": len(self.samples(experiment.dataset, "train")),
            "test_images": len(self.samples(experiment.dataset, "test")),
            "status": "finished",
            "parameters": count_parameters(model) if model else 0,
            "macs": count_macs(model, size) if model else 0,
            **provenance(self.root, self.device),
        }

    def _train(self, experiment: Experiment, train: HandDataset, resume: bool):
        checkpoint, config_hash = self.checkpoint_path(experiment), self.config_hash(experiment)
        if not resume:
            checkpoint.unlink(missing_ok=True)
        elif checkpoint.exists() and _checkpoint_hash(checkpoint) != config_hash:
            checkpoint.unlink()  # of an older configuration: of no use to this one
        model = self.network(experiment)
        history = fit(
            model, train, self.objective(experiment), self.training(experiment), seed=experiment.seed,
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
    return load_checkpoint(path, mapped=True)["config_hash"]
