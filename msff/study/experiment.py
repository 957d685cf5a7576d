"""One experiment, from data on disk to a run in the store.

Under torchrun every process goes through all of it: together they train and predict, the first one alone writes and
takes locks, and what is on the disk decides for all as it looks to the first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from msff.data.datasets import DATASETS, load
from msff.data.loader import HandDataset
from msff.data.sample import DataError, HandSample
from msff.data.views import HandsApart, hands_apart, keypoint_crops, whole_frames
from msff.evaluation.answers import Answers, Helped
from msff.evaluation.hands import native
from msff.evaluation.inference import predict, predict_mean_pose, predict_oracle
from msff.evaluation.lifting import BoxDepth, DepthSource, fit_box_depth
from msff.evaluation.protocol import Predictions, Truth, evaluate
from msff.evaluation.root_depth import depth_accuracy
from msff.evaluation.sides import side_accuracy
from msff.models.mean_pose import MeanPose
from msff.models.oracle import HeatMapOracle
from msff.models.registry import HELPERS, build, count_macs, count_used_parameters, method_of
from msff.skeleton import ROOTS
from msff.standin import GENERATOR_VERSION
from msff.standin.writers import make
from msff.study.grid import find, helper
from msff.study.hand_runs import TrainingHands, predict_one_hand, sees_own_crops
from msff.study.helping import QUESTIONS, Helper, ask, knows, shown
from msff.study.machine import PeakMemory, progress_file, provenance
from msff.study.photos import keep_photos
from msff.study.procedures import Phases, Procedure, procedure
from msff.study.profiles import Profile, get_profile
from msff.study.runs import Experiment, Run, Store, alone
from msff.training.checkpoint import discard_stale, load_checkpoint
from msff.training.engine import Engine, own_device
from msff.training.loop import count_epochs, fit

VIEWS = {"hands": lambda hands: hands, "keypoints": keypoint_crops, "frames": whole_frames}
"""Ways to look at the hands apart: in their box, about their true joints, or within the whole image."""

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
        self.device = own_device(device)
        if threads := os.environ.get("MSFF_THREADS"):
            torch.set_num_threads(int(threads))
        self._samples: dict[tuple[str, str], Sequence[HandSample]] = {}
        self._hands: dict[tuple[str, str], HandsApart] = {}
        self._datasets: dict[tuple[str, str, str], HandDataset] = {}
        self._training_hands: dict[str, TrainingHands] = {}
        self._helpers: dict[Experiment, Helper] = {}

    @cached_property
    def engine(self) -> Engine:
        """What trains and predicts, alone or together with torchrun's other processes."""
        return Engine(self.device, self.profile.speed)

    # data

    def data_root(self, dataset: str) -> Path:
        """Where the dataset lies: ``data/<profile>/<name>`` for the stand-in, else ``data/<name>`` or a variable."""
        if DATASETS[dataset].is_standin:
            return self.root / "data" / self.profile.name / dataset
        return Path(os.environ.get(DATA_VARIABLES[dataset]) or self.root / "data" / dataset)

    def names_data(self, dataset: str) -> bool:
        """Whether somebody has put a real dataset at its place, or set its variable, right or wrong."""
        return bool(os.environ.get(DATA_VARIABLES[dataset])) or self.data_root(dataset).is_dir()

    def make_data(self, dataset: str, progress: bool = True, check: bool = True) -> Path:
        """Render the stand-in unless it is there already, whole (``check``); a real dataset only has to exist."""
        root, data = self.data_root(dataset), self.profile.data
        if DATASETS[dataset].is_standin:
            return make(
                dataset, root, data.train, data.test, data.seed, data.size, progress, device=self.device, check=check
            )
        if not root.is_dir():
            raise DataError(
                f"{root} does not exist: put {DATASETS[dataset].label} there, "
                f"or set {DATA_VARIABLES[dataset]} to its folder"
            )
        return root

    def samples(self, dataset: str, part: str, view: str = "images") -> HandDataset:
        """The images of ``part`` ("train" or "test") as the networks see them; read once per process.

        ``view`` is one of ``VIEWS``; all but "images" show each hand apart, see ``hands``.
        """
        key = (dataset, part, view)
        if key not in self._datasets:
            seen = self._read(dataset, part) if view == "images" else VIEWS[view](self.hands(dataset, part).samples)
            self._datasets[key] = self.dataset(seen, real=not DATASETS[dataset].is_standin)
        return self._datasets[key]

    def dataset(self, samples: Sequence[HandSample], real: bool) -> HandDataset:
        """Crops of these samples at the profile's size."""
        return HandDataset(
            samples,
            self.profile.network.crop_size,
            device=self.device,
            cache=not real,  # the stand-in fits into memory, the real sets do not
            supersample=self.profile.supersample,
        )

    def hands(self, dataset: str, part: str) -> HandsApart:
        """Every hand of a part as a sample of its own, with the image that it is in."""
        if (dataset, part) not in self._hands:
            self._hands[dataset, part] = hands_apart(self._read(dataset, part))
        return self._hands[dataset, part]

    def training_hands(self, dataset: str) -> TrainingHands:
        """What the methods are told of the training part's hands at test time."""
        if dataset not in self._training_hands:
            self._training_hands[dataset] = TrainingHands.of(self.hands(dataset, "train"))
        return self._training_hands[dataset]

    def _read(self, dataset: str, part: str) -> Sequence[HandSample]:
        if (dataset, part) not in self._samples:
            with self.engine.one_by_one():
                self.make_data(dataset, check=False)  # the study has checked it once for all its processes
            self._samples[dataset, part] = load(dataset, self.data_root(dataset), part)
        return self._samples[dataset, part]

    def truth(self, dataset: str) -> Truth:
        """Ground truth of the test part, kept in the store so that tables need no images."""
        source = self.data_config(dataset)
        # none yet, or of another size, seed or generator version
        if self.engine.agreed(self.store.truth_source(dataset) != source):
            truth = Truth.from_samples(self._read(dataset, "test"), dataset)
            self.engine.first_alone(lambda: self.store.save_truth(truth, source))
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

    def procedure(self, experiment: Experiment) -> Procedure:
        """How the experiment is trained."""
        return procedure(experiment, self.profile)

    def config(self, experiment: Experiment) -> dict:
        """Everything that changes the run's numbers, as plain JSON values."""
        method, how = method_of(experiment.method), self.procedure(experiment)
        sizes = dataclasses.asdict(self.profile.network)
        config = {"network": {key: sizes[key] for key in method.sizes}, "supersample": self.profile.supersample}
        config |= {"recipe": how.recipe} if method.one_hand else how.recipe
        if experiment.method not in HELPERS:
            config["root_depth"] = self._root_depth_config(experiment.dataset)
        if how.needs_side:
            config["side"] = self._shared(helper(self.profile, experiment.dataset, "sidenet"))
        if how.start is not None:
            config["start"] = self._shared(how.start)
        config |= {key: getattr(experiment, key) for key in ("dataset", "method", "variant", "seed")}
        config |= {"data": self.data_config(experiment.dataset), "method_version": method.version}
        return json.loads(json.dumps(config))

    def _root_depth_config(self, dataset: str) -> dict:
        """Where track T2's depth comes from: the box, or the helper of that run id and configuration."""
        source = self.profile.root_depth.source
        return {"source": source} | (
            {} if source == "box" else self._shared(helper(self.profile, dataset, "rootnet"), "helper")
        )

    def _shared(self, other: Experiment, name: str = "run_id") -> dict:
        """Another experiment whose trained network this one rests on."""
        return {name: other.run_id, "config_hash": self.config_hash(other)}

    def config_hash(self, experiment: Experiment) -> str:
        return hashlib.sha256(json.dumps(self.config(experiment), sort_keys=True).encode()).hexdigest()[:12]

    def finished(self, experiment: Experiment, own: bool = False) -> Run | None:
        """The stored run if its configuration is today's; with ``own``, only if it is not the shipped reference.

        A helper is also one's own where its weights are, for they are not shipped, and is not where it has neither
        weights nor answers.
        """
        run = self.store.get(experiment)
        if run is None or run.record["config_hash"] != self.config_hash(experiment):
            return None
        if not own or (experiment.method in HELPERS and self.keeps(run)):
            return run
        shipped = run.record["uid"] == self.store.reference().get(experiment.run_id, {}).get("uid")
        return None if shipped or (experiment.method in HELPERS and not run.answered) else run

    def rests_on(self, experiment: Experiment) -> set[Experiment]:
        """The helpers that the experiment's predictions need."""
        if experiment.method in HELPERS:
            return set()
        methods = ["rootnet"] * (self.profile.root_depth.source == "network")
        methods += ["sidenet"] * self.procedure(experiment).needs_side
        return {helper(self.profile, experiment.dataset, method) for method in methods}

    def checkpoint_path(self, experiment: Experiment) -> Path:
        return self.root / "data" / "checkpoints" / self.profile.name / f"{experiment.run_id}.pt"

    def trained(self, experiment: Experiment) -> bool:
        """Whether this machine holds the weights of the whole training in today's configuration."""
        path = self.checkpoint_path(experiment)
        if not path.exists():
            return False
        state = load_checkpoint(path, mapped=True)
        whole = state["epoch"] >= count_epochs(self.phases(experiment))
        return whole and state["config_hash"] == self.config_hash(experiment)

    def keeps(self, run: Run) -> bool:
        """Whether the weights here are those of that very run: no two trainings take the same seconds."""
        if not self.trained(run.experiment):
            return False
        written = load_checkpoint(self.checkpoint_path(run.experiment), mapped=True)["history"]
        seconds = [row["seconds"] for row in written]
        return len(seconds) == len(run.history) and np.allclose(seconds, run.history["seconds"], rtol=1e-4)

    def to_train(self, experiment: Experiment, own: bool = False) -> set[Experiment]:
        """The helpers that the experiment's predictions need and that can tell it nothing here before a training."""

        def tells(helper: Experiment) -> bool:
            run = self.finished(helper, own)
            return self.trained(helper) or (run is not None and run.answered and not sees_own_crops(experiment))

        return {helper for helper in self.rests_on(experiment) if not tells(helper)}

    def phases(self, experiment: Experiment) -> Phases:
        """The schedule of the experiment's training."""
        return self.procedure(experiment).phases(None)

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
        if self.engine.agreed(run is not None and (not force or run.record["finished"] >= since)):
            return self.store.get(experiment)
        for shared in sorted(self.rests_on(experiment)) if own else ():
            self.ensure_run(shared.run_id, force=False, own=True)
        return self.run(experiment, resume=not force)

    def run(self, experiment: Experiment, resume: bool = True) -> Run:
        """Train, predict, measure, store; then predict the real photos too, where they are at hand."""
        if experiment.method in HELPERS:
            return self._run_helper(experiment, resume)
        helpers = {}
        for shared in sorted(self.rests_on(experiment)):  # none of this run's cost; all processes in the same order
            helpers[shared.method] = self.helper(shared.dataset, shared.method, sees_own_crops(experiment))
        depth, source = self.root_depth(experiment.dataset, sees_own_crops(experiment))
        started, peak = time.perf_counter(), PeakMemory(self.device)
        truth = self.truth(experiment.dataset)
        if method_of(experiment.method).one_hand:
            self.training_hands(experiment.dataset)
        model, history = None, pd.DataFrame()
        if method_of(experiment.method).build is not None:
            model, history = self._train(experiment, resume)
        started += _kept_s(history, since=started)
        begun = time.perf_counter()
        predictions = self.predict(experiment, model, depth)
        speed = len(predictions) / (time.perf_counter() - begun) if model else None
        record = self._record(experiment, model, history, started, peak) | {
            "predict_images_per_s": speed,
            "root_depth": source,
            **({"side": helpers["sidenet"].cited(sees_own_crops(experiment))} if "sidenet" in helpers else {}),
            "given": {track: dataclasses.asdict(predictions.given_on(track)) for track in predictions.joints},
            "metrics": {track: evaluate(truth, predictions, track).summary() for track in predictions.joints},
        }
        run = self._save_run(experiment, record, history, predictions)
        keep_photos(self, run, model, depth, source)
        return run

    def predict(
        self, experiment: Experiment, model: torch.nn.Module | None, depth: DepthSource, dataset: str | None = None
    ) -> Predictions:
        """Every test image of ``dataset``, by default the one that the experiment is trained on, on every track.

        A paper's own recipe says how its own test images are seen (T0); others are seen as the unified tracks have it.
        Of several processes each predicts a network's share of them.
        """
        profile, dataset = self.profile, dataset or experiment.dataset
        if method_of(experiment.method).one_hand:
            return predict_one_hand(self, experiment, model, depth, dataset)
        test = self.samples(dataset, "test")
        if experiment.method == "mean-pose":
            train = Truth.from_samples(self._read(experiment.dataset, "train"), experiment.dataset)
            return predict_mean_pose(MeanPose.fit(train.joints_cam_mm, train.joint_valid), test, depth.on(test))
        if experiment.method == "oracle":
            return predict_oracle(HeatMapOracle(profile.volume, profile.decoder), test, depth.on(test))
        network = self.engine.network(model)

        def share(own: range) -> Predictions:
            seen = test if len(own) == len(test) else test.at(own)
            return predict(network, seen, profile.volume, profile.decoder, depth.on(seen))

        return self.as_native(experiment, self.shared(len(test), share), dataset)

    def shared(self, images: int, predict: Callable[[range], Predictions]) -> Predictions:
        """Predictions for all images, each process's for consecutive ones of them, in the order of the images."""
        own = range(images)[self.engine.share(images)]
        parts = [part for part in self.engine.gathered(predict(own) if own else None) if part is not None]
        return parts[0] if len(parts) == 1 else Predictions.joined(parts)

    def as_native(self, experiment: Experiment, predictions: Predictions, dataset: str) -> Predictions:
        """The same, or as track T0 if the experiment is a paper's own recipe and ``dataset`` its own."""
        track = self.procedure(experiment).native_track
        if track is None or dataset != experiment.dataset:
            return predictions
        return native(predictions, track, predictions.given_on(track))

    def _run_helper(self, experiment: Experiment, resume: bool) -> Run:
        """Train, ask and measure a network that all methods share; another process that wants it waits."""
        with self._alone(self.checkpoint_path(experiment).with_suffix(".run.lock")):
            if self.engine.agreed(self._kept(experiment)) and resume:  # by another process, just now
                return self.store.get(experiment)
            started, peak = time.perf_counter(), PeakMemory(self.device)
            model, history = self._train(experiment, resume)
            started += _kept_s(history, since=started)
            answers = ask(self, experiment, model)
            metrics = self._helper_metrics(experiment, Helped(experiment.run_id, answers, None))
            record = self._record(experiment, model, history, started, peak) | metrics
            self._helpers.pop(experiment, None)
            return self._save_run(experiment, record, history, answers)

    def _helper_metrics(self, experiment: Experiment, helped: Helped) -> dict:
        """How good a helper is on the test part: RootNet beside the law of the box, SideNet beside chance."""
        dataset = experiment.dataset
        if experiment.method == "sidenet":
            hands = self.samples(dataset, "test", "hands")
            return {"metrics": {"sidenet": side_accuracy(helped.on(hands), hands)}}
        law, test = self._box_depth(dataset), self.samples(dataset, "test")
        return {
            "box_depth": dataclasses.asdict(law),
            "metrics": {d.source: depth_accuracy(d.on(test), test) for d in (helped, law)},
        }

    def _kept(self, experiment: Experiment) -> bool:
        """Whether a run of today's configuration is stored and its weights are here."""
        run = self.finished(experiment)
        return run is not None and self.keeps(run)

    def helper(self, dataset: str, method: str, itself: bool = False) -> Helper:
        """A helper that can be asked: by its stored answers about the test part, with ``itself`` its network.

        Trained now if there is neither. Where the weights of a run with answers are not here, a network that is
        trained for ``itself`` leaves the run as it is: all others go on resting on its answers.
        """
        shared = helper(self.profile, dataset, method)
        found = self._helpers.get(shared)
        if found is None or (itself and found.network is None):
            found = self._helpers[shared] = self._helper(shared, itself)
        return found

    def _helper(self, shared: Experiment, itself: bool) -> Helper:
        kept = self.engine.agreed(self._kept(shared))
        if not kept:
            crops = shown(self, shared.method, shared.dataset)  # all processes read the data, whatever is stored
            if not self.engine.agreed(knows(self.finished(shared), crops)):
                self.run(shared)
                kept = True
        question = None
        if kept or itself:
            model = self._load(shared) if kept else self.trained_network(shared)
            question = QUESTIONS[shared.method](self.engine.network(model))
        return Helper(self.store.get(shared), question, is_the_runs=kept)

    def can_help(self, shared: Experiment, experiment: Experiment, dataset: str) -> bool:
        """Whether the helper can tell the experiment of that dataset's test crops without a training."""
        if self._kept(shared):
            return True
        crops = [crop for d in (shared.dataset, dataset) for crop in shown(self, shared.method, d)]
        return not sees_own_crops(experiment) and knows(self.finished(shared), crops)

    def root_depth(self, dataset: str, itself: bool = False) -> tuple[DepthSource, dict]:
        """Track T2's depth of the wrists, the same for all methods and seeds, and what a record says of it.

        ``itself``: as RootNet says it of crops that only the run sees.
        """
        if self.profile.root_depth.source == "box":
            law = self._box_depth(dataset)
            return law, {"source": law.source} | dataclasses.asdict(law)
        found = self.helper(dataset, "rootnet", itself)
        return found.estimate(itself), {"source": Helped.source} | found.cited(itself)

    def sides(self, experiment: Experiment) -> Helped:
        """What SideNet says of the test crops that the run sees."""
        itself = sees_own_crops(experiment)
        return self.helper(experiment.dataset, "sidenet", itself).estimate(itself)

    def _box_depth(self, dataset: str) -> BoxDepth:
        return box_depth(Truth.from_samples(self._read(dataset, "train"), dataset))

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
            "images_per_s": slowest_phase(history),
            "peak_mib": peak.mib(),
            "train_images": len(self._read(experiment.dataset, "train")),
            "test_images": len(self._read(experiment.dataset, "test")),
            "status": "finished",
            "parameters": count_used_parameters(model, size) if model else 0,
            "macs": count_macs(model, size) if model else 0,
            **provenance(self.root, self.device),
            **(self.engine.describe() if model else {}),
        }

    def _train(self, experiment: Experiment, resume: bool) -> tuple[torch.nn.Module, pd.DataFrame]:
        """The trained network and its history; another process that wants the same weights waits for them."""
        how, checkpoint = self.procedure(experiment), self.checkpoint_path(experiment)
        config_hash = self.config_hash(experiment)
        with self._alone(checkpoint.with_suffix(".lock")):
            stale = config_hash if resume else None
            self.engine.first_alone(lambda: discard_stale(checkpoint, stale))
            train = self.samples(experiment.dataset, "train", how.view)  # first: says if the data are missing
            model = self.network(experiment)
            if how.start is not None and not self.engine.agreed(checkpoint.exists()):
                how.begin(model, self.trained_network(how.start))
            history = fit(
                model, train, how.phases(train), seed=experiment.seed,
                checkpoint=checkpoint, config_hash=config_hash, describe=dataclasses.asdict(experiment),
                progress=progress_file(experiment.run_id) if self.engine.is_first else None, engine=self.engine,
            )  # fmt: skip
        return model, history

    def trained_network(self, experiment: Experiment) -> torch.nn.Module:
        """The network with its trained weights; trained now, without a run, if they are not here."""
        if self.engine.agreed(self.trained(experiment)):
            return self._load(experiment)
        return self._train(experiment, resume=True)[0]

    def _load(self, experiment: Experiment) -> torch.nn.Module:
        model = self.network(experiment)
        model.load_state_dict(load_checkpoint(self.checkpoint_path(experiment), self.device)["model"])
        return model

    def network(self, experiment: Experiment) -> torch.nn.Module:
        """The untrained network on the study's device; its initial weights depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(experiment.seed)
            return build(experiment.method, experiment.variant, self.profile.network).to(self.device)

    # what one process does for all

    @contextmanager
    def _alone(self, lock: Path) -> Iterator[None]:
        """``alone``, with the lock taken by the first process for all: the others would wait for it for ever."""
        with alone(lock) if self.engine.is_first else nullcontext():
            self.engine.barrier()
            yield

    def _save_run(
        self, experiment: Experiment, record: dict, history: pd.DataFrame, predictions: Predictions | Answers
    ) -> Run:
        self.engine.first_alone(lambda: self.store.save_run(experiment, record, history, predictions))
        return self.store.get(experiment)


def _kept_s(history: pd.DataFrame, since: float) -> float:
    """By how many seconds less a call has trained ``since`` then than the history says: it went on from a checkpoint.

    At most 0; added to the call's beginning it counts what was trained before.
    """
    return min(0.0, time.perf_counter() - since - float(history["seconds"].sum())) if len(history) else 0.0


def slowest_phase(history: pd.DataFrame) -> float | None:
    """Images per second in the phase that needs most time for one, the median over its epochs; None if untrained."""
    return float(history.groupby("phase")["images_per_s"].median().min()) if len(history) else None


def box_depth(*train: Truth, exponent: float | None = None) -> BoxDepth:
    """The depth of the wrists as a function of the box (track T2), fitted on the training parts together."""
    roots = list(ROOTS.values())

    def all_of(column: Callable[[Truth], np.ndarray]) -> torch.Tensor:
        return torch.as_tensor(np.concatenate([column(truth) for truth in train]))

    return fit_box_depth(
        all_of(lambda t: t.box), all_of(lambda t: t.intrinsics), all_of(lambda t: t.joints_cam_mm[:, roots, 2]),
        all_of(lambda t: t.joint_valid[:, roots]), exponent,
    )  # fmt: skip
