"""The tables for those who reproduce: from the store alone, and right."""

import msgspec
import numpy as np
import pytest
from make_results import make_history, make_predictions, make_record, make_truth

from msff.report import costs
from msff.report.book import answers
from msff.report.results import stores_with_runs
from msff.study.experiment import Experiment
from msff.study.store import Store


def put(store, run_id, **record):
    experiment = Experiment.parse(store.profile, run_id)
    truth = make_truth(experiment.dataset, 4)
    store.save_truth(truth, {"made": "up"})
    store.save_run(make_record(experiment, **record), make_history(experiment.method), make_predictions(truth, 5.0))


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "cpu")
    usual = {"device": "cpu", "threads": 2, "peak_mib": 4e9 / 2**20, "images_per_s": 50.0}
    put(store, "standin-rhd/msff/full/seed0", seconds=7200.0, **usual)
    put(store, "standin-rhd/mean-pose/full/seed0", seconds=60.0, **(usual | {"images_per_s": None}))
    return store


def test_energy_is_the_green_algorithms_formula():
    """Worked by hand: 2 h * (2 threads * 12 W + 4 GB * 0.3725 W) * 1.67 = 85.14 Wh."""
    record = make_record(
        Experiment.parse("cpu", "standin-rhd/msff/full/seed0"), seconds=7200.0, device="cpu", threads=2,
        peak_mib=4e9 / 2**20,
    )  # fmt: skip
    assert costs.energy_kwh(record) == pytest.approx(0.0851366, rel=1e-5)
    assert np.isnan(costs.energy_kwh(msgspec.structs.replace(record, device="cuda")))


def test_the_cost_counts_trainings_and_not_the_mean_pose(store):
    row = costs.totals(stores_with_runs(store)).iloc[0]
    assert (row["trainings"], row["hours"], row["energy, kWh"], row["peak memory, GB"]) == ("1", "2.0", "0.09", "4.0")


def test_time_and_losses_are_means_over_the_seeds_of_a_network(store):
    put(store, "standin-rhd/msff/full/seed1", train_seconds=3600.0, images_per_s=70.0)
    put(store, "standin-rhd/msff/full/seed2", train_seconds=7200.0, images_per_s=30.0)
    (row,) = answers.trainings_table([store]).to_dict("records")
    runs = store.select(dataset="standin-rhd", method="msff", variant="full")
    assert row["minutes; images/s"] == "60; 50" and len(runs) == 3
    first, last = (np.mean([run.history.loss.iloc[at] for run in runs]) for at in (0, -1))
    assert row["loss"] == f"{first:.2f} → {last:.2f}"


def test_the_paper_scale_follows_from_the_measured_speed(tmp_path):
    """41,258 images * 20 epochs at 100 images/s are 8,252 s, a tenth of a day."""
    (tmp_path / "train-msff-256.json").write_text('{"images_per_s": 100.0}')
    table = answers.paper_scale_table(tmp_path).set_index("real training set")
    assert list(table.index) == ["RHD", "InterHand2.6M"] and table.loc["RHD", "steps"] == "51,572"
    assert table.loc["InterHand2.6M", "days, extrapolated"] == "3"  # 1,361,062 * 20 / 100 / 86,400 = 3.15


def test_retrainings_carry_their_source_and_mark_what_is_from_memory():
    table = answers.retrainings_table()
    assert table.MRRPE.iloc[0].endswith("*") and not table.MRRPE.iloc[1:].str.endswith("*").any()
    assert table.InterNet.str.len().min() > 10 and len(table) == len(set(table.InterNet))
