"""The profiles: how large the study is, from a smoke test to the paper's own scale. Literal values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from msff.choices import require
from msff.models.registry import FACTORIAL, READINGS
from msff.settings.losses import LossConfig, RootLossConfig, SpurrLossConfig
from msff.settings.networks import LITE0, RESNET18, BackboneConfig, NetworkConfig, VolumeSpec
from msff.settings.training import AugmentConfig, SpeedConfig, TrainingConfig
from msff.study.recipes import ChenRecipe, HandRecipes, PoseNetRecipe, SongRecipe, SpurrRecipe, YangRecipe


@dataclass(frozen=True)
class DataSpec:
    """Which images. Counts and size concern the stand-in; real datasets are read as they are."""

    datasets: tuple[str, ...] = ("standin-rhd", "standin-interhand")
    train: int = 20_000
    test: int = 1_000
    size: int | None = None  # frame height in px; None: the official size
    seed: int = 0
    held_out: float = 0.0  # share of the training images, the last ones, that takes the place of the test part


def _root_training(**changes) -> TrainingConfig:
    """Return RootNet's own recipe with changes. Crops are neither shifted nor scaled, since k comes from the box."""
    augment = AugmentConfig(shift=0.0, scale=0.0, rotation_deg=30.0)
    recipe = {"batch_size": 32, "epochs": 20, "learning_rate": 1e-3, "decay_epochs": (17,), "augment": augment}
    return TrainingConfig(**recipe | changes)


@dataclass(frozen=True)
class RootDepthSpec:
    """Track T2's absolute wrist depth: from one RootNet for all methods, or from the box-size model."""

    source: Literal["network", "box"] = "network"
    training: TrainingConfig = field(default_factory=_root_training)  # of the network
    loss: RootLossConfig = field(default_factory=RootLossConfig)

    def __post_init__(self):
        require(self, "source", one_of=("network", "box"))
        augment = self.training.augment
        if augment is not None and (augment.shift or augment.scale):
            raise ValueError(
                "RootNet's augmentation must neither shift nor scale the box, from which k is computed, "
                f"got shift={augment.shift} and scale={augment.scale}"
            )


@dataclass(frozen=True)
class Block:
    """Runs of equal priority: every row at every seed on every layout, seed by seed.

    A row is "method" for the variant that stands for the method in tables, else "method/variant".
    """

    rows: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    layouts: tuple[str, ...] = ("rhd", "interhand")
    purpose: str = ""  # in a few words, for the list of what is missing


RHD, INTERHAND = ("rhd",), ("interhand",)
BASELINE_RUNS = Block(("mean-pose", "oracle"), purpose="baselines")
"""Mean pose and lower bound, one seed each: neither is random."""
TABLE1 = ("msff", "internet", "posenet", "chen", "spurr", "yang", "song")
"""The rows of Table 1, by priority."""
ABLATED = tuple(f"msff/{variant}" for variant in FACTORIAL if variant != "full")
OTHER_READINGS = tuple(f"msff/{variant}" for variant in READINGS if variant != "printed")
"""The whole of MS-FF by other readings of its text; Eq. (4) as printed is one of ``EXTRAS``."""
LADDER = ("msff/bare", "msff/ccm", "msff/no-lom")
"""MS-FF module by module, as the notebooks build it, up to "full"."""
EXTRAS = (
    "msff/printed", "chen/plain", "song/regressed", "spurr/side", "spurr/scale", "spurr/scale-side",
    "posenet/segmented",
)  # fmt: skip
"""Variants that measure the methods' own claims."""
SCHEDULE_EXTRAS = ("msff/batch-x4", "internet/batch-x4", "msff/images-x2", "internet/images-x2")
"""Does the batch size matter, and what does more training give?"""
NATIVE_RUNS = Block(
    tuple(f"{method}/native" for method in ("internet", "posenet", "chen", "spurr", "yang")), (0, 1, 2), RHD
)
"""The papers' own recipes, for real data in RHD's layout."""


def _every_seed(seeds: tuple[int, ...], extras: tuple[str, ...]) -> tuple[Block, ...]:
    """Return Table 1, the factorial and ``extras`` at the first seed, then Table 1 and the factorial at the others."""
    first, others = seeds[:1], seeds[1:]
    blocks = [BASELINE_RUNS, Block(TABLE1[:3], first), Block(ABLATED, first, RHD), Block(TABLE1[3:], first)]
    blocks += [Block(extras, first, RHD)] if extras else []
    return *blocks, *(block for seed in others for block in (Block(TABLE1, (seed,)), Block(ABLATED, (seed,), RHD)))


