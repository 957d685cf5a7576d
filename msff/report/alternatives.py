"""What else could explain the ablation: readings, target, scales, pre-training and budget, a contrast for each."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msff.report.contrasts import between, lead, secondary
from msff.report.findings import Contrast, find, listed
from msff.report.results import Results
from msff.report.rows import RANKING_METRIC, RANKING_TRACK, bounds, finish
from msff.report.tables import READINGS

NO_RUN = "no run yet"
SECONDARY = {contrast.name: contrast for contrast in secondary()}
ALTERNATIVES: tuple[tuple[str, str, Contrast | None], ...] = (
    *(("A reading of the text?", f"{r} - the default", between(f"{v} - full", v, "full")) for v, r in READINGS.items()),
    ("The target?", "Gaussian volumes of Eq. (15) in place of the integral loss", None),
    ("A single scale?", "heads on the scale 1/32 alone", None),
    *((question, name, SECONDARY[name]) for question, name in (
        ("Pre-training?", "the three modules together, from scratch"),
        ("Pre-training?", "MS-FF - InterNet, from scratch"),
        ("The learning rate?", "MS-FF - InterNet, both at InterNet's learning rate"),
        ("The learning rate?", "MS-FF - InterNet, both at MS-FF's learning rate"),
    )),
    ("The budget?", "twice the epochs - once", between("twice the epochs - once", "epochs-x2", "full")),
    ("The budget?", "MS-FF - InterNet, both with twice the epochs",
     lead("MS-FF - InterNet, twice the epochs", variants=("epochs-x2", "epochs-x2"))),
    ("The budget?", "twice the images per epoch - once", between("twice the images - once", "images-x2", "full")),
    ("The budget?", "from scratch, twice the steps - once",
     between("from scratch, twice the steps - once", "scratch-x2", "scratch")),
    ("The budget?", "MS-FF - InterNet, both from scratch with twice the steps",
     lead("MS-FF - InterNet, from scratch with twice the steps", variants=("scratch-x2", "scratch-x2"))),
)  # fmt: skip
"""Question, what is compared, and the contrast that answers; None where the study has no such network."""


def alternatives(results: Results) -> pd.DataFrame:
    """Return a row per alternative explanation: question, contrast, estimate with interval in mm, seeds, status."""
    rows = []
    for question, what, contrast in ALTERNATIVES:
        found = find(results, contrast) if contrast else None
        known = found is not None and np.isfinite(found.estimate)
        status = found.verdict if known else _missing(found.reason) if found else NO_RUN
        seeds = listed(found.seeds) if found else ""
        numbers = bounds(found, "estimate_mm", "low", "high")
        rows.append({"question": question, "contrast": what, **numbers, "seeds": seeds, "status": status})
    caption = (
        f"What else could explain the ablation: change of {RANKING_METRIC} on {RANKING_TRACK} in mm, negative is lower "
        f"for what is named first; brackets: 95 % over seeds and images. "
    )
    return finish(rows, list(rows[0]), caption + results.describe_data(results.dataset("rhd")))


def _missing(reason: str) -> str:
    return NO_RUN if reason.startswith(("runs missing", "not part", "no seed")) else reason


def alternative_variants() -> list[tuple[str, str]]:
    """Return method and variant of every network that the table compares."""
    parts = [part for *_, contrast in ALTERNATIVES if contrast for part in contrast.parts]
    return list(dict.fromkeys((part.method, variant) for part in parts for variant in part.variants))
