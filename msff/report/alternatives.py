"""What else could explain the ablation: readings, target, scales, pre-training and budget, a contrast for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from msff.report.contrasts import between, lead
from msff.report.findings import Contrast, find, listed
from msff.report.results import Results
from msff.report.rows import RANKING_METRIC, RANKING_TRACK, finish

NO_RUN = "no run yet"


@dataclass(frozen=True)
class Alternative:
    """A question and the contrast that answers it; without one, the study has no such network."""

    question: str
    what: str
    contrast: Contrast | None = None


def _variant(question: str, what: str, ours: str, theirs: str = "full") -> Alternative:
    return Alternative(question, what, between(what, ours, theirs))


ALTERNATIVES = (
    _variant("A reading of the text?", "Eq. (4) as printed - with a ReLU", "printed"),
    Alternative("A reading of the text?", "global regression with batch norm, or ReLU on the sum"),
    Alternative("The target?", "Gaussian volumes of Eq. (15) in place of the integral loss"),
    Alternative("A single scale?", "heads on the scale 1/32 alone"),
    Alternative(
        "Pre-training?", "full - bare, both without ImageNet weights",
        between("the three modules together, from scratch", "scratch", "scratch-bare"),
    ),
    Alternative(
        "Pre-training?", "MS-FF - InterNet, both without ImageNet weights",
        lead("MS-FF - InterNet, from scratch", variants=("scratch", "scratch")),
    ),
    Alternative(
        "The learning rate?", "MS-FF - InterNet, both at InterNet's rate",
        lead("MS-FF - InterNet, both at InterNet's learning rate", variants=("other-rate", "full")),
    ),
    Alternative(
        "The learning rate?", "MS-FF - InterNet, both at MS-FF's rate",
        lead("MS-FF - InterNet, both at MS-FF's learning rate", variants=("full", "other-rate")),
    ),
    _variant("The budget?", "twice the epochs - once", "epochs-x2"),
    _variant("The budget?", "twice the images per epoch - once", "images-x2"),
    _variant("The budget?", "from scratch, twice the steps - once", "scratch-x2", "scratch"),
)  # fmt: skip
"""One row of the table each, in the order of the questions."""


def alternatives(results: Results) -> pd.DataFrame:
    """Return a row per alternative explanation: question, contrast, estimate with interval in mm, seeds, status."""
    rows = []
    for alternative in ALTERNATIVES:
        row = {"question": alternative.question, "contrast": alternative.what}
        if alternative.contrast is None:
            rows.append(row | {"estimate_mm": np.nan, "low": np.nan, "high": np.nan, "seeds": "", "status": NO_RUN})
            continue
        found = find(results, alternative.contrast)
        value, low, high = found.bounds
        status = found.verdict if np.isfinite(value) else _missing(found.reason)
        rows.append(row | {
            "estimate_mm": value, "low": low, "high": high, "seeds": listed(found.seeds), "status": status,
        })  # fmt: skip
    caption = (
        f"What else could explain the ablation: change of {RANKING_METRIC} on {RANKING_TRACK} in mm, negative is lower "
        f"for what is named first; brackets: 95 % over seeds and images. "
    )
    return finish(rows, list(rows[0]), caption + results.describe_data(results.dataset("rhd")))


def _missing(reason: str) -> str:
    return NO_RUN if reason.startswith(("runs missing", "not part", "no seed")) else reason


def alternative_variants() -> list[tuple[str, str]]:
    """Return method and variant of every network that the table compares."""
    contrasts = [a.contrast for a in ALTERNATIVES if a.contrast]
    return list(dict.fromkeys((p.method, v) for c in contrasts for p in c.parts for v in p.variants))
