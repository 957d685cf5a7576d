import json

from msff.study.machine import progress_file


def test_progress_reports_the_share_done(tmp_path, monkeypatch):
    monkeypatch.delenv("MSFF_PROGRESS", raising=False)
    assert progress_file("run") is None
    monkeypatch.setenv("MSFF_PROGRESS", str(tmp_path))
    progress_file("run")(2, 4, 5, 10, 0.25)
    (path,) = tmp_path.glob("*.json")
    state = json.loads(path.read_text())
    assert state == {"label": "run", "epoch": 2, "epochs": 4, "done": 0.375, "loss": 0.25}
