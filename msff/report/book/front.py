"""The front page's generated part: the answer, its figure with a caption, and the verdicts in one small table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from msff.evaluation.inference_statistics import BETTER, OPEN, SMALLER, WORSE
from msff.report.claims import NOT_TESTABLE
from msff.report.contrasts import GRM_FINGERTIPS, LOM_OCCLUSION, TOGETHER, find_all
from msff.report.findings import Finding
from msff.report.formatting import markdown
from msff.report.front_figure import MISSING, data_words, front_caption
from msff.report.results import Results
from msff.report.robustness import rate_table
from msff.study.store import Store

ANSWERS = {
    BETTER: "Yes, here",
    WORSE: "No: here it raises the error",
    SMALLER: "Not by as much as the paper's own lead",
    OPEN: "Not shown so far",
}
"""Verdict on the three modules together -> answer to the question of the front page's title."""
LEADS = {
    BETTER: "; MS-FF beats InterNet",
    WORSE: "; MS-FF is worse than InterNet",
    SMALLER: "; MS-FF and InterNet differ by less than the paper's lead",
    OPEN: "",
}
"""Verdict on MS-FF against InterNet -> what follows that answer."""
WITHOUT = "bare - InterNet"
PAGE = "/book/_executed/{}.ipynb"
QUESTIONS = (
    ("MS-FF beats InterNet", "MS-FF - InterNet", "09-table1"),
    ("its three modules help, together", TOGETHER, "08-ablation"),
    ("channel conversion helps", "channel conversion, main effect", "03-channel-conversion"),
    ("global regression helps", "global regression, main effect", "04-global-regression"),
    ("... at the fingertips", GRM_FINGERTIPS, "04-global-regression"),
    ("local optimisation helps", "local optimisation, main effect", "05-local-optimization"),
    ("... at hidden joints", LOM_OCCLUSION, "05-local-optimization"),
)
"""The paper's claim in short, the contrast that decides it, and the page with its evidence."""


def front_fragment(results: Results) -> str:
    """Return the answer, the figure of the front page and the table of verdicts below it, as Markdown."""
    return (
        f"{front_answer(results)}\n\n"
        ":::{figure} /book/_executed/figures/front.png\n"
        ":alt: Errors of single training runs of three networks, and the effects of the three modules\n"
        f":width: 100%\n\n{front_caption(results)}\n:::\n\n"
        f"::::{{container}} msff-front\n{markdown(front_table(results))}\n::::"
        f"{rate_sentence(results.store)}"
    )


def rate_sentence(store: Store) -> str:
    """Return how the learning rate moves MS-FF - InterNet on held-out images; "" where it was not tuned."""
    table = rate_table(store).iloc[:-1].dropna(subset="MS-FF - InterNet")  # the last line has each at its best rate
    if len(table) < 2:
        return ""
    difference = table["MS-FF - InterNet"]
    ends = difference.idxmin(), difference.idxmax()
    low, high = (f"{difference[i]:+.2f} mm at {table['learning_rate'][i]}" for i in ends)
    return (
        f"\n\n**The learning rate alone moves their difference by {difference.max() - difference.min():.2f} mm:** on "
        f"held-out training images MS-FF minus InterNet is {low} and {high}, one training each, so that the sign "
        f"of a small difference may be chance. The paper gives one rate and no rule for choosing it "
        f"([by another learning rate]({PAGE.format('15-robustness')}))."
    )


def front_answer(results: Results) -> str:
    """Return the answer to the title's question, with the contrasts behind it and how many claims are decided."""
    findings = {finding.contrast.name: finding for finding in find_all(results)}
    lead, together, *others = (findings[name] for _, name, _ in QUESTIONS)
    decided = sum(finding.verdict != OPEN for finding in (lead, together, *others))
    return (
        f"**{ANSWERS[together.verdict]}{LEADS[lead.verdict]}.** On {data_words(results)}, profile `{results.profile}`, "
        f"MS-FF's error minus InterNet's is {_in_mm(lead)}; the three modules together change the error by "
        f"{_in_mm(together)}; without them, the network's error minus InterNet's is {_in_mm(findings[WITHOUT])}. "
        f"Negative favours the paper. Of the {len(QUESTIONS)} claims below that runs can decide, "
        f"{decided or 'none'} {'is' if decided < 2 else 'are'} decided."
    )


def _in_mm(finding: Finding) -> str:
    """Return a finding in words: "+1.45 mm (one seed, open)", or "not known (runs missing)"."""
    if np.isnan(finding.estimate):
        return f"not known ({MISSING})"
    return f"{finding} mm ({finding.verdict if finding.interval else f'one seed, {finding.verdict}'})"


def front_table(results: Results) -> pd.DataFrame:
    """Return a row per claim: the answer in at most three words, the estimate in mm, and a link to the evidence."""
    findings = {finding.contrast.name: finding for finding in find_all(results)}
    rows = [
        (claim, answer(findings[name]), estimate(findings[name]), f"[evidence]({PAGE.format(page)})")
        for claim, name, page in QUESTIONS
    ]
    rows.append(
        ("lowest error on RHD without ground truth", NOT_TESTABLE, "", f"[verdict]({PAGE.format('12-verdict')})")
    )
    return pd.DataFrame(rows, columns=["the paper says", "we find", "estimate, mm (negative: as claimed)", ""])


def answer(finding: Finding) -> str:
    """Return a finding's verdict in at most three words."""
    return "below the margin" if finding.verdict == SMALLER else finding.verdict


def estimate(finding: Finding) -> str:
    """Return a finding's estimate with its interval, or what it lacks."""
    if np.isnan(finding.estimate):
        return MISSING
    return str(finding) if finding.interval else f"{finding}, one seed"
