"""A study small enough for a unit test: smoke with a handful of images and two epochs, its depth from RootNet."""

import dataclasses
import shutil
from pathlib import Path

from msff.study.experiment import Study
from msff.study.profiles import PROFILES, RootDepthSpec

ROOT = Path(__file__).parents[1]


def tiny_study(root: Path) -> Study:
    """A project folder of its own in ``root``, with the real notebooks and a shrunken smoke profile."""
    (root / "notebooks").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "_config.yml", root)
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, root / "notebooks")
    study = Study("smoke", root, device="cpu")
    smoke = PROFILES["smoke"]
    short = {"epochs": 2, "batch_size": 4, "decay_epochs": (1,)}
    training = dataclasses.replace(smoke.training, **short)
    root_depth = RootDepthSpec("network", dataclasses.replace(smoke.root_depth.training, **short))
    data = dataclasses.replace(smoke.data, train=12, test=6, size=96)
    study.profile = dataclasses.replace(smoke, training=training, root_depth=root_depth, data=data)
    return study
