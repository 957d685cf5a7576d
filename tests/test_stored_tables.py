"""The stored tables are those that the stored runs give; `msff study tables --profile P` writes them again."""

from pathlib import Path

import pandas as pd
import pytest

from msff.report.tables import write_tables
from msff.study.store import Store

RESULTS = Path(__file__).parents[1] / "results"


@pytest.mark.parametrize("profile", ["cpu", "cpu-scratch", "cpu-long"])
def test_stored_tables_are_those_of_the_stored_runs(profile, tmp_path):
    store = Store(RESULTS / profile)
    stored = store.tables
    store.tables = tmp_path
    written = [path for path in write_tables(store) if path.suffix == ".csv"]
    assert {path.name for path in written} == {path.name for path in stored.glob("*.csv")}
    for path in written:
        fresh, kept = pd.read_csv(path), pd.read_csv(stored / path.name)
        pd.testing.assert_frame_equal(fresh, kept, rtol=1e-4, obj=f"{profile}/{path.name}")
