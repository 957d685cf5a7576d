"""The front page's generated parts: the answer, the verdicts in one small table, a figure; and the abstract."""

from __future__ import annotations

import pandas as pd

from msff.report.book.summary import abstract, gather, results_in_words, short_answer
from msff.report.claims import NOT_TESTABLE
from msff.report.contrasts import (
    GAUSSIAN_LEAD,
    GAUSSIAN_TOGETHER,
    GRM_FINGERTIPS,
    LEAD,
    LOM_OCCLUSION,
    NORM_LEAD,
    OWN_TARGET_LEAD,
    TOGETHER,
    contrasts_table,
    find_all,
)
from msff.report.formatting import contained, markdown, staged_figure
from msff.report.front_figure import MISSING, front_caption
from msff.report.results import Results

PAGE = "/book/_executed/{}.ipynb"
QUESTIONS = (
    ("MS-FF beats InterNet", LEAD, "09-table1"),
    ("... our variant with batch norm does (post hoc)", NORM_LEAD, "08-ablation"),
    ("... both with Gaussian volumes as target (post hoc)", GAUSSIAN_LEAD, "15-robustness"),
    ("... each with its better target (post hoc)", OWN_TARGET_LEAD, "08-ablation"),
    ("... on interacting hands", f"{LEAD}, interacting", "10-fig5"),
    ("its three modules help, together", TOGETHER, "08-ablation"),
    ("... with Gaussian volumes as target they do (post hoc)", GAUSSIAN_TOGETHER, "08-ablation"),
    ("channel conversion helps", "channel conversion, main effect", "03-channel-conversion"),
    ("global regression helps", "global regression, main effect", "04-global-regression"),
    ("... at the fingertips", GRM_FINGERTIPS, "04-global-regression"),
    ("local optimisation helps", "local optimisation, main effect", "05-local-optimization"),
    ("... more at hidden joints than at visible", LOM_OCCLUSION, "05-local-optimization"),
)
"""The paper's claim in short, the contrast that decides it, and the page with its evidence."""
_NEEDED = "needs RHD, and a text of Song(2022)"


def front_fragment(results: Results, photos: pd.DataFrame) -> str:
    """Return the short answer, the table of verdicts and the figure of the front page, as Markdown."""
    answer = short_answer(gather(results, contrasts_table(results), photos))
    alt = "Errors of single training runs of seven networks, and the effects of the three modules"
    return f"{answer}\n\n{claims_in_short(results)}\n\n{staged_figure('front', alt, front_caption(results))}"


def abstract_fragment(results: Results, photos: pd.DataFrame) -> str:
    """Return the abstract, which README has, too."""
    return abstract(gather(results, contrasts_table(results), photos, brief=True))


def report_fragment(results: Results, photos: pd.DataFrame) -> str:
    """Return the results of the reproducibility report: those of the abstract, and the table of verdicts."""
    facts = gather(results, contrasts_table(results), photos, brief=True)
    return f"{results_in_words(facts)}\n\n{claims_in_short(results)}"


def claims_in_short(results: Results) -> str:
    """Return the table of verdicts as Markdown."""
    return contained(markdown(front_table(results)), "msff-front")


def front_table(results: Results) -> pd.DataFrame:
    """Return a row per claim: the verdict, which leads to the evidence, and the estimate in mm."""
    rows = []
    for claim, name, page in QUESTIONS:
        found = find_all(results)[name]
        estimate = MISSING if not found.known else f"{found}{', one seed' if len(found.seeds) == 1 else ''}"
        rows.append((claim, f"[{found.verdict}]({PAGE.format(page)})", estimate))
    rows.append(("lowest error on RHD without ground truth", f"[{NOT_TESTABLE}]({PAGE.format('12-verdict')})", _NEEDED))
    return pd.DataFrame(rows, columns=["claim", "we find", "estimate, mm (negative: as claimed)"])
