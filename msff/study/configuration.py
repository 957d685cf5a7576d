"""The configuration of an experiment, everything that affects its numbers, and the hash that identifies it."""

from __future__ import annotations

import dataclasses
import hashlib
import json

from msff.models.registry import AUXILIARY, method_of
from msff.study.experiment import Experiment
from msff.study.grid import auxiliary_of
from msff.study.procedures import procedure
from msff.study.project import Project


def config(project: Project, experiment: Experiment) -> dict:
    """Return everything that affects the run's numbers, as plain JSON values."""
    profile, method = project.profile, method_of(experiment.method)
    how = procedure(experiment, profile)
    sizes = dataclasses.asdict(profile.network)
    found = {"network": {key: sizes[key] for key in method.sizes}, "supersample": profile.supersample}
    found |= {"recipe": how.recipe} if method.single_hand else how.recipe
    if experiment.method not in AUXILIARY:
        source = profile.root_depth.source
        rootnet = auxiliary_of(profile, experiment.dataset, "rootnet")
        depth = {} if source == "box" else _other_run(project, rootnet, "helper")
        found["root_depth"] = {"source": source} | depth
    if how.needs_handedness:
        found["side"] = _other_run(project, auxiliary_of(profile, experiment.dataset, "sidenet"))
    if how.start_from is not None:
        found["start"] = _other_run(project, how.start_from)
    found |= {key: getattr(experiment, key) for key in ("dataset", "method", "variant", "seed")}
    found |= {"data": project.data_config(experiment.dataset), "method_version": method.version}
    return json.loads(json.dumps(found))


def _other_run(project: Project, other: Experiment, key: str = "run_id") -> dict:
    return {key: other.run_id, "config_hash": config_hash(project, other)}


def config_hash(project: Project, experiment: Experiment) -> str:
    """Return 12 hex digits that change with anything that affects the run's numbers."""
    text = json.dumps(config(project, experiment), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
