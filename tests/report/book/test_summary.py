"""The page *What the study says* and the abstract: words by verdict, and numbers from tables."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest

from msff.evaluation.inference_statistics import BETTER, OPEN, SMALLER, WORSE
from msff.report.book import summary
from msff.report.book.questions import (
    ANSWER,
    IN_BOLD,
    MEASURE_WORDS,
    OF_ALL_THREE,
    OF_MODULES,
    OPENING,
    QUALIFIED,
    QUESTIONS,
    SCRATCH,
    SINGLE_MODULES,
    quotes,
)
from msff.report.book.summary import (
    abstract,
    answered,
    findings_of,
    gather,
    missing_section,
    rows_of,
    summary_figure,
    summary_findings,
    summary_fragment,
)
from msff.report.comparisons import alternatives
from msff.report.contrasts import (
    ALONE,
    BARE_LEAD,
    GAUSSIAN_LEAD,
    GAUSSIAN_TOGETHER,
    LEAD,
    LOM_OCCLUSION,
    MODULES,
    NORM_LEAD,
    OWN_TARGET_LEAD,
    REGISTERED,
    TOGETHER,
    contrasts_table,
    module_effects,
)
from msff.report.findings import ONE_SEED
from msff.report.formatting import with_minus
from msff.report.photos import COLUMNS, photo_errors
from msff.report.results import Results
from msff.study.grid import in_order
from msff.study.project import Project
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
        verdict, reason, (low, high) = KINDS.get(kind, (OPEN, "runs missing: MS-FF seed 0", (np.nan, np.nan)))
        estimate = np.nan if kind is None else -1.25 if np.isnan(low) else (low + high) / 2
        found.append((name, estimate, low, high, 0.71, verdict, reason))
    columns = ["contrast", "estimate_mm", "low", "high", "margin_mm", "verdict", "reason"]
    return pd.DataFrame(found, columns=columns)


PHOTOS = pd.DataFrame(
    [("cpu-long", m, "stand-in in RHD format", "wrist20", e, e - 3, e + 3, 3, 98)
     for m, e in (
         ("MS-FF", 40.36), ("MS-FF with batch norm", 35.94), ("InterNet(2020)", 37.85),
         ("MS-FF with Gaussian volumes", 44.29), ("InterNet(2020) with Gaussian volumes", 41.75),
     )], columns=COLUMNS,
)  # fmt: skip


@pytest.fixture
def tuned(tmp_path):
    """Results without a run in a profile whose learning rates were tuned."""
    store = Store(tmp_path / "results" / "cpu-long")
    store.root.mkdir(parents=True)
    lines = [f"{row},x,{rate},{error},{row}{rate}" for row, rate, error in (
        ("msff", 0.0002, 28), ("msff", 0.001, 31), ("internet", 0.0002, 29), ("internet", 0.001, 28.5),
        ("msff/gaussian", 0.002, 25), ("internet/gaussian", 0.002, 34), ("internet/gaussian", 0.001, 38),
    )]  # fmt: skip
    store.tuning.write_text("\n".join(["row,setting,rate,error_mm,config_hash", *lines]))
    return Results(store)


@pytest.fixture(scope="module")
def results(made_results):
    return made_results("cpu-long", (0, 1))


def texts(results, kinds, brief=False, photos=PHOTOS):
    return gather(results, rows(kinds), photos, brief)


def answer_of(facts, number):
    return answered(facts, {}, QUESTIONS[number])


def line_of(text, label):
    lines = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("|")]
    (value,) = [cells[2] for cells in lines if cells[1] == label]
    return value


def test_sentences_and_lines_quote_only_what_exists(empty, tuned):
    known = (
        findings_of(empty).keys()
        | texts(tuned, {LEAD: "open", GAUSSIAN_LEAD: "open"}).texts.keys()
        | {"photos MediaPipe Hands"}
    )
    sentences = OPENING, SINGLE_MODULES, *QUALIFIED
    words = [w for sentence in sentences for w in sentence] + [w for q in QUESTIONS for w in q.words.values()]
    names = {name for w in words for name in quotes(w)} - {"subjects", "s", "is", "has"}
    names |= {name for q in QUESTIONS for name in q.lines.values()}
    names |= {name for clauses in (ANSWER, IN_BOLD, OF_MODULES, OF_ALL_THREE) for _, name in clauses}
    assert {name.removeprefix(SCRATCH) for name in names} <= known


@pytest.mark.parametrize(
    ("kind", "answer", "verdict"),
    [
        ("better", "MS-FF beats InterNet", "-1.50 mm [-2.50, -0.50] (better)"),
        ("worse", "MS-FF is worse than InterNet", "+1.50 mm [+0.50, +2.50] (worse)"),
        ("smaller", "For MS-FF, the difference is smaller than the margin",
         "+0.05 mm [-0.50, +0.60] (smaller than the margin)"),
        ("open", "For MS-FF, the order is open", "+1.00 mm [-1.00, +3.00] (open: either sign remains possible)"),
        ("open after Holm", "For MS-FF, the order is open",
         "+1.55 mm [+0.10, +3.00] (open: p is 0.234 after Holm's adjustment)"),
        ("one seed", "For MS-FF, the order is open", "-1.25 mm (one seed)"),
    ],
)  # fmt: skip
def test_words_follow_the_verdict(tuned, kind, answer, verdict):
    text = answer_of(texts(tuned, {LEAD: kind, BARE_LEAD: None}), 0)
    assert f"**{answer}.** See " in text and line_of(text, "MS-FF - InterNet") == verdict
    waiting = text.partition("Not measured yet, since runs are missing: ")[2]
    assert waiting == (
        "MS-FF without its modules - InterNet; MS-FF without global regression (post hoc) - InterNet; MS-FF with batch "
        "norm (post hoc) - InterNet; the three modules together; the three modules together, with Gaussian volumes "
        "(post hoc); without modules, the scale 1/32 alone - four scales."
    )


def test_modules_of_one_verdict_share_a_clause(tuned):
    kinds = dict(zip(MAIN, ("worse", "better", "worse"), strict=True))
    assert "**Channel conversion and local optimisation harm; global regression helps.**" in answer_of(
        texts(tuned, kinds), 1
    )


@pytest.mark.parametrize(("lead", "order"), [("worse", "the same"), ("better", "the opposite")])
def test_the_order_on_photographs_is_compared_with_that_on_rendered_hands(tuned, lead, order):
    text = answer_of(texts(tuned, {LEAD: lead}), -1)
    assert f"**The order of MS-FF and InterNet is {order} there.**" in text
    assert line_of(text, "error of MS-FF") == "40.4 mm [37.4, 43.4]"
    assert "**" not in answer_of(texts(tuned, {LEAD: lead}, photos=PHOTOS[:0]), -1)


def test_with_gaussian_volumes_the_order_on_photographs_is_compared_with_that_of_the_same_target(tuned):
    text = answer_of(texts(tuned, {LEAD: "worse", GAUSSIAN_LEAD: "better"}), -1)
    assert "**The order of MS-FF and InterNet is the same there; the order" in text
    assert "the order of the two with Gaussian volumes is the opposite there.**" in text


def test_the_effect_of_the_learning_rate_is_read_from_the_table(tuned, empty):
    text = answer_of(texts(tuned, {}), 4)
    assert (
        "moves the difference by 3.50 mm.**" in text
        and "| -1.00 mm at rate 0.0002 " in text
        and "| +2.50 mm at rate 0.001 " in text
    )
    assert line_of(text, "MS-FF - InterNet on held-out images, each at its best rate") == "-0.50 mm"
    assert line_of(text, "MS-FF - InterNet on held-out images, the same with Gaussian volumes") == "-9.00 mm"
    assert "**" not in answer_of(texts(empty, {}), 4)


def test_an_abstract_has_at_most_150_words_and_each_verdict(tuned):
    lengths = []
    for (lead, together, module), effects in product(product((*KINDS, None), repeat=3), (MAIN, EACH_ALONE)):
        kinds = dict.fromkeys((LEAD, NORM_LEAD, GAUSSIAN_LEAD, OWN_TARGET_LEAD), lead) | dict.fromkeys(
            (BARE_LEAD, TOGETHER, GAUSSIAN_TOGETHER), together
        )
        kinds |= dict.fromkeys(effects, module)
        text = abstract(texts(tuned, kinds, brief=True))
        lengths.append(len(text.split()))
        assert "{" not in text and text.count("**") == 2 and "rendered hands" in text
        assert ("since runs are missing" in text) == (module is None)
        assert ("trails InterNet by 1.50 mm [0.50, 2.50]" in text) == (lead == "worse")
        assert ("beats InterNet by 1.50 mm [0.50, 2.50]" in text) == (lead == "better")
        assert text.count("harms (+1.50 [+0.50, +2.50])") == (3 if module == "worse" and effects is MAIN else 0)
        assert ("Together they harm (+1.50 [+0.50, +2.50])" in text) == (together == "worse")
    assert max(lengths) <= 150, max(lengths)


def test_the_abstract_says_that_an_interval_rests_on_one_seed(tuned):
    contrasts = rows({LEAD: "worse", GAUSSIAN_LEAD: "better", GAUSSIAN_TOGETHER: "better"})
    contrasts.loc[[1, 2], "reason"] = "seed 0; runs missing: MS-FF with Gaussian volumes seed 1"
    text = abstract(gather(tuned, contrasts, PHOTOS, True))
    assert "trails InterNet by 1.50 mm [0.50, 2.50];" in text
    assert "with Gaussian volumes (post hoc) better by 1.50 mm [0.50, 2.50, one seed]." in text
    assert "ith Gaussian volumes they help (-1.50 [-2.50, -0.50, one seed])." in text


def test_every_number_of_the_answers_is_in_a_table(results):
    findings, photos = findings_of(results), photo_errors([results.store], results.store.root)
    facts = gather(results, rows_of(results, findings), photos)
    text = " ".join(answered(facts, findings, question) for question in QUESTIONS)
    text = re.sub(r"\]\(.*?\)|InterHand2.6M", "", text)
    tables = [contrasts_table(results), alternatives(results)]
    numbers = {f"{x:+.2f}" for t in tables for column in ("estimate_mm", "low", "high") for x in t[column].dropna()}
    numbers |= {f"{x:.3f}" for x in tables[0]["p_holm"].dropna()}
    numbers |= {f"{x:.1f}" for column in ("value", "low", "high") for x in photos[column]}
    quoted = re.findall(r"[+-]?\d+\.\d+", text)
    assert len(quoted) > 30 and set(quoted) <= numbers


def test_without_any_run_every_question_names_what_is_not_measured(tmp_path):
    nothing = Results(Store(tmp_path / "results" / "smoke"))
    text, _, missing = summary_fragment(nothing, photo_errors([], tmp_path)).partition("\n## What is missing")
    assert text.count("\n## ") == len(QUESTIONS) and "**" not in text and missing
    assert text.count("\nNot measured yet, ") == len(QUESTIONS) and "\n| " not in text


def test_the_figure_has_the_registered_contrasts_and_what_the_page_quotes(results):
    shown = list(summary_findings(findings_of(results)))
    registered = [contrast.name for contrast in REGISTERED]
    assert shown[: len(registered)] == registered and {BARE_LEAD, LOM_OCCLUSION} <= set(shown)
    assert not any(name.endswith((", T1", ", pa21", ", palm21")) for name in shown)
    texts = [text.get_text() for text in summary_figure(results).axes[0].texts]
    lines = [question.lines.items() for question in QUESTIONS]
    named = {name: label for line in reversed(lines) for label, name in line}  # as the tables below it
    names = [with_minus(named.get(name, name)) for name in shown]
    assert [text for text in texts if text in names] == names
    others = (*(f", {measure}" for measure in MEASURE_WORDS), *(f", {words}" for words in MEASURE_WORDS.values()))
    drawn = [label for name, label in named.items() if name in findings_of(results) and not name.endswith(others)]
    assert len(drawn) > 20 and max(map(len, drawn)) <= 60  # what fits above an interval on a phone


def test_against_a_single_hand_method_the_verdict_must_hold_by_predicted_handedness(results, monkeypatch):
    monkeypatch.setattr(summary, "decide_both", lambda finding, other: (OPEN, f"not by handedness: {other}"))
    found = findings_of(results)["MS-FF - Spurr(2018)"]
    assert found.verdict == OPEN and found.reason.startswith("not by handedness")


def test_what_is_missing_has_every_training_of_the_grid_once(tmp_path):
    project = Project("cpu", tmp_path)
    rows = [line.split("|") for line in missing_section(project).splitlines() if line.startswith("|")][2:]
    assert int(rows[-1][2]) == sum(int(row[2]) for row in rows[:-1]) == len(in_order(project.profile))
    assert "MS-FF without its modules; MS-FF with channel conversion alone" in rows[-2][4] and float(rows[-1][3]) > 0
    assert all(row[1].strip() for row in rows)  # a purpose each
