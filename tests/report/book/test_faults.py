"""The book's table of planted faults."""

from msff.report.book.faults import faults_table

TABLE = """part,fault,file,caught by
Heat maps,half a bin | too far,heatmaps.py,test_one_bin_by_hand; page 06-heads
Heat maps,depth sign,heatmaps.py,test_depth
Metrics,no wrist,evaluation/metrics.py,test_wrist
"""


def test_the_table_counts_faults_and_groups_them_by_part(tmp_path):
    assert "make mutants" in faults_table(tmp_path)
    (tmp_path / "mutants.csv").write_text(TABLE)
    text = faults_table(tmp_path)
    assert text.startswith("All 3 faults were caught, 1 of them also by the checked output of a page.")
    assert text.index("**Heat maps**") < text.index("Depth sign") < text.index("**Metrics**") < text.index("No wrist")
    assert "Half a bin \\| too far" in text and "one bin by hand; page 06-heads" in text and "test_" not in text