@dataclass(frozen=True)
class Profile:
    """Everything that a run's numbers depend on, apart from dataset, method, variant and seed; and its speed."""

    name: str
    purpose: str
    budget: str
    data: DataSpec
    network: NetworkConfig
    training: TrainingConfig
    loss: LossConfig = field(default_factory=LossConfig)  # of the heat-map networks
    recipes: HandRecipes = field(default_factory=HandRecipes)  # of the single-hand methods
    root_depth: RootDepthSpec = field(default_factory=RootDepthSpec)
    decoder: str = "argmax"  # "argmax" as InterNet; "expectation" (soft-arg-max) goes with the integral loss
    supersample: int = 1  # crops are sampled this much finer and averaged, against aliasing in small crops
    grid: tuple[Block, ...] = _every_seed((0,), ())  # its runs, by priority
    rates: Mapping[str, float] = field(default_factory=dict)  # "method" or "method/variant" -> its own learning rate
    pilot: TrainingConfig | None = None  # the schedule on which the rates are tuned; None: the whole one
    speed: SpeedConfig = field(default_factory=SpeedConfig)  # how fast, on a device that can; no part of a run's hash

    @property
    def seeds(self) -> tuple[int, ...]:
        """Return all seeds of the grid, in order."""
        return tuple(sorted({seed for block in self.grid for seed in block.seeds}))

    def rate(self, method: str, variant: str) -> float:
        """Return a heat-map network's learning rate: its own if the profile has tuned one, else the training's.

        The variant "other-rate" of MS-FF has InterNet's, and the other way round.
        """
        if variant == "other-rate":
            return self.rate("internet" if method == "msff" else "msff", "full")
        return self.rates.get(f"{method}/{variant}", self.rates.get(method, self.training.learning_rate))

    def target(self, variant: str) -> tuple[LossConfig, str]:
        """Return the loss and the decoder of a heat-map network; "gaussian..." learns the volumes of Eq. (15)."""
        if variant.startswith("gaussian"):
            return replace(self.loss, volume="mse"), "subvoxel"
        return self.loss, self.decoder

    @property
    def volume(self) -> VolumeSpec:
        """Return the heat-map volume of the network's crop and bins; sigma is 2.5/64 of the volume."""
        bins = self.network.bins
        return VolumeSpec(bins=bins, crop_size=self.network.crop_size, sigma_bin=2.5 * bins / 64)


def _slim(crop_size: int, width: int, blocks: tuple[int, ...], channels: int) -> NetworkConfig:
    return NetworkConfig(
        crop_size=crop_size,
        bins=crop_size // 4,
        backbone=BackboneConfig(block="basic", width=width, blocks=blocks),
        pyramid_channels=channels,
        deconv_channels=channels,
        head_hidden=2 * channels,
        backbone18=BackboneConfig(block="basic", width=width, blocks=blocks),
        vae_hidden=128,
        posenet_width=width / 120,
    )


# What the small profiles change in order to learn within a minute: heat maps trained on Gaussian targets are still
# noise by then, and a depth network is worse than the box-size model, most of all if all cameras are equally far.
_INTEGRAL = LossConfig(volume="integral")
_MILD = AugmentConfig(rotation_deg=20.0)
_SHORT_ROOT = {"batch_size": 16, "learning_rate": 3e-3}
_ROOT_LOSS = RootLossConfig(depth_unit_mm=100.0)


