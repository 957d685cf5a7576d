"""Song-S at test time: weights and limits of its optimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from msff.choices import open_choice, require

TERMS = ("reprojection", "outside", "pull", "bones", "angles")


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
        require(self, *TERMS, "steps", "plane_slack_deg", at_least=0)
        require(self, "learning_rate", "huber_box", "samples_per_bone", "least_bins", "amplitude", above=0)
        require(self, "matching", one_of=("finger", "hand"))
        if self.flexion_deg[0] >= self.flexion_deg[1]:
            raise ValueError(f"RefineConfig.flexion_deg must be (least, most), got {self.flexion_deg}")
