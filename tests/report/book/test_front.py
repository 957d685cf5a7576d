"""The front page's table: short answers from the contrasts, and words where an estimate is missing."""

import pytest

from msff.report.book.front import QUESTIONS, abstract_fragment, front_fragment, front_table, report_fragment
from msff.report.claims import NOT_TESTABLE
from msff.report.contrasts import find_all
from msff.report.front_figure import MISSING
from msff.report.photos import photo_errors
from msff.report.results import Results
from msff.study.store import Store


@pytest.fixture(scope="module")
def results(made_results):
    return made_results("cpu-long", (0, 1))


def test_answers_are_the_verdicts_and_estimates_those_of_the_contrasts(results):
    table = front_table(results)
    found = {name: str(finding) or MISSING for name, finding in find_all(results).items()}
    answers = table["we find"].str.extract(r"^\[(.+)\]\(/book/_executed/([\w-]+)\.ipynb\)$")
    verdicts = [find_all(results)[name].verdict for _, name, _ in QUESTIONS]
    assert answers[0].tolist() == [*verdicts, NOT_TESTABLE]
    assert answers[1].tolist() == [*(page for *_, page in QUESTIONS), "12-verdict"]
    assert table.iloc[: len(QUESTIONS), 2].tolist() == [found[name] for _, name, _ in QUESTIONS]


def test_one_seed_is_named_and_no_run_is_no_number(made_results, tmp_path):
    one = front_table(made_results()).iloc[0]
    assert one["we find"].startswith("[open]") and one.iloc[2].endswith("one seed")
    none = front_table(Results(Store(tmp_path / "cpu-long"))).iloc[0]
    assert none["we find"].startswith("[open]") and none.iloc[2] == "runs missing"


def test_the_fragments_have_the_answer_the_table_the_figure_and_the_abstract(results, tmp_path):
    photos = photo_errors([results.store], tmp_path)
    front, abstract, report = (make(results, photos) for make in (front_fragment, abstract_fragment, report_fragment))
    assert "figures/front.png" in front and "figures/front.png" not in report
    assert front.count("\n|") == report.count("\n|") == len(QUESTIONS) + 3
    answer = front.partition("\n\n")[0]
    assert answer.startswith("**") and answer.endswith(".**")
    assert abstract.startswith("MS-FF estimates") and report.startswith("**")
    assert abstract.endswith(report.partition("\n\n")[0])
