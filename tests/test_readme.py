"""The README's abstract is that of the stored tables; `.venv/bin/python tests/test_readme.py` rewrites it."""

import re
from pathlib import Path

import pandas as pd

from msff.report.book.summary import abstract, gather
from msff.report.photos import photo_errors
from msff.report.results import Results
from msff.study.store import Store

README = Path(__file__).parents[1] / "README.md"
MARKED = re.compile(r"(<!-- abstract: .*? -->\n).*?(<!-- end of abstract -->)", re.DOTALL)


def with_abstract(text):
    """The README with the abstract of the profile cpu-long between its marks."""
    store = Store(README.parent / "results" / "cpu-long")
    contrasts = pd.read_csv(store.tables / "contrasts.csv", keep_default_na=True)
    photos = photo_errors([store], store.root.with_name("mediapipe"))
    words = abstract(gather(Results(store), contrasts, photos, brief=True))
    return MARKED.sub(lambda found: f"{found[1]}{words}\n{found[2]}", text)


def test_the_abstract_in_the_readme_is_that_of_the_stored_tables():
    text = README.read_text(encoding="utf-8")
    assert len(MARKED.findall(text)) == 1
    assert text == with_abstract(text), "run `.venv/bin/python tests/test_readme.py`"


if __name__ == "__main__":
    README.write_text(with_abstract(README.read_text(encoding="utf-8")), encoding="utf-8")
