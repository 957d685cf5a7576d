"""The number by which a run is compared with the reference."""

from make_results import make_store

from msff.study.experiment import Experiment
from msff.study.reference import headline, headline_metric


def test_the_headline_error_is_the_ranking_metric_without_the_true_wrist_depth(tmp_path):
    store = make_store(tmp_path / "cpu")
    run = next(run for run in store.runs() if run.experiment.dataset == "standin-rhd")
    metrics = run.record.metrics
    assert metrics["T1"]["wrist20"] != metrics["T2"]["wrist20"]
    assert headline(run) == metrics["T2"]["wrist20"]
    interhand = Experiment("cpu", "standin-interhand", "msff", "full")
    assert headline_metric(interhand) == ("T2", "mpjpe_all")


def test_a_papers_own_recipe_is_compared_by_its_own_metric():
    native = Experiment("paper", "rhd", "posenet", "native")
    assert headline_metric(native) == ("T0", "palm21_vis")
