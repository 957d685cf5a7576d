"""The book's tables of planted faults and of those that a study survives."""

import re

import pandas as pd
from tiny_study import ROOT

from msff.report.book.faults import faults_table, survived_table

TABLE = """part,fault,file,caught by
Heat maps,half a bin | too far,heatmaps.py,test_eqs_1_and_2_by_hand; page 06-heads
Heat maps,depth sign,heatmaps.py,test_depth
Metrics,no wrist,evaluation/metrics.py,test_wrist
"""


def test_the_table_counts_faults_and_groups_them_by_part(tmp_path):
    assert "make mutants" in faults_table(tmp_path)
    (tmp_path / "mutants.csv").write_text(TABLE)
    text = faults_table(tmp_path)
    assert text.startswith("All 3 faults were caught, 1 of them also by the checked output of a page.")
    assert text.index("**Heat maps**") < text.index("Depth sign") < text.index("**Metrics**") < text.index("No wrist")
    assert "Half a bin \\| too far" in text and "test_" not in text
    assert "| Eqs. 1 and 2 by hand; page `06-heads` |" in text


SURVIVED = """name,part,fault,exit,message,lost,again,equal
git,The machine,no git,0,,nothing,,"yes, bit for bit"
core,The machine,one core,0,,nothing,,"yes, bit for bit"
disk,The disk,full | while a run is stored,1,msff: no space left; `rm` a,what was being written,0,"yes, bit for bit"
home,The disk,`HOME` read-only,0,,nothing,,no
mount,The disk,read-only,not tried,no right to mount,,,-
link,Files,an archive with a link,1,msff: refused,nothing ran,,-
"""


def test_the_table_counts_what_a_study_survives(tmp_path):
    path = tmp_path / "survived.csv"
    assert "make faults" in survived_table(path)
    path.write_text(SURVIVED)
    text = survived_table(path)
    assert text.startswith("5 of 6 faults were tried. 3 of 4 studies ended")
    assert "In 1 of 1 files from a stranger nothing was executed." in text
    assert "full \\| while a run is stored" in text and "`msff: no space left; 'rm' a`" in text
    machine, disk, files = re.split(r"\n\*\*.*\*\*\n", text)[1:]
    assert "In each row: *exit code* 0; *lost* nothing; *results equal* yes, bit for bit." in machine
    assert machine.count("yes") == 1 and "| one core" in machine and "message" not in machine
    assert "In each row" not in disk and "same command again" in disk and "results equal" not in files


def test_the_stored_table_has_every_fault_of_the_script_and_none_that_is_not_survived():
    stored = pd.read_csv(ROOT / "results" / "faults" / "survived.csv", dtype=str, keep_default_na=False).set_index(
        "name"
    )
    script = "".join((ROOT / "tests" / name).read_text() for name in ("faults.py", "fault_files.py"))
    named = re.findall(r'^ {4,8}"([\w-]+)": \(', script, re.MULTILINE)
    assert sorted(named) == sorted(stored.index) and len(named) > 30
    assert not stored.index[stored.equal.str.startswith("no")].tolist()
    assert set(stored.again) <= {"", "0"}
