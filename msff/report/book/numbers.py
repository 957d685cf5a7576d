"""Numbers in the book's prose: `{{ name }}` in a chapter is replaced by a number from its source at each build.

A name that is missing here fails the build.
"""

from __future__ import annotations

from msff.camera import CROP_FACTOR
from msff.evaluation.bootstrap import REPLICATES
from msff.evaluation.plausibility import LEAST_HANDEDNESS_PERCENT, LEAST_PALM_WIDTH
from msff.report.book.answers import training_images
from msff.report.published import DATASET_FACTS, INTERNET_INTERHAND, RHD_ELSEWHERE, TABLE1, wrist20_equivalent
from msff.study.profiles import PROFILES
from msff.study.recipes import INTERNET_NATIVE
from msff.study.tuning import RATES, SHARE


def numbers() -> dict[str, str]:
    """Return name -> text of every number that the prose may quote."""
    error = {row.method: row.epe_mm for row in TABLE1}
    named = {f"epe_{method}": value for method, value in error.items()}
    named |= {f"lead_{method}": error[method] - error["msff"] for method in ("internet", "song")}
    named |= {f"wrist20_{method}": wrist20_equivalent(error[method]) for method in ("internet", "msff")}
    named["free_zero"] = wrist20_equivalent(error["msff"]) - error["msff"]
    named["epe_spurr_given"], named["epe_a2j"] = (number.value for number in RHD_ELSEWHERE)
    named["mrrpe_internet"] = INTERNET_INTERHAND[0].mrrpe
    named |= {
        f"internet_{part}": getattr(INTERNET_INTERHAND[n], kind)
        for n, data in ((0, "hm"), (1, "m"), (2, "m_retrained"))
        for kind, part in (("single", f"single_{data}"), ("interacting", f"interacting_{data}"))
    }
    published = INTERNET_INTERHAND[0]
    retrained = [row for row in INTERNET_INTERHAND if "test H+M" in row.source]
    named["retraining_shift"] = max(
        abs(getattr(row, kind) - getattr(published, kind)) for row in retrained for kind in ("single", "interacting")
    )
    texts = {name: f"{value:.2f}" for name, value in named.items()}
    texts["margin_percent"] = f"{100 * (error['internet'] - error['msff']) / error['internet']:.1f}"
    texts["margin_song_percent"] = f"{100 * (error['song'] - error['msff']) / error['song']:.1f}"
    for layout in ("rhd", "interhand"):
        texts[f"images_{layout}"] = DATASET_FACTS[layout]["images"][0].partition(" / ")[0]
    training = PROFILES["paper"].training
    steps = training_images("interhand") * training.epochs / training.batch_size
    texts["interhand_steps_million"] = f"{steps / 1e6:.1f}"
    return texts | {
        "crop_factor": f"{CROP_FACTOR:g}",
        "replicates": f"{REPLICATES:,}",
        "least_palm_rhd": f"{LEAST_PALM_WIDTH['rhd']:.2f}",
        "least_palm_interhand": f"{LEAST_PALM_WIDTH['interhand']:.2f}",
        "least_handedness": f"{LEAST_HANDEDNESS_PERCENT['rhd']:.0f}",
        "rates": f"{len(RATES)} from {min(RATES):g} to {max(RATES):g}",
        "held_out_percent": f"{100 * SHARE:.0f}",
        "trained_percent": f"{100 * (1 - SHARE):.0f}",
        "gpu_short_images": f"{PROFILES['gpu-short'].data.train + PROFILES['gpu-short'].data.test:,}",
        "paper_epochs": str(PROFILES["paper"].training.epochs),
        "internet_rhd_epochs": str(INTERNET_NATIVE["rhd"].epochs),
    }
