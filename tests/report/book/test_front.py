"""The front page's table: short answers from the contrasts, and words where an estimate is missing."""

import pytest

from msff.report.book.front import ANSWERS, LEADS, QUESTIONS, front_answer, front_fragment, front_table, rate_sentence
from msff.report.contrasts import find_all
from msff.report.results import Results
from msff.study.store import Store


@pytest.fixture(scope="module")
def results(made_results):
    return made_results("cpu-long", (0, 1))


def test_answers_have_three_words_at_most_and_estimates_are_those_of_the_contrasts(results):
    table = front_table(results)
    found = {f.contrast.name: str(f) for f in find_all(results)}
    assert all(1 <= len(words.split()) <= 3 for words in table["we find"])
    assert table.iloc[: len(QUESTIONS), 2].tolist() == [found[name] for _, name, _ in QUESTIONS]


def test_one_seed_is_named_and_no_run_is_no_number(made_results, tmp_path):
    one = front_table(made_results()).iloc[0]
    assert one["we find"] == "open" and one.iloc[2].endswith("one seed")
    none = front_table(Results(Store(tmp_path / "cpu-long"))).iloc[0]
    assert none["we find"] == "open" and none.iloc[2] == "runs missing"


def test_the_fragment_has_the_figure_and_the_table(results):
    text = front_fragment(results)
    assert "figures/front.png" in text and text.count("\n|") == len(QUESTIONS) + 3


def test_the_answer_is_the_two_verdicts_on_the_network(results, tmp_path):
    findings = {f.contrast.name: f for f in find_all(results)}
    lead, together = (findings[name] for _, name, _ in QUESTIONS[:2])
    text = front_answer(results)
    assert text.startswith(f"**{ANSWERS[together.verdict]}{LEADS[lead.verdict]}.**")
    assert all(f"{found} mm" in text for found in (together, lead, findings["bare - InterNet"]))
    decided = sum(findings[name].verdict != "open" for _, name, _ in QUESTIONS)
    assert f" {decided or 'none'} {'is' if decided < 2 else 'are'} decided" in text
    empty = front_answer(Results(Store(tmp_path / "cpu-long")))
    assert empty.startswith(f"**{ANSWERS['open']}.**") and "mm" not in empty and empty.endswith("none is decided.")


@pytest.mark.parametrize(("ours", "moved"), [((28, 31), "3.50 mm"), ((30, 31), "1.50 mm")])
def test_the_learning_rates_effect_on_the_difference_is_read_from_the_table(ours, moved, tmp_path):
    store = Store(tmp_path / "cpu-long")
    store.root.mkdir()
    rows = [("msff", 0.0002, ours[0]), ("msff", 0.001, ours[1]), ("internet", 0.0002, 29), ("internet", 0.001, 28.5)]
    lines = [f"{row},x,{rate},{error},{row}{rate}" for row, rate, error in rows]
    store.tuning.write_text("\n".join(["row,setting,rate,error_mm,config_hash", *lines]))
    text = rate_sentence(store)
    assert f"by {moved}:" in text and f"{ours[0] - 29:+.2f} mm at 0.0002 and {ours[1] - 28.5:+.2f} mm at 0.001" in text
    assert rate_sentence(Store(tmp_path / "cpu")) == ""
