"""The page *What the study says* and the abstract: words by verdict, numbers from tables, and what is missing."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from msff.evaluation.inference_statistics import BETTER, OPEN, SMALLER, WORSE
from msff.report.alternatives import alternatives
from msff.report.book import missing, summary
from msff.report.book.missing import COLUMNS as MISSING_COLUMNS
from msff.report.book.missing import missing_runs, missing_section
from msff.report.book.questions import ABSTRACT, ANSWER, BARE, LEAD, QUESTIONS, SCRATCH, quotes, wordings
from msff.report.book.summary import (
    abstract,
    answered,
    findings_of,
    gather,
    rows_of,
    summary_figure,
    summary_findings,
    summary_fragment,
)
from msff.report.contrasts import (
    ALONE,
    LOM_OCCLUSION,
    MODULES,
    REGISTERED,
    TOGETHER,
    contrasts_table,
    module_effects,
)
from msff.report.findings import ONE_SEED
from msff.report.photos import COLUMNS, photo_errors
from msff.report.results import Results
from msff.study.store import Store

MAIN = [f"{name}, main effect" for name in MODULES.values()]
EACH_ALONE = [module_effects(module)[ALONE].name for module in MODULES]
HOLM = "seeds 0, 1, 2; the interval excludes 0, but p is 0.234 after Holm's adjustment"
KINDS = {  # verdict, reason, interval
    "better": (BETTER, "seeds 0, 1, 2", (-2.5, -0.5)),
    "worse": (WORSE, "seeds 0, 1, 2", (0.5, 2.5)),
    "smaller": (SMALLER, "seeds 0, 1, 2", (-0.5, 0.6)),
    "open": (OPEN, "seeds 0, 1, 2", (-1.0, 3.0)),
    "open after Holm": (OPEN, HOLM, (0.1, 3.0)),
    "one seed": (OPEN, ONE_SEED, (np.nan, np.nan)),
}


def rows(kinds):
    """Contrasts as the table has them; those of kind None have no run."""
    found = []
    for name, kind in kinds.items():
        verdict, reason, (low, high) = KINDS.get(kind, (OPEN, "runs missing: msff/ccm seed 0", (np.nan, np.nan)))
        estimate = np.nan if kind is None else -1.25 if np.isnan(low) else (low + high) / 2
        found.append((name, estimate, low, high, 0.71, verdict, reason))
    columns = ["contrast", "estimate_mm", "low", "high", "margin_mm", "verdict", "reason"]
    return pd.DataFrame(found, columns=columns)


PHOTOS = pd.DataFrame(
    [("cpu-long", m, "stand-in in RHD format", "wrist20", e, e - 3, e + 3, 3, 98)
     for m, e in (("MS-FF", 40.36), ("InterNet(2020)", 37.85))], columns=COLUMNS,
)  # fmt: skip


@pytest.fixture
def tuned(tmp_path):
    """Results without a run in a profile whose learning rates were tuned."""
    store = Store(tmp_path / "results" / "cpu-long")
    store.root.mkdir(parents=True)
    lines = [f"{row},x,{rate},{error},{row}{rate}" for row, rate, error in (
        ("msff", 0.0002, 28), ("msff", 0.001, 31), ("internet", 0.0002, 29), ("internet", 0.001, 28.5),
    )]  # fmt: skip
    store.tuning.write_text("\n".join(["row,setting,rate,error_mm,config_hash", *lines]))
    return Results(store)


@pytest.fixture(scope="module")
def results(made_results):
    return made_results("cpu-long", (0, 1))


def texts(results, kinds, brief=False, photos=PHOTOS):
    return gather(results, rows(kinds), photos, brief)


def test_sentences_quote_only_what_exists(empty, tuned):
    known = (
        findings_of(empty).keys() | texts(tuned, {LEAD: "open"}).texts.keys() | {"subjects", "photos MediaPipe Hands"}
    )
    sentences = [s for question in QUESTIONS for s in question.sentences] + list(ABSTRACT)
    words = [w for sentence in sentences for w in wordings(sentence)]
    leads = [lead for question in QUESTIONS for lead in question.leads] + list(ANSWER)
    words += [w for lead in leads for w in lead.words.values()]
    names = {name.removeprefix(SCRATCH) for w in words for name in quotes(w)}
    assert names | {n for lead in leads for n in lead.subjects.values()} <= known | {"rates", "photos"}


@pytest.mark.parametrize(
    ("kind", "answer", "verdict"),
    [
        ("better", "Yes, on these images", "-1.50 mm [-2.50, -0.50] (better)"),
        ("worse", "No, MS-FF is worse here", "+1.50 mm [+0.50, +2.50] (worse)"),
        ("smaller", "No, they differ by less than the paper's own lead",
         "+0.05 mm [-0.50, +0.60] (smaller than the paper's own lead)"),
        ("open", "Not shown", "+1.00 mm [-1.00, +3.00] (open: both signs remain possible)"),
        ("open after Holm", "Not shown", "+1.55 mm [+0.10, +3.00] (open: p is 0.234 after Holm's adjustment)"),
        ("one seed", "Not shown", "-1.25 mm (one seed)"),
    ],
)  # fmt: skip
def test_words_follow_the_verdict(tuned, kind, answer, verdict):
    text = answered(texts(tuned, {LEAD: kind, BARE: None}), QUESTIONS[0])
    assert f"**{answer}.** MS-FF's error minus InterNet's, each at its best learning rate, is {verdict}." in text
    assert "four scales" not in text.partition("\n\n")[2]


def test_modules_of_one_verdict_share_a_clause(tuned):
    kinds = dict(zip(MAIN, ("worse", "better", "worse"), strict=True))
    assert "**Harmful: channel conversion and local optimisation; helpful: global regression.**" in answered(
        texts(tuned, kinds), QUESTIONS[1]
    )


def test_without_main_effects_the_module_alone_is_quoted_and_without_any_run_nothing(tuned):
    alone = "channel conversion alone (ccm - bare)"
    text = answered(texts(tuned, {MAIN[0]: None, alone: "one seed"}), QUESTIONS[1])
    assert "**" not in text and "channel conversion changes the error by -1.25 mm (one seed)." in text
    assert answered(texts(tuned, {MAIN[0]: None, alone: None}), QUESTIONS[1]) == ""


@pytest.mark.parametrize(("lead", "order"), [("worse", "the same"), ("better", "the opposite")])
def test_the_order_on_photographs_is_compared_with_that_on_rendered_hands(tuned, lead, order):
    text = answered(texts(tuned, {LEAD: lead}), QUESTIONS[-1])
    assert f"is {order} there.**" in text and "40.4 mm [37.4, 43.4] (MS-FF)" in text and "MediaPipe" not in text
    assert answered(texts(tuned, {LEAD: lead}, photos=PHOTOS[:0]), QUESTIONS[-1]) == ""


def test_the_effect_of_the_learning_rate_is_read_from_the_table(tuned, empty):
    text = answered(texts(tuned, {}), QUESTIONS[4])
    assert "by 3.50 mm.**" in text and "-1.00 mm at rate 0.0002 and +2.50 mm at rate 0.001, one training each" in text
    assert answered(texts(empty, {}), QUESTIONS[4]) == ""


def test_an_abstract_has_at_most_150_words_and_each_verdict(tuned):
    lengths = []
    for (lead, together, module), effects in product(product((*KINDS, None), repeat=3), (MAIN, EACH_ALONE)):
        kinds = {LEAD: lead, BARE: together, TOGETHER: together} | dict.fromkeys(effects, module)
        text = abstract(texts(tuned, kinds, brief=True))
        lengths.append(len(text.split()))
        assert "{" not in text and text.count("**") == 2 and "rendered hands" in text
        assert ("since runs are missing" in text) == (module is None)
        assert ("+1.50 [+0.50, +2.50] (worse)" in text) == ("worse" in (lead, together, module))
    assert max(lengths) <= 150, max(lengths)


def test_every_number_of_the_answers_is_in_a_table(results):
    findings, photos = findings_of(results), photo_errors([results.store], results.store.root)
    facts = gather(results, rows_of(results, findings), photos)
    text = " ".join(answered(facts, question) for question in QUESTIONS)
    text = re.sub(r"\]\(.*?\)|InterHand2.6M", "", text)
    tables = [contrasts_table(results), alternatives(results)]
    numbers = {f"{x:+.2f}" for t in tables for column in ("estimate_mm", "low", "high") for x in t[column].dropna()}
    numbers |= {f"{x:.3f}" for x in tables[0]["p_holm"].dropna()}
    numbers |= {f"{x:.1f}" for column in ("value", "low", "high") for x in photos[column]}
    quoted = re.findall(r"[+-]?\d+\.\d+", text)
    assert len(quoted) > 30 and set(quoted) <= numbers


def test_missing_runs_are_listed_once_with_their_hours(results, monkeypatch):
    monkeypatch.setattr(missing.Durations, "seconds", lambda self, run: 1800.0)
    findings = findings_of(results)
    lines = [line.split("|")[1:-1] for line in missing_section(results, findings).splitlines() if line.startswith("|")]
    table = pd.DataFrame([[cell.strip() for cell in line] for line in lines[2:]], columns=MISSING_COLUMNS)
    assert (table["core hours"].astype(float) == table["trainings"].astype(int) / 2).all()
    listed = {run for question in QUESTIONS for run in missing_runs(results, findings, question)}
    assert int(table["trainings"].iloc[-1]) == len(listed) and not any(map(results.store.get, listed))
    assert not table["question"].str.contains(QUESTIONS[7].heading, regex=False).any()  # whose two seeds are stored
    (which,) = table["which"][table["question"].str.contains(QUESTIONS[1].heading, regex=False)]
    assert "msff/ccm" in which and which.endswith("seed 2")


def test_a_profile_without_missing_runs_lists_none(made_results):
    whole = made_results("smoke")
    text = missing_section(whole, findings_of(whole))
    assert "|" not in text and "no network for" in text


def test_the_page_is_whole_without_any_run(tmp_path):
    nothing = Results(Store(tmp_path / "results" / "smoke"))
    text = summary_fragment(nothing, photo_errors([], tmp_path))
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## What is missing"]


def test_the_figure_has_the_registered_contrasts_and_what_the_page_quotes(results):
    shown = list(summary_findings(findings_of(results)))
    registered = [contrast.name for contrast in REGISTERED]
    assert shown[: len(registered)] == registered and {BARE, LOM_OCCLUSION} <= set(shown)
    assert not any(name.endswith((", T1", ", pa21", ", palm21")) for name in shown)
    ax = summary_figure(results).axes[0]
    assert [label.get_text().replace("\n", " ") for label in ax.get_yticklabels()] == shown


def test_against_a_single_hand_method_the_verdict_must_hold_by_predicted_handedness(results, monkeypatch):
    monkeypatch.setattr(summary, "decide_both", lambda finding, other: (OPEN, f"not by handedness: {other}"))
    found = findings_of(results)["MS-FF - Spurr(2018)"]
    assert found.verdict == OPEN and found.reason.startswith("not by handedness")