def _short(epochs: int, images: int) -> HandRecipes:
    """Return a minute's training of the single-hand methods; ``epochs`` of ``images`` for the shortest of them.

    The rates and Spurr's beta are the best of `msff.study.tuning` in the profile "cpu", on held-out training images.
    The epochs give each method about MS-FF's time; those of PoseNet, Spurr and Yang were raised after a look at test
    errors on rendered hands. PoseNet has no batch norm and needs many steps; Yang's pose codes are trained without
    images.
    """

    def schedule(times: float, rate: float, batch_size: int = 16, optimizer: str = "adam") -> TrainingConfig:
        count = round(times * epochs)
        decays = sorted({count * 2 // 3, count * 8 // 9} - {0})
        return TrainingConfig(
            batch_size, count, rate, tuple(decays), images_per_epoch=images, optimizer=optimizer, augment=_MILD
        )

    return HandRecipes(
        posenet=PoseNetRecipe(schedule(3, 1e-3, 8), schedule(8, 1e-3, 32), schedule(1, 1e-3, 8)),
        chen=ChenRecipe(schedule(1, 3e-5, optimizer="rmsprop")),
        spurr=SpurrRecipe(schedule(6, 1e-3), SpurrLossConfig(beta=1e-3)),
        yang=YangRecipe(schedule(12, 1e-3, 64), schedule(6, 1e-3)),
        song=SongRecipe(schedule(3, 3e-3)),
        sidenet=schedule(3, 1e-3),
    )


_SCRATCH = TrainingConfig(batch_size=32, epochs=20, learning_rate=1e-3, decay_epochs=(15, 17))
_LONG = replace(_SCRATCH, images_per_epoch=6_000, learning_rate=5e-4)
_LONG_NETWORK = replace(_slim(96, 32, (2, 2, 2, 2), 64), backbone=LITE0, backbone18=LITE0)
_GPU = TrainingConfig(images_per_epoch=4_000)
_FAST = SpeedConfig("bf16", compile=True)
_SEEDS = (0, 1, 2)

PROFILES = {
    "smoke": Profile(
        name="smoke",
        purpose="tests, nbval and CI: every part at its smallest",
        budget="6 minutes on 2 cores",
        data=DataSpec(train=384, test=96, size=160),
        network=_slim(64, 16, (1, 1, 1, 1), 32),
        training=TrainingConfig(batch_size=16, epochs=8, learning_rate=3e-3, decay_epochs=(6, 7), augment=_MILD),
        loss=_INTEGRAL,
        recipes=_short(1, 384),
        root_depth=RootDepthSpec("box", _root_training(epochs=16, decay_epochs=(11, 14), **_SHORT_ROOT), _ROOT_LOSS),
        decoder="expectation",
        grid=(BASELINE_RUNS, Block(TABLE1[:3]), Block(LADDER, layouts=RHD), Block(TABLE1[3:])),
    ),
    "cpu": Profile(
        name="cpu",
        purpose="your own check on a machine without a GPU: MS-FF module by module, and InterNet",
        budget="25 minutes of training on 2 cores",
        data=DataSpec(train=1_000, test=200),
        network=replace(_slim(64, 24, (1, 1, 1, 1), 48), backbone=LITE0, backbone18=LITE0),
        training=TrainingConfig(batch_size=16, epochs=27, learning_rate=7e-4, decay_epochs=(20, 24), augment=_MILD),
        loss=_INTEGRAL,
        recipes=_short(3, 1_000),
        root_depth=RootDepthSpec("box", _root_training(epochs=9, decay_epochs=(6, 8), **_SHORT_ROOT), _ROOT_LOSS),
        decoder="expectation",
        supersample=2,
        grid=(
            BASELINE_RUNS,
            Block(TABLE1[:2], purpose="MS-FF against InterNet"),
            Block(LADDER, layouts=RHD, purpose="module by module"),
        ),
    ),
    "cpu-scratch": Profile(
        name="cpu-scratch",
        purpose="slim networks without ImageNet weights; no more runs are planned",
        budget="about an hour per run on one core",
        data=DataSpec(train=10_000, test=1_000),
        network=_slim(96, 32, (2, 2, 2, 2), 64),
        training=_SCRATCH,
        loss=_INTEGRAL,
        recipes=HandRecipes.alike(_SCRATCH, chen_rate=1e-4, spurr=SpurrRecipe(_SCRATCH, SpurrLossConfig(beta=1e-3))),
        decoder="expectation",
        supersample=2,
        grid=(
            BASELINE_RUNS,
            Block(TABLE1[:3]),
            Block(("msff/no-grm",), layouts=RHD),
            Block(TABLE1[:2], (1,), RHD),
        ),
        speed=_FAST,
    ),
    "cpu-long": Profile(
        name="cpu-long",
        purpose="the evidence: networks with ImageNet weights, MS-FF and InterNet each at its best rate",
        budget="about an hour per run on one core, resumable",
        data=DataSpec(train=10_000, test=3_000),
        network=_LONG_NETWORK,
        training=_LONG,
        loss=_INTEGRAL,
        recipes=HandRecipes.alike(_LONG, chen_rate=1e-4, spurr=SpurrRecipe(_LONG, SpurrLossConfig(beta=1e-3))),
        root_depth=RootDepthSpec(training=_root_training(learning_rate=5e-4, images_per_epoch=4_000)),
        decoder="expectation",
        supersample=2,
        grid=(
            replace(BASELINE_RUNS, layouts=RHD),
            Block(("msff/bare", "msff", "internet"), _SEEDS, RHD, "MS-FF against InterNet"),
            Block(ABLATED[1:], _SEEDS, RHD, "each module alone and left out"),
            Block(("msff/grm-norm", "msff/no-grm-norm", "msff/bare-norm"), _SEEDS, RHD, "batch norm in the pyramid"),
            Block(("msff/gaussian", "internet/gaussian"), _SEEDS, RHD, "Gaussian volumes of Eq. (15)"),
            Block(("msff/gaussian-bare",), _SEEDS, RHD, "the modules with Gaussian volumes"),
            Block(("msff/gaussian-norm",), layouts=RHD, purpose="batch norm and Gaussian volumes"),
            Block(TABLE1[2:], layouts=RHD, purpose="the other methods of Table 1"),
            Block(("spurr",), _SEEDS, RHD, "MS-FF against Spurr"),
            Block(OTHER_READINGS, layouts=RHD, purpose="other readings of the text"),
            Block(("msff/one-scale",), layouts=RHD, purpose="a single scale"),
            Block(("msff/scratch", "internet/scratch", "msff/scratch-bare"), _SEEDS, RHD, "without ImageNet weights"),
            Block(("msff/scratch-x2", "internet/scratch-x2"), layouts=RHD, purpose="without them, twice as long"),
            Block(("msff/other-rate", "internet/other-rate"), _SEEDS, RHD, "each at the other's learning rate"),
            replace(BASELINE_RUNS, layouts=INTERHAND, purpose="baselines, two hands"),
            Block(("msff", "internet", "msff/bare"), _SEEDS, INTERHAND, "MS-FF against InterNet, two hands"),
            Block(TABLE1[2:], (0, 1), purpose="the other methods, second seed and two hands"),
            Block(EXTRAS, layouts=RHD, purpose="what the methods claim about themselves"),
            Block(("msff/epochs-x2", "internet/epochs-x2"), layouts=RHD, purpose="twice as long"),
        ),
        # The lowest held-out errors of `msff study tune`; MS-FF's is that of the training.
        rates={
            "internet": 1e-3,
            "msff/gaussian": 2e-3,
            "internet/gaussian": 2e-3,
            "msff/gaussian-bare": 2e-3,
            "msff/gaussian-norm": 2e-3,
        },
        pilot=replace(_LONG, images_per_epoch=1_200),
    ),
    "gpu": Profile(
        name="gpu",
        purpose="the paper's network and hyper-parameters on the stand-in",
        budget="meant for minutes per run on one large GPU; not measured yet",
        data=DataSpec(train=20_000, test=1_000),
        network=NetworkConfig(),
        training=_GPU,
        recipes=HandRecipes.alike(_GPU, chen_rate=2.5e-5),
        root_depth=RootDepthSpec(training=_root_training(images_per_epoch=4_000)),
        grid=_every_seed(_SEEDS, EXTRAS + SCHEDULE_EXTRAS),
        speed=_FAST,
    ),
    "gpu-short": Profile(
        name="gpu-short",
        purpose="the paper's resolution in fifteen minutes of GPU time: pre-trained trunk, RHD layout",
        budget="meant for 15 minutes on one large GPU; not measured yet",
        data=DataSpec(train=6_000, test=500),
        network=NetworkConfig(backbone=LITE0, backbone18=LITE0),
        training=TrainingConfig(batch_size=32, learning_rate=5e-4, images_per_epoch=2_000),
        loss=_INTEGRAL,
        recipes=HandRecipes.alike(TrainingConfig(images_per_epoch=2_000), chen_rate=2.5e-5),
        root_depth=RootDepthSpec("box"),
        decoder="expectation",
        grid=(
            Block(BASELINE_RUNS.rows, layouts=RHD),
            Block(("internet", "msff", "msff/bare"), _SEEDS, RHD),
            Block(("internet/scratch", "msff/scratch"), layouts=RHD),
            Block(ABLATED[1:], layouts=RHD),
        ),
        speed=_FAST,
    ),
    "paper": Profile(
        name="paper",
        purpose="real RHD and InterHand2.6M on disk, the exact protocol",
        budget="long; not measured",
        data=DataSpec(datasets=("rhd", "interhand26m")),
        network=NetworkConfig(backbone=BackboneConfig(pretrained=True), backbone18=replace(RESNET18, pretrained=True)),
        training=TrainingConfig(),
        grid=(*_every_seed(_SEEDS, EXTRAS), NATIVE_RUNS),
        speed=_FAST,
    ),
}


def get_profile(name: str) -> Profile:
    """Return the profile of that name; ValueError lists the known ones."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}: choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
