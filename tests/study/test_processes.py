import numpy as np
import pytest
from two_processes import STUDIED, made_by_two, odd_study

from msff import cli
from msff.study.predict import predict
from msff.study.progress import finished
from msff.study.train import trained_network

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("studied")


@pytest.fixture(scope="module")
def both(folder):
    return [process["studied"] for process in made_by_two(folder)]


def test_two_processes_train_every_run_once_and_one_writes(both):
    first, second = both
    shared = ["standin-rhd/internet/full/seed0", "standin-rhd/sidenet/full/seed0"]
    assert first["written"] == [*shared, "standin-rhd/spurr/side/seed0"] and second["written"] == []
    assert first["codes"] == second["codes"] == [0] * 4
    assert first["runs"] == second["runs"]
    assert first["printed"].count("standin-rhd/internet/full/seed0 in ") == 2 and second["printed"] == ""


@pytest.mark.parametrize("method", STUDIED)
def test_the_first_process_predicts_with_what_all_have_trained(both, folder, method):
    study = odd_study(folder)
    run = study.store.select(method=method)[0]
    assert run.record.processes == 2 and finished(study, run.experiment) is not None
    truth, shared = study.truth(run.experiment.dataset), run.predictions
    alone = predict(study, run.experiment, trained_network(study, run.experiment)).as_stored(truth)
    assert len(shared) == 7 and shared.sample_id == alone.sample_id
    for track, joints in alone.joints.items():
        np.testing.assert_allclose(shared.joints[track], joints, atol=0.2)  # mm; files round by 0.1
    np.testing.assert_allclose(shared.side_probability, alone.side_probability, rtol=1e-4)
    hands = shared.joints["T2"].reshape(7, 2, -1)
    assert len(np.unique(hands[np.arange(7), truth.side_present.argmax(1)], axis=0)) == 7  # no image twice


def test_the_pages_are_made_by_one_process(monkeypatch, capsys):
    for name, value in {"TORCHELASTIC_RUN_ID": "any", "WORLD_SIZE": "2", "RANK": "0"}.items():  # as torchrun sets them
        monkeypatch.setenv(name, value)
    assert cli.main(["study", "run", "--profile", "smoke"]) != 0
    printed = capsys.readouterr()
    assert printed.out == "" and "share the work of `msff train` alone" in printed.err
