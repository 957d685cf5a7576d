"""A study small enough for a unit test: the smoke profile with a handful of images and two epochs."""

import dataclasses
import shutil
from pathlib import Path

from msff.study.experiment import Study
from msff.study.profiles import PROFILES

ROOT = Path(__file__).parents[1]


def tiny_study(root: Path) -> Study:
    """A project folder of its own in ``root``, with the real notebooks and a shrunken smoke profile."""
    (root / "notebooks").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "_config.yml", root)
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, root / "notebooks")
    study = Study("smoke", root, device="cpu")
    smoke = PROFILES["smoke"]
    training = dataclasses.replace(smoke.training, epochs=2, batch_size=4, decay_epochs=(1,))
    data = dataclasses.replace(smoke.data, train=12, test=6, size=96)
    study.profile = dataclasses.replace(smoke, training=training, data=data)
    return study
