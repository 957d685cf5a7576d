import json

import numpy as np
import pandas as pd
import pytest
from make_results import make_predictions, make_record, make_truth

from msff.study.experiment import Experiment
from msff.study.store import Store, StoreError, without_markup

PREDICTIONS = make_predictions(make_truth("standin-rhd", 3), 5.0)


def test_run_id_round_trip():
    experiment = Experiment("cpu", "standin-rhd", "msff", "no-ccm", 2)
    assert experiment.run_id == "standin-rhd/msff/no-ccm/seed2"
    assert Experiment.parse("cpu", experiment.run_id) == experiment


@pytest.mark.parametrize("text", ["", "a/b/c", "a/b/c/seedx", "a/b/c/seed1/d", "../b/c/seed1"])
def test_what_is_no_run_id(text):
    with pytest.raises(ValueError, match="run id"):
        Experiment.parse("cpu", text)


def test_a_run_is_stored_and_found(tmp_path):
    store = Store(tmp_path / "cpu")
    experiment = Experiment("cpu", "standin-rhd", "msff")
    history = pd.DataFrame({"epoch": [1, 2], "loss": [2.0, 1.0]})
    assert store.runs() == [] and store.get(experiment) is None
    store.save_run(make_record(experiment, uid="x"), history, PREDICTIONS)
    (run,) = store.runs()
    assert run.experiment == experiment
    assert run.record == make_record(experiment, uid="x")
    assert run.history.loss.tolist() == [2.0, 1.0]
    np.testing.assert_allclose(run.predictions.joints["T2"], PREDICTIONS.joints["T2"], atol=0.5)  # mm, in 16 bits
    assert store.select(method="internet") == [] and len(store.select(method="msff")) == 1


def test_a_failed_write_leaves_the_old_run(tmp_path):
    store = Store(tmp_path / "cpu")
    experiment = Experiment("cpu", "standin-rhd", "msff")
    store.save_run(make_record(experiment, uid="old"), pd.DataFrame(), PREDICTIONS)
    with pytest.raises(ValueError):  # NaN is not JSON
        store.save_run(make_record(experiment, seconds=float("nan")), pd.DataFrame(), PREDICTIONS)
    assert store.get(experiment).record.uid == "old"
    assert not list(tmp_path.rglob("*.partial*"))


def test_a_damaged_record_names_its_file(tmp_path):
    store = Store(tmp_path / "cpu")
    experiment = Experiment("cpu", "standin-rhd", "msff")
    run = store.save_run(make_record(experiment, uid="x"), pd.DataFrame(), PREDICTIONS)
    for text in ('{"uid": ', '{"uid": "x"}', "[]"):
        (run.path / "run.json").write_text(text)
        with pytest.raises(StoreError, match="run.json cannot be read.*Delete .*seed0"):
            _ = store.get(experiment).record


def test_a_damaged_reference_names_its_file(tmp_path):
    store = Store(tmp_path / "cpu")
    assert store.reference() == {}
    store.root.mkdir()
    store.reference_path.write_text(json.dumps({"profile": "cpu"}))
    with pytest.raises(StoreError, match="reference.json is damaged"):
        store.reference()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_a_damaged_source_of_the_truth_names_its_file(tmp_path, text):
    store = Store(tmp_path / "cpu")
    (store.root / "truth").mkdir(parents=True)
    (store.root / "truth" / "rhd.npz").touch()
    assert store.truth_source("rhd") is None
    (store.root / "truth" / "rhd.json").write_text(text)
    with pytest.raises(StoreError, match="rhd.json is damaged.*Delete it"):
        store.truth_source("rhd")


MARKUP = ("<script>alert(1)</script>", "{{ ''.__class__ }}", "[a](b)", "```", "a\nb", "\x1b[2J", "$a$")


@pytest.mark.parametrize("text", MARKUP)
def test_a_record_with_markup_is_refused_by_field(tmp_path, text):
    store = Store(tmp_path / "cpu")
    experiment = Experiment("cpu", "standin-rhd", "msff")
    path = store.save_run(make_record(experiment), pd.DataFrame(), PREDICTIONS).path / "run.json"
    whole = json.loads(path.read_text())
    for field, value in (("hardware", text), ("versions", {"torch": text}), ("given", {"T1": {text: "none"}})):
        path.write_text(json.dumps(whole | {field: value}))
        where = "a name in T1" if field == "given" else {"versions": "torch"}.get(field, field)
        with pytest.raises(StoreError, match=rf"run.json cannot be read \({where} holds markup"):
            _ = store.get(experiment).record
    path.write_text(json.dumps(whole | {"config": {"a": text}}))
    assert store.get(experiment).record.config == {"a": text}  # shown as JSON
    (path.parent / "realworld.json").write_text(json.dumps({"photos": {"source": text}}))
    with pytest.raises(StoreError, match=r"realworld.json cannot be read \(source holds markup"):
        _ = store.get(experiment).photos


def test_a_machine_s_name_loses_its_markup_before_it_is_recorded():
    assert without_markup("A<b>|{CPU}` @ 2.1 GHz (R)\n") == "AbCPU @ 2.1 GHz (R)"
