"""Readers see names: no id of a variant is in a generated table, card or figure."""

import re
from pathlib import Path

import pytest

from msff.models.registry import METHODS, network_name
from msff.report.book.front import front_fragment, report_fragment
from msff.report.book.summary import summary_fragment
from msff.report.claims import claims_table
from msff.report.comparisons import alternatives
from msff.report.contrasts import find_all
from msff.report.formatting import captioned
from msff.report.front_figure import forest_alt
from msff.report.photos import photo_errors
from msff.report.results import Results
from msff.report.tables import build_tables
from msff.report.verdict_cards import verdict_cards, waiting_claims
from msff.study.store import Store

VARIANTS = {(name, variant) for name, method in METHODS.items() for variant in method.variants}
ENGLISH = {"full", "plain", "side", "scale", "scratch", "printed", "native", "segmented", "regressed", "gaussian"}
"""Ids that a text may hold as a word."""
ID = re.compile(
    rf"(?<![\w`-])(?:{'|'.join(sorted({v for _, v in VARIANTS} - ENGLISH, key=len, reverse=True))})(?![\w-])"
    rf"|\b(?:{'|'.join(METHODS)})/[a-z]"
)


def test_every_variant_has_a_name_of_its_own():
    names = [network_name(*variant) for variant in VARIANTS]
    assert len(set(names)) == len(names) and not [name for name in names if ID.search(name)]
    with pytest.raises(KeyError):
        network_name("msff", "unknown")


def test_every_stored_run_has_a_name():
    runs = list((Path(__file__).parents[2] / "results").glob("*/runs/*/*/*"))
    assert len(runs) > 40 and all(network_name(*run.parts[-2:]) for run in runs)


def test_an_id_would_be_found():
    for text in ("msff/no-grm", "bare - InterNet", "alone (ccm - bare)", "| no-grm-norm |", "grm-norm - full"):
        assert ID.search(text), text
    assert not ID.search("profile cpu-scratch, a plain network at full scale, `bare`")


@pytest.mark.parametrize("runs", ["all", "none"])
def test_no_generated_text_has_an_id(made_results, tmp_path, runs):
    results = made_results("cpu-long", (0, 1)) if runs == "all" else Results(Store(tmp_path / "results" / "cpu-long"))
    tables = build_tables(results) if runs == "all" else {"claims": claims_table(results)}
    photos = photo_errors([results.store], results.store.root)
    texts = {name: captioned(table) for name, table in tables.items()}
    texts["alternatives"] = captioned(alternatives(results))
    texts["cards"] = verdict_cards(tables["claims"]) + waiting_claims(tables["claims"]).to_string()
    texts["figure"] = forest_alt(find_all(results).values())
    for fragment in (summary_fragment, front_fragment, report_fragment):
        texts[fragment.__name__] = fragment(results, photos)
    assert {name: found[0] for name, text in texts.items() if (found := ID.search(text))} == {}
