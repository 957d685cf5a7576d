"""Tracks: what ground truth a number was computed with, each kind named apart.

T0 is a method's own recipe and metric, to compare with its published figure: what it is given differs by method, see
``NATIVE``. T1 and T2 are one protocol for all methods; only T2, where nobody gets scale, side or depth, ranks them.
What they take differs with what a method knows to use: ``TRACKS`` for the heat-map networks, which see whole pictures,
``one_hand_given`` for the methods that see one hand at a time.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

_WORDS = {
    "crop": ("true box", "true box per hand", "true joints", "found", "unknown"),
    "intrinsics": ("true", "none", "unknown"),
    "root_depth": ("true", "box", "network", "own", "none", "unknown"),
    "scale": ("true bone", "training mean", "none", "unknown"),
    "side_input": ("true", "predicted", "none", "unknown"),
    "side_slot": ("true", "predicted", "unknown"),
}


@dataclass(frozen=True)
class Given:
    """Where each quantity came from at test time. "true": from the annotation; "none": not used at all."""

    crop: str  # around the annotated box, around a box for each of two hands, around the annotated joints, or found by
    # a network
    intrinsics: str  # the camera matrix
    root_depth: str  # absolute depth of the wrists, which fixes the metric scale: annotated, from the box, from the
    # network that all methods share, the method's own, or none because the output is relative
    scale: str  # "GT S" of Table 1: the prediction is rescaled to the true bone length, or to the training hands' mean
    side_input: str  # "GT H" of Table 1: left or right is an input of the network, annotated or found by a classifier
    side_slot: str  # which hand's 21 outputs are scored

    def __post_init__(self):
        for field in fields(self):
            word, known = getattr(self, field.name), _WORDS[field.name]
            if word not in known:
                raise ValueError(f"{field.name} must be one of {', '.join(known)}, got {word!r}")

    @property
    def from_truth(self) -> tuple[str, ...]:
        """Names of what was taken from the annotation."""
        return tuple(name for name, word in asdict(self).items() if word.startswith("true"))


@dataclass(frozen=True)
class Track:
    """A protocol under which every method is evaluated."""

    name: str
    label: str
    given: Given


@dataclass(frozen=True)
class Native:
    """Track T0 of one row of Table 1: the metric that its number is in and what it was given, as far as is known."""

    given: Given
    metric: str | None  # a name in ``Evaluation.errors``; None where nothing public tells
    source: str

    @property
    def own_metric(self) -> str | None:
        """The same metric for predictions that carry the true scale already, as those of a native run do."""
        return self.metric and self.metric.removesuffix("_scaled")


def _unified(root_depth: str) -> Given:
    return Given("true box", "true", root_depth, scale="none", side_input="none", side_slot="true")


TRACKS = {
    "T1": Track(
        "T1", "one protocol for all, wrist depth, scale and side given to those that use them", _unified("true")
    ),
    "T2": Track("T2", "one protocol for all, neither wrist depth nor scale nor side given", _unified("box")),
}
"""What the heat-map networks are given; they use neither side nor scale, which are tested apart: the ``*_pred_side``
metrics take the slot from the predicted handedness, and the ``*_scaled`` metrics align the scale. T2's estimate is the
box's unless a run says otherwise: with a depth network its predictions carry a record of their own with ``root_depth``
"network"."""


def one_hand_given(
    track: str,
    *,
    needs_side: bool,
    needs_scale: bool,
    per_hand_box: bool,
    root_depth: str = "none",
    crop: str | None = None,
) -> Given:
    """What a method that sees one hand at a time is given on T1 or T2.

    ``per_hand_box``: the pictures show two hands, each cut out by a box of its own. ``root_depth`` is "none" where the
    output is relative to the hand. ``crop`` replaces the box where the hand is cut out otherwise.
    """
    if track not in TRACKS:
        raise ValueError(f"track must be one of {', '.join(TRACKS)}, got {track!r}")
    scale, side = {"T1": ("true bone", "true"), "T2": ("training mean", "predicted")}[track]
    return Given(
        crop=crop or ("true box per hand" if per_hand_box else "true box"),
        intrinsics="true" if root_depth != "none" else "none",
        root_depth=root_depth,
        scale=scale if needs_scale else "none",
        side_input=side if needs_side else "none",
        side_slot="true",
    )


NATIVE_TRACK = "T0"
TRACK_NAMES = (NATIVE_TRACK, *TRACKS)

_UNKNOWN = Given("unknown", "unknown", "unknown", "unknown", "unknown", "unknown")
_ZB = Given("true joints", "none", "none", "true bone", "true", "true")

NATIVE = {
    "posenet": Native(_ZB, "palm21_vis_scaled", "lmb-freiburg/hand3d, eval_full.py; crop and side as Table 1 marks"),
    "chen": Native(_ZB, "palm21_scaled", "Kuzphi/UniversalHand3dFrame, state of November 2018"),
    "yang": Native(
        Given("unknown", "unknown", "none", "true bone", "true", "unknown"), None, "Table 1's marks; no public code"
    ),
    "spurr": Native(
        Given("true joints", "none", "none", "none", "none", "true"), "palm21_vis",
        "spurra/vae-hands-3d, evaluate_model.py",
    ),
    "internet": Native(
        Given("true box", "true", "network", "none", "none", "true"), "wrist21",
        "facebookresearch/InterHand2.6M, data/RHD/dataset.py",
    ),
    "song": Native(_UNKNOWN, None, "no public text with a result on RHD was found"),
    "msff": Native(
        Given("unknown", "true", "unknown", "none", "none", "unknown"), "wrist21",
        "presumed to be InterNet's, whose output it has; the paper does not say",
    ),
}  # fmt: skip
"""By the method's name in the registry."""
