"""A tiny study whose trainings, pages and pictures are made up, for the tests of slices and archives."""

import dataclasses
import json
import time
import uuid

import pandas as pd
import pytest
from make_results import make_predictions, make_truth
from tiny_study import tiny_study

from msff.models.registry import AUXILIARY
from msff.study import execute
from msff.study.experiment import Study

PAGE = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
EPOCH = {"epoch": [1, 2], "phase": ["all", "all"], "loss": [2.0, 1.0], "images_per_s": [10.0, 10.0], "seconds": 1.2}


def fake_run(study, experiment, resume=True, **record):
    """A stored run of today's configuration: 12 images at 10 images/s, twice, and half a second of other work."""
    predictions = None
    if experiment.method not in AUXILIARY:
        predictions = make_predictions(make_truth(experiment.dataset, 8), 5.0, experiment.seed)
    value = {
        "run_id": experiment.run_id, "uid": uuid.uuid4().hex, "experiment": dataclasses.asdict(experiment),
        "config": study.config(experiment), "config_hash": study.config_hash(experiment), "seconds": 2.9,
        "train_seconds": 2.4, "images_per_s": 10.0, "device": "cpu", "hardware": "made up", "finished": time.time(),
        "metrics": {}, "macs": 1_000_000, "test_images": study.profile.data.test,
    }  # fmt: skip
    return study.store.save_run(experiment, value | record, pd.DataFrame(EPOCH), predictions)


def fake_truth(study, dataset):
    if study.store.truth_source(dataset) != study.test_config(dataset):
        study.store.save_truth(make_truth(dataset, 8), study.test_config(dataset))
    return study.store.truth(dataset)


def fake_page(study, step):
    """What the execution of a notebook leaves."""
    for run in step.experiments:
        if (step.trains or step.stage == 0) and study.finished(run) is None:
            fake_run(study, run)
    path = execute.output_path(study, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(PAGE))
    execute._stamp(path, study, step, 4.9)


@pytest.fixture
def make_study(tmp_path, monkeypatch):
    """Makes projects by name; ``events`` tells what was rendered, trained and executed, in its order."""
    monkeypatch.delenv("MSFF_REALWORLD", raising=False)
    events = []
    monkeypatch.setattr(execute, "_execute", lambda study, step: events.append(step.name) or fake_page(study, step))
    monkeypatch.setattr(Study, "make_data", lambda self, dataset: events.append(f"data {dataset}"))
    monkeypatch.setattr(Study, "truth", fake_truth)
    monkeypatch.setattr(Study, "run", lambda self, e, resume=True: events.append(e.run_id) or fake_run(self, e))
    monkeypatch.setattr(Study, "trained", lambda self, e: self.store.get(e) is not None)

    def make(name="here"):
        return tiny_study(tmp_path / name)

    make.events = events
    return make
