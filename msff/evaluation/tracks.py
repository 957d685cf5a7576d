"""Evaluation tracks: which ground truth a prediction may use at test time.

T0 is a method's own protocol, for comparison with its published figure; its inputs differ by method, see
``PAPER_PROTOCOLS``. T1 and T2 are one protocol for all methods. T1 gives wrist depth, scale and handedness to those
that use them; T2, which alone ranks them, gives none of the three. The heat-map networks, whose crops show the whole
image, get the inputs in ``TRACKS``; those of the methods with one hand per crop depend on the method
(`msff.study.predict.test_time_inputs`).
"""

from __future__ import annotations

from dataclasses import dataclass

from msff.choices import require

_CHOICES = {
    "crop": ("true box", "true box per hand", "true joints", "found", "unknown"),
    "intrinsics": ("true", "none", "unknown"),
    "root_depth": ("true", "box", "network", "own", "none", "unknown"),
    "scale": ("true bone", "training mean", "none", "unknown"),
    "side_input": ("true", "predicted", "none", "unknown"),
    "side_slot": ("true", "predicted", "unknown"),
}


@dataclass(frozen=True)
class TestTimeInputs:
    """Source of each quantity at test time. "true": the annotation; "none": the quantity is not used."""

    __test__ = False  # stops pytest from collecting this class as tests

    crop: str  # around the annotated box, one annotated box per hand, the annotated joints, or a segmented hand
    intrinsics: str  # the camera matrix
    root_depth: str  # absolute depth of the wrists, which fixes the metric scale: annotated, from the box size, from
    # RootNet, from the method itself, or "none" because the output is relative to the hand
    scale: str  # "GT S" of Table 1: the prediction is rescaled to the true bone length or to the training mean
    side_input: str  # "GT H" of Table 1: the handedness is an input of the network, annotated or from a classifier
    side_slot: str  # which hand's 21 outputs are scored

    def __post_init__(self):
        for name, choices in _CHOICES.items():
            require(self, name, one_of=choices)


def _heat_map_inputs(root_depth: str) -> TestTimeInputs:
    return TestTimeInputs("true box", "true", root_depth, scale="none", side_input="none", side_slot="true")


TRACKS = {"T1": _heat_map_inputs("true"), "T2": _heat_map_inputs("box")}
"""The inputs of the heat-map networks by track. They use neither handedness nor scale; separate metrics cover both:
``*_pred_side`` takes the slot of the predicted handedness, ``*_scaled`` aligns the scale. The wrist depth of T2 comes
from the box size; with RootNet the predictions record ``root_depth`` "network" instead."""


PAPER_TRACK = "T0"
RANKING_TRACK = "T2"
TRACK_NAMES = (PAPER_TRACK, *TRACKS)


@dataclass(frozen=True)
class PaperProtocol:
    """How one row of Table 1 was evaluated, where known: its metric and its inputs (track T0)."""

    inputs: TestTimeInputs
    metric: str | None  # a name in ``Evaluation.errors``; None if no public source gives it
    source: str

    @property
    def own_metric(self) -> str | None:
        """The metric for a reproduction, whose predictions are already in true scale."""
        return self.metric and self.metric.removesuffix("_scaled")


_UNKNOWN = TestTimeInputs("unknown", "unknown", "unknown", "unknown", "unknown", "unknown")
_ZB = TestTimeInputs("true joints", "none", "none", "true bone", "true", "true")

PAPER_PROTOCOLS = {
    "posenet": PaperProtocol(
        _ZB, "palm21_vis_scaled", "lmb-freiburg/hand3d, eval_full.py; crop and side as Table 1 marks"
    ),
    "chen": PaperProtocol(_ZB, "palm21_scaled", "Kuzphi/UniversalHand3dFrame, state of November 2018"),
    "yang": PaperProtocol(
        TestTimeInputs("unknown", "unknown", "none", "true bone", "true", "unknown"), None,
        "Table 1's marks; no public code",
    ),
    "spurr": PaperProtocol(
        TestTimeInputs("true joints", "none", "none", "none", "none", "true"), "palm21_vis",
        "spurra/vae-hands-3d, evaluate_model.py",
    ),
    "internet": PaperProtocol(
        TestTimeInputs("true box", "true", "network", "none", "none", "true"), "wrist21",
        "facebookresearch/InterHand2.6M, data/RHD/dataset.py",
    ),
    "song": PaperProtocol(_UNKNOWN, None, "no public text with a result on RHD was found"),
    "msff": PaperProtocol(
        TestTimeInputs("unknown", "true", "unknown", "none", "none", "unknown"), "wrist21",
        "presumed to be InterNet's, whose output it has; the paper does not say",
    ),
}  # fmt: skip
"""By the method's name in the registry."""
