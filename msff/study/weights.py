"""What an experiment is, down to the hash of its configuration, and its network before and after training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pandas as pd
import torch

from msff.files import locked
from msff.models.registry import AUXILIARY, build, method_of
from msff.study.data import StudyData
from msff.study.grid import find, helper
from msff.study.machine import progress_file
from msff.study.procedures import Phases, Procedure, procedure
from msff.study.store import Experiment
from msff.training.checkpoint import discard_stale, load_checkpoint
from msff.training.loop import count_epochs, fit


class StudyWeights(StudyData):
    """What a profile's experiments are, and their networks before and after training."""

    def experiment(self, run_id: str) -> Experiment:
        return find(self.profile, run_id)

    def procedure(self, experiment: Experiment) -> Procedure:
        """How the experiment is trained."""
        return procedure(experiment, self.profile)

    def phases(self, experiment: Experiment) -> Phases:
        """The schedule of the experiment's training."""
        return self.procedure(experiment).phases(None)

    def config(self, experiment: Experiment) -> dict:
        """Everything that changes the run's numbers, as plain JSON values."""
        method, how = method_of(experiment.method), self.procedure(experiment)
        sizes = dataclasses.asdict(self.profile.network)
        config = {"network": {key: sizes[key] for key in method.sizes}, "supersample": self.profile.supersample}
        config |= {"recipe": how.recipe} if method.single_hand else how.recipe
        if experiment.method not in AUXILIARY:
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

    def network(self, experiment: Experiment) -> torch.nn.Module:
        """The untrained network on the study's device; its initial weights depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(experiment.seed)
            return build(experiment.method, experiment.variant, self.profile.network).to(self.device)

    def trained_network(self, experiment: Experiment) -> torch.nn.Module:
        """The network with its trained weights; trained now, without a run, if they are not here."""
        if self.engine.agreed(self.trained(experiment)):
            return self._load(experiment)
        return self._train(experiment, resume=True)[0]

    def _load(self, experiment: Experiment) -> torch.nn.Module:
        model = self.network(experiment)
        model.load_state_dict(load_checkpoint(self.checkpoint_path(experiment), self.device)["model"])
        return model

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

    @contextmanager
    def _alone(self, lock: Path) -> Iterator[None]:
        """``alone``, with the lock taken by the first process for all: the others would wait for it for ever."""
        with locked(lock) if self.engine.is_first else nullcontext():
            self.engine.barrier()
            yield
