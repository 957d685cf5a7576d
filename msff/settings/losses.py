"""The losses of every method: weights, targets and augmentation in training; Song-S's energy at test time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from msff.choices import open_choice, require

VOLUME_LOSSES = ("mse", "integral")
SONG_TERMS = ("heat_map", "part", "joint", "side", "depth")
REFINE_TERMS = ("reprojection", "outside", "pull", "bones", "angles")


@dataclass(frozen=True)
class LossConfig:
    """Which volume loss, and the weights. The paper states none; the defaults are InterNet's."""

    volume: Literal["mse", "integral"] = open_choice(  # Gaussian heat maps, or integral regression
        "mse", tag="D28",
        source="No loss function.",
        reason="\"Gaussian heat map\" names a target, and InterNet's squared error fits it. "
        "The profiles for CPUs train with \"integral\", which needs far fewer steps.",
    )  # fmt: skip
    volume_weight: float = open_choice(1.0, source="No loss weights.", reason="InterNet's 1 : 1 : 1.", tag="D29")
    side_weight: float = open_choice(
        1.0, tag="D30",
        source="No loss weights.",
        reason="InterNet's 1 : 1 : 1. With \"integral\", measured in bins, handedness weighs more than with \"mse\". "
        "Not tuned.",
    )  # fmt: skip
    root_weight: float = open_choice(1.0, source="No loss weights.", reason="As D30.", tag="D31")

    def __post_init__(self):
        require(self, "volume", one_of=VOLUME_LOSSES)
        require(self, "volume_weight", "side_weight", "root_weight", at_least=0)


@dataclass(frozen=True)
class RootLossConfig:
    """Weights of the terms of the L1; the source names the terms only."""

    xy_weight: float = 1.0  # of x and y in bins of the heat map
    depth_unit_mm: float = 1.0  # the depth counts in this unit against x and y; k is in mm, so 1 is the plain reading

    def __post_init__(self):
        require(self, "xy_weight", at_least=0)
        require(self, "depth_unit_mm", above=0)


@dataclass(frozen=True)
class Pose2DConfig:
    """The score maps that PoseNet2D learns."""

    sigma_px: float = open_choice(  # in a crop of 256 px
        25.0, "released code",
        "exp(-d^2 / sigma^2), without the usual 2, in a crop of 256 px; scaled to the crop. The lifting learns on maps "
        "of the same sigma.",
    )  # fmt: skip
    joint_noise_px: float = 2.5  # deviation of the truncated normal on each joint, px of the image
    visible_offset: float = 1e-3  # added to the number of visible joints, by which the loss is divided

    def __post_init__(self):
        require(self, "sigma_px", "visible_offset", above=0)
        require(self, "joint_noise_px", at_least=0)


@dataclass(frozen=True)
class JitterConfig:
    """Noise on the joints from which lifting is trained: standard deviations of truncated normals in px of the image,
    since the authors' code adds them before cropping; the order of shift and magnification is ours."""

    joint_px: float = 2.5  # each joint
    centre_px: float = 20.0  # the crop's centre; the crop grows so that everything stays inside
    offset_px: float = 10.0  # the crop's centre again, without growing: joints may fall outside
    zoom: tuple[float, float] = (1.0, 1.2)  # further magnification of the crop, uniform

    def __post_init__(self):
        object.__setattr__(self, "zoom", tuple(self.zoom))
        require(self, "joint_px", "centre_px", "offset_px", at_least=0)
        if len(self.zoom) != 2 or not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"JitterConfig.zoom must be two increasing positive numbers, got {self.zoom}")


@dataclass(frozen=True)
class TonalityConfig:
    """Everything here is this study's choice: the source's generator is a trained network."""

    share: float = open_choice(0.5, "own choice", "Half of each batch stays as it is.")  # rounded down
    # width over which a hand fades into the background
    feather_px: float = open_choice(2.5, "own choice", "In a crop of 256 px; hides the cut.")
    # of the transfer, uniform: 0 keeps the hand's own tones
    strength: tuple[float, float] = open_choice(
        (0.5, 1.0), "own choice", "From half of the background's tonality to all of it."
    )
    # of deviation ratios
    gain_limit: float = open_choice(3.0, "own choice", "A flat hand on a busy background would turn to noise.")

    def __post_init__(self):
        object.__setattr__(self, "strength", tuple(self.strength))
        require(self, "share", at_least=0, at_most=1)
        require(self, "feather_px", above=0)
        require(self, "gain_limit", at_least=1)
        if len(self.strength) != 2 or not 0 <= self.strength[0] <= self.strength[1] <= 1:
            raise ValueError(f"TonalityConfig.strength must be two increasing numbers in [0, 1], got {self.strength}")


def _check_weights(config) -> None:
    require(config, *(f.name for f in fields(config)), at_least=0)


