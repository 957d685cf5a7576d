"""A study small enough for a unit test: smoke with a handful of images, two epochs per phase and networks of a few
channels; with every variant, and its depth from RootNet."""

import dataclasses
import shutil
from pathlib import Path

from made_once import copy_made_once

from msff.settings.losses import RefineConfig
from msff.settings.networks import BackboneConfig
from msff.study.profiles import EXTRAS, PROFILES, RHD, Block, Profile, RootDepthSpec
from msff.study.recipes import HandRecipes, PoseNetRecipe, SongRecipe, YangRecipe
from msff.study.store import Store
from msff.study.workspace import Workspace

ROOT = Path(__file__).parents[1]
TRUNK = BackboneConfig("basic", 16, (1, 1, 1, 1))  # 8 wide, torch 2.15 crashes at odd batches on two threads
NETWORK = {
    "backbone": TRUNK, "backbone18": TRUNK, "pyramid_channels": 16, "deconv_channels": 16, "head_hidden": 16,
    "vae_hidden": 16, "posenet_width": 0.0625,
}  # fmt: skip
SHORT = {"epochs": 2, "batch_size": 4, "decay_epochs": (1,)}


def tiny_recipes(training) -> HandRecipes:
    """``training`` for every phase of every method of one hand, and three steps of refinement."""
    slow = dataclasses.replace(training, learning_rate=1e-3)
    return HandRecipes.alike(
        training, chen_rate=1e-4, posenet=PoseNetRecipe(slow, slow, slow), yang=YangRecipe(slow, slow),
        song=SongRecipe(training, refine=RefineConfig(steps=3)),
    )  # fmt: skip


def tiny_profile() -> Profile:
    """A shrunken smoke profile."""
    smoke = PROFILES["smoke"]
    training = dataclasses.replace(smoke.training, **SHORT)
    return dataclasses.replace(
        smoke,
        training=training,
        recipes=tiny_recipes(training),
        root_depth=RootDepthSpec("network", dataclasses.replace(smoke.root_depth.training, **SHORT)),
        data=dataclasses.replace(smoke.data, train=12, test=6, size=96),
        network=dataclasses.replace(smoke.network, **NETWORK),
        grid=(*smoke.grid, Block(EXTRAS, layouts=RHD)),
    )


def with_images(workspace: Workspace) -> Workspace:
    """The same project with the images of its profile, rendered once per test session."""
    for dataset in workspace.profile.data.datasets:
        copy_made_once(
            f"tiny/{dataset}",
            lambda folder, name=dataset: Workspace(workspace.profile, folder, "cpu").make_data(name),
            workspace.root,
        )
    return workspace


def tiny_study(root: Path) -> Workspace:
    """A project folder of its own in ``root``, with the real notebooks and a shrunken smoke profile."""
    (root / "notebooks").mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "_config.yml", root)
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(notebook, root / "notebooks")
    return Workspace(tiny_profile(), root, "cpu")


def again(workspace: Workspace, **changes) -> Workspace:
    """The same project in another process, so to say; ``changes`` are fields of its profile."""
    return Workspace(dataclasses.replace(workspace.profile, **changes), workspace.root, "cpu")


def twin(workspace: Workspace, folder: Path) -> Workspace:
    """The same workspace with its images in memory and its auxiliary networks' predictions, but with a store and
    checkpoints of its own in ``folder``."""
    other = again(workspace)
    other.store, other.checkpoints = Store(folder / "smoke"), folder / "checkpoints"
    other._memory = dict(workspace._memory)
    auxiliary = workspace.store.root / "auxiliary"
    if auxiliary.exists() and not other.store.root.exists():
        shutil.copytree(auxiliary, other.store.root / "auxiliary")
    return other
