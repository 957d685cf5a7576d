import numpy as np
import pytest
from msff.study.helping import ask
from training.test_engine import of_both, torchrun
from two_processes import STUDIED, odd_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MSFF_REALWORLD", raising=False)  # else helpers answer about the real photos, too
        yield tmp_path_factory.mktemp("studied")


@pytest.fixture(scope="module")
def both(folder):
    return of_both("studied", folder)


def test_two_processes_train_every_run_once_and_one_writes(both):
    first, second = both
    shared = ["standin-rhd/rootnet/full/seed0", "standin-rhd/internet/full/seed0", "standin-rhd/sidenet/full/seed0"]
    assert first["written"] == [*shared, "standin-rhd/spurr/side/seed0"] and second["written"] == []
    assert first["codes"] == second["codes"] == [0] * 4
    assert first["runs"] == second["runs"]
    assert first["printed"].count("standin-rhd/internet/full/seed0 in ") == 2 and second["printed"] == ""


@pytest.mark.parametrize("method", STUDIED)
def test_their_predictions_are_those_of_one_process_in_order(both, folder, method):
    study = odd_study(folder)
    run = study.store.select(method=method)[0]
    assert run.record["processes"] == 2 and study.finished(run.experiment) is not None
    model, depth = study.trained_network(run.experiment), study.root_depth("standin-rhd")[0]
    alone, shared = study.predict(run.experiment, model, depth), run.predictions
    assert len(shared) == 7 and shared.sample_id == alone.sample_id
    for track, joints in alone.joints.items():
        np.testing.assert_allclose(shared.joints[track], joints, atol=0.2)  # mm; files round by 0.1
    np.testing.assert_allclose(shared.side_probability, alone.side_probability, rtol=1e-4)
    assert len(np.unique(shared.joints["T2"][:, 5], axis=0)) == 7  # no image twice


def test_what_helpers_answer_together_is_whole_and_in_order(both, folder):
    study = odd_study(folder)
    for helper in ("rootnet", "sidenet"):
        experiment = study.experiment(f"standin-rhd/{helper}/full/seed0")
        stored, alone = study.store.get(experiment).answers, ask(study, experiment, study.trained_network(experiment))
        assert stored.sample_id.tolist() == alone.sample_id.tolist() and len(set(stored.sample_id)) == 7
        np.testing.assert_array_equal(stored.box, alone.box)
        np.testing.assert_allclose(stored.value, alone.value, rtol=1e-4)
    runs = [study.store.select(method=method)[0] for method in STUDIED]
    depths = [run.record["root_depth"]["uid"] for run in runs]
    assert depths == [study.store.get(study.experiment("standin-rhd/rootnet/full/seed0")).record["uid"]] * 2
    np.testing.assert_array_equal(runs[0].predictions.root_depth_mm["T2"], rootnet_says(study, runs[0]))


def rootnet_says(study, run):
    """The stored depths (N, 2) mm of the run's test images."""
    answers = study.store.get(study.experiment("standin-rhd/rootnet/full/seed0")).answers
    samples = {s.sample_id: s for s in study.samples("standin-rhd", "test").samples}
    return answers.value[answers.rows([samples[name] for name in run.predictions.sample_id])]


def test_the_pages_are_made_by_one_process():
    done = torchrun("-m", "msff.cli", "study", "run", "--profile", "smoke")
    assert done.returncode != 0 and done.stdout == ""
    assert "share the work of `msff train` alone" in done.stderr
