"""Published numbers, the only ones in this project that are typed by hand, each with its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRow:
    """One row of the paper's Table 1 (RHD)."""

    label: str  # as printed
    method: str  # the name of the method in this package's registry
    gt_scale: bool  # "GT S": the true hand scale is given at test time
    gt_side: bool  # "GT H": the true handedness is given at test time
    epe_mm: float

    @property
    def no_ground_truth(self) -> bool:
        return not (self.gt_scale or self.gt_side)


TABLE1 = (
    PublishedRow("PoseNet(2017)", "posenet", True, True, 30.42),  # not in its reference list; Zimmermann & Brox 2017
    PublishedRow("Chen(2018)", "chen", True, True, 24.20),  # not in its reference list; arXiv 1811.09916 fits
    PublishedRow("Yang(2019)", "yang", True, True, 19.95),  # Yang & Yao, CVPR 2019
    PublishedRow("Spurr(2018)", "spurr", False, False, 22.53),  # Spurr et al., CVPR 2018, without scale and side
    PublishedRow("InterNet(2020)", "internet", False, False, 20.89),  # Moon et al., ECCV 2020; wrist counted as zero
    PublishedRow("Song(2022)", "song", False, False, 20.58),  # its source on RHD could not be found
    PublishedRow("MS-FF", "msff", False, False, 20.21),  # this paper; one run, no interval
)


@dataclass(frozen=True)
class PublishedNumber:
    """A number from elsewhere that bears on the paper's claims."""

    what: str
    value: float
    unit: str
    source: str


RHD_ELSEWHERE = (
    PublishedNumber("Spurr(2018) with true scale and hand, RHD", 19.73, "mm", "repeated by A2J-Transformer, CVPR 2023"),
    PublishedNumber("A2J-Transformer without ground truth, RHD", 17.75, "mm", "A2J-Transformer, CVPR 2023"),
)


@dataclass(frozen=True)
class PublishedInterHand:
    """InterNet on InterHand2.6M: MPJPE in mm with the official averaging (42 joint means, wrists zero)."""

    source: str
    single: float | None
    interacting: float | None
    all: float | None
    mrrpe: float | None = None

    @property
    def by_metric(self) -> dict[str, float]:
        """Return the numbers by the names of this project's metrics."""
        names = {"single": "mpjpe_single", "interacting": "mpjpe_interacting", "all": "mpjpe_all", "mrrpe": "mrrpe"}
        return {metric: value for name, metric in names.items() if (value := getattr(self, name)) is not None}


INTERNET_INTERHAND = (
    PublishedInterHand("Moon et al. 2020, trained and tested on H+M (MRRPE from memory)", 12.16, 16.02, 14.22, 32.57),
    PublishedInterHand("Moon et al. 2020, trained and tested on M", 12.56, 18.59, None),
    PublishedInterHand("third-party retraining with the official code, M (InterHand2.6M issue 81)", 10.52, 15.99, None),
    PublishedInterHand("mmpose 0.x retraining, v0.0, test H+M", 10.16, 15.27, 12.97, 33.14),
    PublishedInterHand("mmpose 0.x retraining, v0.0, validation M", 12.03, 17.88, 14.84, 34.93),
    PublishedInterHand("mmpose 0.x retraining, v1.0, test H+M", 9.47, 13.40, 11.59, 29.28),
    PublishedInterHand("mmpose 1.x retraining, test H+M", 9.69, 13.72, 11.86, 29.27),
    PublishedInterHand("mmpose 1.x retraining, validation M", 11.30, 15.57, 13.36, 32.15),
)
"""The spread of this one network exceeds the gaps between InterNet, Song and MS-FF in the paper's table."""


def published_row(method: str) -> PublishedRow | None:
    """Return the paper's row of a method, by its name in the registry."""
    return next((row for row in TABLE1 if row.method == method), None)


def lead_mm(rival: str) -> float:
    """Return the lead of MS-FF over another method in the paper's Table 1."""
    return round(published_row(rival).epe_mm - published_row("msff").epe_mm, 2)


def lead_share(rival: str) -> float:
    """Return the same lead as a share of the other method's error."""
    return 1 - published_row("msff").epe_mm / published_row(rival).epe_mm


def wrist20_equivalent(epe_mm: float) -> float:
    """Convert a 21-joint mean that counts the wrist as zero to a mean over the other 20 joints: times 21/20."""
    return epe_mm * 21 / 20


_HOME_PAGE = "InterHand2.6M home page, v1.0, H+M, 5 fps"
_NOT_VERIFIED = "not verified here"
DATASET_NAMES = {"rhd": "RHD", "interhand": "InterHand2.6M"}
DATASET_FACTS: dict[str, dict[str, tuple[str, str]]] = {
    "rhd": {
        "images": ("41,258 / 2,728", "RHD README"),
        "persons": ("16 / 4 characters", f"Zimmermann & Brox 2017, {_NOT_VERIFIED}"),
        "image size, px": ("320x320", "RHD README"),
        "focal length, median px": ("about 283", f"as commonly used, {_NOT_VERIFIED}"),
        "interacting hands, %": ("0", "protocol: the larger hand of each image is scored"),
    },
    "interhand": {
        "images": ("1,361,062 / 849,160", _HOME_PAGE),
        "persons": ("27 / 8 captures", "InterHand2.6M home page, folders of the images"),
        "image size, px": ("512x334", f"as commonly used, {_NOT_VERIFIED}"),
        "interacting hands, %": ("49.5 / 42.4", f"{_HOME_PAGE}: 673,514 and 360,192 images"),
    },
}
"""Of each layout's real dataset: label of `msff.report.dataset_statistics.ROWS` -> "training / test", and source."""