@dataclass(frozen=True)
class SpurrLossConfig:
    """Weights relative to the pose that is estimated from the image."""

    beta: float = open_choice(  # of both divergences
        0.01, "own choice",
        "No weight of the KL term is public. The profiles for CPUs have 0.001, which had a lower error than 0.01 on "
        "held-out training images of the profile cpu.",
    )  # fmt: skip
    pose_weight: float = open_choice(  # of the pose that is encoded and decoded
        1.0, "memory, low",
        "Both paths in every step, with equal weights. The authors alternate the pairs of modalities.",
    )  # fmt: skip
    image_weight: float = 0.01  # of a decoded image; unused, and part of the configuration hash of stored runs

    __post_init__ = _check_weights


@dataclass(frozen=True)
class YangLossConfig:
    """Weights of the terms."""

    beta: float = open_choice(0.001, "own choice", "No weight of the KL terms is known.")  # of the divergences
    # of p, c and v (lambda_v)
    pose_weight: float = open_choice(1.0, "own choice", "No weights are known: all reconstructions alike.")
    canonical_weight: float = open_choice(1.0, "own choice", "No weights are known: all reconstructions alike.")
    view_weight: float = open_choice(1.0, "own choice", "No weights are known: all reconstructions alike.")
    image_weight: float = 0.01  # as for Spurr

    __post_init__ = _check_weights


@dataclass(frozen=True)
class SongLossConfig:
    """Weights that bring every term of an untrained network to 0.3 to 1; the specification has only that of parts."""

    # an empty map is off by pi sigma^2 / 64^2 = 0.003 in the mean square
    heat_map_weight: float = open_choice(100.0, "own choice", "An empty map costs 0.003: brought to 0.3.")
    part_weight: float = open_choice(0.1, "own choice", "Equal guesses cost ln 17 = 2.8: brought to 0.3.")
    joint_weight: float = open_choice(1.0, "own choice", "Per decimetre.")
    side_weight: float = open_choice(1.0, "own choice", "Equal guesses cost ln 2 = 0.7.")
    depth_weight: float = open_choice(1.0, "own choice", "Per decimetre, as the joints.")
    # of the heat maps: standard deviation and peak
    sigma_bin: float = open_choice(2.0, "own choice", "Of 64 bins, the habit of 2D pose networks.")
    amplitude: float = open_choice(1.0, "own choice", "A map's peak is then its confidence.")

    def __post_init__(self):
        require(self, *(f"{term}_weight" for term in SONG_TERMS), at_least=0)
        require(self, "sigma_bin", "amplitude", above=0)


@dataclass(frozen=True)
class RefineConfig:
    """Weights and steps are specified for the surrogate, the rest is not. Freeze them on held-out training images."""

    steps: int = open_choice(100, "own choice", "Adam.")
    learning_rate: float = open_choice(0.01, "own choice", "In dm: 1 mm per step.")
    reprojection: float = open_choice(1.0, "own choice", "The weight that the others are measured by.")
    outside: float = open_choice(0.5, "own choice", "Parts are coarser than joints.")
    pull: float = open_choice(1.0, "own choice", "Keeps the regressed hand where the image gives no evidence.")
    bones: float = open_choice(10.0, "own choice", "Shares of bones vary little between hands.")
    angles: float = open_choice(1.0, "own choice", "Per squared radian of excess.")
    # in sides of the crop: from here on errors count linearly, slope 1; a bin of the maps is 1/64
    huber_box: float = open_choice(0.02, "own choice", "About a bin of the maps: beyond it errors count linearly.")
    samples_per_bone: int = open_choice(5, "own choice", "Dense enough for the parts' bins.")
    # parts that a bone must lie on; "hand" tolerates hidden fingers
    matching: Literal["finger", "hand"] = open_choice("finger", "own choice", "A bone is compared with its own finger.")
    # of 64 x 64: a smaller finger or palm does not constrain its bones
    least_bins: int = open_choice(8, "own choice", "A smaller part is noise.")
    # positive towards the palm
    flexion_deg: tuple[float, float] = open_choice((-25.0, 110.0), "own choice", "Generous limits of MCP, PIP and DIP.")
    # how far PIP and DIP may bend out of the finger's flexion plane
    plane_slack_deg: float = open_choice(15.0, "own choice", "PIP and DIP are nearly hinges.")
    # False if the wrist's depth is given (track T1)
    free_depth: bool = open_choice(True, "own choice", "The wrist's depth moves with the joints where it is not given.")
    amplitude: float = open_choice(1.0, "own choice", "The loss's.")  # the heat maps' peak in training

    def __post_init__(self):
        object.__setattr__(self, "flexion_deg", tuple(self.flexion_deg))  # from JSON it comes as a list
        require(self, *REFINE_TERMS, "steps", "plane_slack_deg", at_least=0)
        require(self, "learning_rate", "huber_box", "samples_per_bone", "least_bins", "amplitude", above=0)
        require(self, "matching", one_of=("finger", "hand"))
        if self.flexion_deg[0] >= self.flexion_deg[1]:
            raise ValueError(f"RefineConfig.flexion_deg must be (least, most), got {self.flexion_deg}")
