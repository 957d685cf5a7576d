"""Expected seconds, by hand from made-up measurements."""

import json

import pandas as pd
import pytest
from fake_study import fake_run, make_study  # noqa: F401
from msff.study.execute import expected_seconds, steps

from msff.models.registry import build, count_macs
from msff.study import execute
from msff.study import expected as module
from msff.study.store import tuning_path


@pytest.fixture
def study(make_study):  # noqa: F811
    return make_study()


def test_a_start_without_weights_is_trained_again_and_counts(study, monkeypatch):
    posenet, chen = (study.experiment(f"standin-rhd/{m}/full/seed0") for m in ("posenet", "chen"))
    fake_run(study, posenet)
    expected = expected_seconds(study)
    alone = expected.training(chen)
    monkeypatch.setattr(type(study), "trained", lambda self, e: False)
    assert expected.training(chen) == pytest.approx(alone + expected.training(posenet))


def test_before_any_run_the_speed_is_that_of_the_tuning(study):
    seed0 = study.experiment("standin-rhd/internet/full/seed0")
    study.store.root.mkdir(parents=True)
    pd.DataFrame({"row": ["msff", "internet"], "images_per_s": [20.0, 40.0]}).to_csv(tuning_path(study.store))
    assert expected_seconds(study).training(seed0) == pytest.approx(2 * 12 / 40)


def test_speeds_of_the_most_alike(study):
    images = 2 * 12  # epochs of training images
    seed0 = study.experiment("standin-rhd/internet/full/seed0")
    expected = lambda: expected_seconds(study).training(seed0)  # noqa: E731
    assert expected() == pytest.approx(images / 110)
    fake_run(study, study.experiment("standin-rhd/rootnet/full/seed0"))
    assert expected() == pytest.approx(images / 110)  # a helper tells nothing of a method
    costly = {"macs": 10**9}  # more than InterNet's here
    fake_run(study, study.experiment("standin-rhd/yang/full/seed0"), images_per_s=90.0, **costly)
    fake_run(study, study.experiment("standin-rhd/spurr/plain/seed0"), **costly)
    # the slowest of another method, 2.9 s of which 2.4 s were training, and a margin
    assert expected() == pytest.approx(1.4 * images / 10 + 0.5)
    history = {"phase": "all", "epoch": [1, 2, 3], "images_per_s": [1.0, 4.0, 6.0], "seconds": 0.8}
    run = fake_run(study, study.experiment("standin-interhand/internet/full/seed0"), seconds=3.4)
    (run.path / "history.csv").write_text(pd.DataFrame(history).to_csv(index=False))
    assert expected() == pytest.approx(
        images / 4 + 1.2
    )  # the method: the median epoch, with what the first one took longer
    fake_run(study, study.experiment("standin-rhd/internet/full/seed1"), seconds=4.4)
    assert expected() == pytest.approx(images / 10 + 2.0)  # another seed of the same
    fake_run(study, study.experiment("standin-rhd/internet/full/seed2"), device="cuda", images_per_s=1000.0)
    assert expected() == pytest.approx(images / 10 + 2.0)  # another device tells nothing
    fake_run(study, study.experiment("standin-rhd/internet/full/seed2"), processes=2, images_per_s=1000.0)
    assert expected() == pytest.approx(images / 10 + 2.0)  # nor do two processes together


def test_a_method_without_a_run_is_planned_by_its_size(study):
    """Twice the multiply-adds of the one run there is: half its speed."""
    size, config = study.profile.network.crop_size, study.profile.network
    posenet = study.experiment("standin-rhd/posenet/full/seed0")
    macs = count_macs(build("posenet", "full", config), size)
    fake_run(study, study.experiment("standin-rhd/internet/full/seed0"), macs=macs // 2)
    images = sum(phase.training.epochs for phase in study.phases(posenet)) * 12
    assert expected_seconds(study).training(posenet) == pytest.approx(1.4 * 2 * images / 10 + 0.5, rel=1e-3)


def test_a_plan_made_at_home_knows_the_runs_of_the_other_machine(study):
    fake_run(study, study.experiment("standin-rhd/internet/full/seed0"), device="cuda:0", hardware="a GPU")
    seed1 = study.experiment("standin-rhd/internet/full/seed1")
    alone, planned = expected_seconds(study), expected_seconds(study, elsewhere=True)
    assert alone.training(seed1) == pytest.approx(24 / 110) and alone.measured_elsewhere == ""
    assert planned.training(seed1) == pytest.approx(24 / 10 + 0.5) and planned.measured_elsewhere == "a GPU"
    assert execute.plan_table(study).attrs["elsewhere"] == "a GPU"
    fake_run(study, study.experiment("standin-rhd/spurr/plain/seed0"), macs=10**9)
    own_kind = expected_seconds(study, elsewhere=True)
    assert own_kind.measured_elsewhere == "" and own_kind.training(seed1) == pytest.approx(1.4 * 24 / 10 + 0.5)


def test_pages_cost_what_they_took_without_their_training(study, make_study):  # noqa: F811
    plan = {step.name: step for step in steps(study)}
    expected = expected_seconds(study)
    assert expected(plan["01-data"]) == 10.0
    execute._execute(study, plan["05-local-optimization"])  # 4.9 s, of which the run took 2.9 s
    expected = expected_seconds(study)
    assert expected(plan["05-local-optimization"]) == pytest.approx(2.0)  # its run is stored
    assert expected(plan["07-train--standin-rhd--msff--full--seed0"]) == pytest.approx(2.0)
    backbone = plan["02-backbone"]
    training = expected.training(backbone.experiments[0])
    assert training > 0 and expected(backbone) == pytest.approx(2.0 + training)
    again = expected_seconds(study, force=True)
    assert again(plan["05-local-optimization"]) > 2.0


def test_a_reference_of_another_configuration_tells_nothing(study):
    step = next(s for s in steps(study) if s.name == "05-local-optimization")
    run = step.experiments[0]
    study.store.root.mkdir(parents=True)
    for config_hash, seconds in ((study.config_hash(run), 77.0), ("another", None)):
        reference = {"runs": {run.run_id: {"config_hash": config_hash}}, "steps": {"05-local-optimization": 77.0}}
        study.store.reference_path.write_text(json.dumps(reference))
        expected = expected_seconds(study)(step)
        assert expected == 77.0 if seconds else expected == pytest.approx(10 + 24 / 110)


def test_an_unknown_gpu_is_measured_once(study, monkeypatch):
    probes = []
    monkeypatch.setattr(module, "probed_rate", lambda *which: probes.append(which) or 500.0)
    study.device = "cuda"
    seed0 = study.experiment("standin-rhd/internet/full/seed0")
    try:
        for _ in range(2):
            assert expected_seconds(study).training(seed0) == pytest.approx(2 * 12 / 500)
        assert len(probes) == 1
    finally:
        module._measured_now.cache_clear()
