import json

import pytest

from msff.cli import main
from msff.study.profiles import PROFILES


def test_every_command_has_help(capsys):
    commands = [
        ["data", "make"], ["data", "sheet"], ["data", "verify"], ["train"], ["study", "plan"], ["study", "run"],
        ["study", "status"], ["study", "check"], ["study", "book"], ["bench", "train"], ["bench", "infer"],
        ["bench", "data"], ["bench", "render"], ["predict"],
    ]  # fmt: skip
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main([*command, "--help"])
        assert stop.value.code == 0
        assert "usage: msff " + " ".join(command) in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], ["data"], ["study"], ["bench"]])
def test_an_incomplete_command_prints_its_help(command, capsys):
    assert main(command) == 2
    assert "COMMAND" in capsys.readouterr().out


def test_unknown_profile_names_the_known_ones(capsys):
    assert main(["study", "status", "--profile", "huge"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("msff: unknown profile 'huge'") and all(name in error for name in PROFILES)


def test_unknown_method(capsys):
    assert main(["train", "--profile", "smoke", "--method", "hourglass"]) == 1
    assert "unknown method 'hourglass': choose one of mean-pose, oracle, posenet, chen" in capsys.readouterr().err


def test_missing_dataset_folder(tmp_path, capsys):
    assert main(["data", "verify", str(tmp_path / "nothing")]) == 1
    assert "nothing" in capsys.readouterr().err


def test_missing_real_data_says_where_it_belongs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MSFF_RHD", str(tmp_path / "no-rhd"))
    assert main(["train", "--profile", "paper", "--dataset", "rhd"]) == 1
    error = capsys.readouterr().err
    assert "no-rhd" in error and "MSFF_RHD" in error


def test_missing_checkpoint_and_bad_box(tmp_path, capsys):
    photo = tmp_path / "photo.png"
    arguments = ["predict", str(photo), "--checkpoint", str(tmp_path / "none.pt")]
    assert main(arguments) == 1
    assert "photo.png" in capsys.readouterr().err
    assert main([*arguments, "--box", "1,2,3"]) == 1
    assert "--box takes x,y,w,h" in capsys.readouterr().err


def test_disk_full_is_one_clear_message(monkeypatch, tmp_path, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device", str(tmp_path / "images"))

    monkeypatch.setattr("msff.standin.writers.make", full)
    assert main(["data", "make", "standin-rhd", "--root", str(tmp_path), "--train", "1", "--test", "1"]) == 1
    assert "no space left on the disk" in capsys.readouterr().err


def test_interrupt(monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("msff.standin.writers.make", interrupted)
    assert main(["data", "make", "standin-rhd", "--root", "x", "--train", "1", "--test", "1"]) == 130
    assert "Interrupted" in capsys.readouterr().err


def test_bench_train_reports_throughput_and_memory(capsys):
    command = ["bench", "train", "--method", "internet", "--size", "64", "--batch", "2", "--device", "cpu"]
    assert main([*command, "--seconds", "0.1", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["images_per_s"] > 0 and figures["peak_mib"] > 100
    assert figures["images_per_s"] == pytest.approx(2 / figures["step_s"])
    assert figures["device"] == "cpu" and figures["parameters"] > 20_000_000
    assert (figures["method"], figures["variant"], figures["phase"]) == ("internet", "full", "all")


@pytest.mark.parametrize("method", ["mean-pose", "oracle", "rootnet", "hourglass"])
@pytest.mark.parametrize("what", ["train", "infer"])
def test_bench_refuses_what_has_no_network_of_its_own(what, method, capsys):
    assert main(["bench", what, "--method", method, "--size", "64"]) == 1
    known = "posenet, chen, yang, spurr, internet, song, msff"
    assert f"unknown network {method!r}: choose one of {known}" in capsys.readouterr().err
