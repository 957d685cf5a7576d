"""One experiment, from data on disk to a run in the store.

Under torchrun every process goes through all of it: together they train and predict, the first one alone writes and
takes locks, and what is on the disk decides for all as it looks to the first.
"""

from __future__ import annotations

import dataclasses
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from msff.data.datasets import DATASETS
from msff.evaluation.answers import Answers, Helped
from msff.evaluation.evaluate import evaluate
from msff.evaluation.lifting import DepthSource
from msff.evaluation.predict_heatmaps import predict, predict_mean_pose, predict_oracle
from msff.evaluation.predictions import Predictions, Truth
from msff.evaluation.root_depth import depth_accuracy
from msff.evaluation.sides import side_accuracy
from msff.models.baselines.mean_pose import MeanPose
from msff.models.baselines.oracle import HeatMapOracle
from msff.models.registry import AUXILIARY, count_macs, count_used_parameters, method_of
from msff.study.grid import helper
from msff.study.hand_runs import predict_one_hand, sees_own_crops
from msff.study.helping import QUESTIONS, Helper, ask, knows, shown
from msff.study.machine import PeakMemory, provenance
from msff.study.photos import keep_photos
from msff.study.store import Experiment, Run
from msff.study.weights import StudyWeights
from msff.training.checkpoint import load_checkpoint


class Study(StudyWeights):
    """One profile of the study in one project folder: the notebooks' single entry point."""

    def __init__(self, profile: str, root: Path | str | None = None, device: str | None = None):
        super().__init__(profile, root, device)
        self._helpers: dict[Experiment, Helper] = {}

    def finished(self, experiment: Experiment, own: bool = False) -> Run | None:
        """The stored run if its configuration is today's; with ``own``, only if it is not the shipped reference.

        A helper is also one's own where its weights are, for they are not shipped, and is not where it has neither
        weights nor answers.
        """
        run = self.store.get(experiment)
        if run is None or run.record["config_hash"] != self.config_hash(experiment) or not self._covers_test(run):
            return None
        if not own or (experiment.method in AUXILIARY and self.keeps(run)):
            return run
        shipped = run.record["uid"] == self.store.reference().get(experiment.run_id, {}).get("uid")
        return None if shipped or (experiment.method in AUXILIARY and not run.answered) else run

    def _covers_test(self, run: Run) -> bool:
        """Whether the run predicted today's test part. If not, it is predicted again, without a training where its
        weights are here."""
        standin = DATASETS[run.experiment.dataset].is_standin
        return not standin or run.record["test_images"] == self.profile.data.test

    def rests_on(self, experiment: Experiment) -> set[Experiment]:
        """The helpers that the experiment's predictions need."""
        if experiment.method in AUXILIARY:
            return set()
        methods = ["rootnet"] * (self.profile.root_depth.source == "network")
        methods += ["sidenet"] * self.procedure(experiment).needs_side
        return {helper(self.profile, experiment.dataset, method) for method in methods}

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
        if experiment.method in AUXILIARY:
            return self._run_helper(experiment, resume)
        started, peak = time.perf_counter(), PeakMemory(self.device)
        truth = self.truth(experiment.dataset)
        if method_of(experiment.method).single_hand:
            self.training_hands(experiment.dataset)
        model, history = None, pd.DataFrame()
        if method_of(experiment.method).build is not None:
            model, history = self._train(experiment, resume)
        started += _kept_s(history, since=started)
        waited = time.perf_counter()
        helpers = {}
        for shared in sorted(self.rests_on(experiment)):  # all processes in the same order
            helpers[shared.method] = self.helper(shared.dataset, shared.method, sees_own_crops(experiment))
        depth, source = self.root_depth(experiment.dataset, sees_own_crops(experiment))
        begun = time.perf_counter()
        started += begun - waited  # the helpers are no part of this run's cost
        predictions = self.predict(experiment, model, depth)
        speed = len(predictions) / (time.perf_counter() - begun) if model else None
        record = self._record(experiment, model, history, started, peak) | {
            "predict_images_per_s": speed,
            "root_depth": source,
            **({"side": helpers["sidenet"].cited(sees_own_crops(experiment))} if "sidenet" in helpers else {}),
            "given": {track: dataclasses.asdict(predictions.inputs[track]) for track in predictions.joints},
            "metrics": {
                track: evaluate(truth, predictions.as_stored(), track).summary() for track in predictions.joints
            },
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
        if method_of(experiment.method).single_hand:
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
        return predictions.as_paper_track(track)

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
