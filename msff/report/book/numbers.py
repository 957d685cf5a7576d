"""Numbers in the book's prose: `{{ name }}` in a chapter is replaced by a number from its source at each build.

A name that is missing here fails the build.
"""

from __future__ import annotations

from msff.camera import CROP_FACTOR
from msff.evaluation.bootstrap import REPLICATES
from msff.evaluation.plausibility import LEAST_HANDEDNESS_PERCENT, LEAST_PALM_WIDTH
from msff.report.book.answers import training_images
from msff.report.published import INTERNET_INTERHAND, RHD_ELSEWHERE, TABLE1, lead_mm, lead_share, wrist20_equivalent
from msff.study.profiles import PROFILES
from msff.study.recipes import INTERNET_NATIVE
from msff.study.tuning import GAUSSIAN_RATES, RATES, SHARE


def numbers() -> dict[str, str]:
    """Return name -> text of every number that the prose may quote."""
    error = {row.method: row.epe_mm for row in TABLE1}
    named = {f"epe_{method}": value for method, value in error.items()}
    named |= {f"lead_{method}": lead_mm(method) for method in ("internet", "song")}
    named |= {f"wrist20_{method}": wrist20_equivalent(error[method]) for method in ("internet", "msff")}
    named["free_zero"] = wrist20_equivalent(error["msff"]) - error["msff"]
    named["epe_spurr_given"], named["epe_a2j"] = (number.value for number in RHD_ELSEWHERE)
    named["mrrpe_internet"] = INTERNET_INTERHAND[0].mrrpe
    for data, row in zip(("hm", "m", "m_retrained"), INTERNET_INTERHAND[:3], strict=True):
        named |= {f"internet_single_{data}": row.single, f"internet_interacting_{data}": row.interacting}
    published, retrained = INTERNET_INTERHAND[0], [row for row in INTERNET_INTERHAND if "test H+M" in row.source]
    named["retraining_shift"] = max(
        abs(getattr(row, kind) - getattr(published, kind)) for row in retrained for kind in ("single", "interacting")
    )
    texts = {name: f"{value:.2f}" for name, value in named.items()}
    shares = {"margin_percent": "internet", "margin_song_percent": "song"}
    texts |= {name: f"{100 * lead_share(method):.1f}" for name, method in shares.items()}
    training, gpu_short = PROFILES["paper"].training, PROFILES["gpu-short"].data
    steps = training_images("interhand") * training.epochs / training.batch_size
    return texts | {
        "images_rhd": f"{training_images('rhd'):,}",
        "images_interhand": f"{training_images('interhand'):,}",
        "interhand_steps_million": f"{steps / 1e6:.1f}",
        "crop_factor": f"{CROP_FACTOR:g}",
        "replicates": f"{REPLICATES:,}",
        "least_palm_rhd": f"{LEAST_PALM_WIDTH['rhd']:.2f}",
        "least_palm_interhand": f"{LEAST_PALM_WIDTH['interhand']:.2f}",
        "least_handedness": f"{LEAST_HANDEDNESS_PERCENT['rhd']:.0f}",
        "rates": f"{len(RATES)} from {min(RATES):g} to {max(RATES):g}",
        "gaussian_rate": f"{max(GAUSSIAN_RATES):g}",
        "held_out_percent": f"{100 * SHARE:.0f}",
        "trained_percent": f"{100 * (1 - SHARE):.0f}",
        "gpu_short_images": f"{gpu_short.train + gpu_short.test:,}",
        "paper_epochs": str(training.epochs),
        "internet_rhd_epochs": str(INTERNET_NATIVE["rhd"].epochs),
    }
