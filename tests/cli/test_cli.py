import json
import shutil

import pytest
from tiny_study import again, tiny_study, with_images

from msff.cli import main
from msff.study.profiles import PROFILES, RHD, Block, RootDepthSpec

BOX = RootDepthSpec("box")


def test_every_command_has_help(capsys):
    commands = [
        ["data", "make"], ["data", "sheet"], ["data", "verify"], ["train"], ["study", "plan"], ["study", "run"],
        ["study", "ingest"], ["study", "photos"], ["study", "status"], ["study", "check"], ["study", "book"],
        ["bench", "train"], ["bench", "infer"], ["bench", "data"], ["bench", "render"], ["demo", "train"],
        ["predict"],
    ]  # fmt: skip
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
        assert "usage: msff " + " ".join(command) in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["data"], ["study"], ["bench"], ["demo"]])
def test_an_incomplete_command_prints_its_help(command, capsys):
    assert main(command) == 2
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("study status --profile huge", f"msff: unknown profile 'huge': choose one of {', '.join(PROFILES)}"),
        (
            "train --profile smoke --method hourglass",
            "unknown method 'hourglass': choose one of mean-pose, oracle, pos",
        ),
        ("train --profile paper --dataset rhd", "no-rhd does not exist: put RHD there, or set MSFF_RHD"),
        (
            "bench train --method rootnet --size 64",
            "unknown network 'rootnet': choose one of posenet, chen, yang, spurr",
        ),
        ("bench infer --method oracle --size 64", "unknown network 'oracle': choose one of posenet, chen, yang"),
    ],
)
def test_what_is_unknown_or_missing_is_said_with_what_there_is(tmp_path, monkeypatch, capsys, command, message):
    monkeypatch.setenv("MSFF_RHD", str(tmp_path / "no-rhd"))
    assert main(command.split()) == 1
    assert message in capsys.readouterr().err


def test_disk_full_is_one_clear_message(monkeypatch, tmp_path, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device", str(tmp_path / "images"))

    monkeypatch.setattr("msff.standin.writers.make", full)
    assert main(["data", "make", "standin-rhd", "--root", str(tmp_path), "--train", "1", "--test", "1"]) == 1
    assert "no space left on the disk" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "goes_on"),
    [
        ("data make standin-rhd --root x --train 1 --test 1", "resumes"), ("train", "resumes"),
        ("study run", "resumes"), ("study train", "resumes"), ("study pages", "resumes"), ("demo train", "resumes"),
        ("study ingest a.tar.gz", "resumes"), ("study tune", "resumes"), ("study photos", "resumes"),
        ("predict a.png", "starts over"), ("data verify x", "starts over"), ("study book", "starts over"),
    ],
)  # fmt: skip
def test_an_interrupted_command_says_how_it_goes_on(monkeypatch, capsys, command, goes_on):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr("msff.cli.entry._check_alone", interrupted)
    assert main(command.split()) == 130
    assert capsys.readouterr().err.endswith(f"the same command {goes_on}.\n")


@pytest.fixture
def study(tmp_path, monkeypatch):
    grid = (Block(("mean-pose", "oracle"), layouts=RHD),)
    study = again(with_images(tiny_study(tmp_path)), grid=grid, root_depth=BOX)
    for name in ("open_project", "open_workspace"):
        monkeypatch.setattr(f"msff.cli.common.{name}", lambda args: study)
    monkeypatch.setattr("msff.study.project.find_root", lambda: tmp_path)
    return study


def test_the_plan_ends_with_the_total_of_the_rest(study, capsys):
    assert main(["study", "plan"]) == 0
    *table, rest = capsys.readouterr().out.splitlines()
    assert rest.startswith(f"The rest: {len(table) - 1} of {len(table) - 1} steps, about ")
    assert main(["study", "plan", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0].keys() == {"step", "kind", "done", "expected_s"} and len(rows) == len(table) - 1


def test_runs_go_into_an_archive_and_back(study, tmp_path, monkeypatch, capsys):
    assert main(["study", "train", "--jobs", "1", "--out", str(tmp_path / "out")]) == 0
    assert (study.store.tables / "table1.csv").exists()
    (path,) = (tmp_path / "out").iterdir()
    assert str(path) in capsys.readouterr().out
    shutil.rmtree(study.store.root)
    monkeypatch.setattr("msff.study.archive.Project", lambda name, root: study)
    for what in ("added", "here already"):
        assert main(["study", "ingest", str(path)]) == 0
        assert f"standin-rhd/mean-pose/full/seed0: {what}" in capsys.readouterr().out
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(path.read_bytes()[:-99])
    assert main(["study", "ingest", str(bad), str(path)]) == 1  # the sound one is taken all the same
    captured = capsys.readouterr()
    assert f"msff: {bad}: damaged" in captured.err and "here already" in captured.out
    assert main(["study", "status"]) == 0 and "2 stored, 0 running, 0 waiting" in capsys.readouterr().out


def test_a_budget_of_nothing_makes_and_packs_nothing(study, tmp_path, capsys):
    assert main(["study", "run", "--budget", "0", "--out", str(tmp_path / "out")]) == 0
    assert "2 runs are left" in capsys.readouterr().out and not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("options", [["--budget", "-1"], ["--budget", "soon"], ["--jobs", "0"], ["--limit", "0"]])
def test_numbers_that_make_no_sense(options, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["study", "run", *options])
    assert stop.value.code == 2
