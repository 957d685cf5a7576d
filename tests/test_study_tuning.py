"""Choosing rates on held-out training images: no test image takes part, and a killed call goes on."""

import dataclasses

import pandas as pd
import pytest
from tiny_study import ROOT, tiny_study

from msff.models.registry import method_of
from msff.study import tuning
from msff.study.experiment import Study
from msff.study.profiles import PROFILES
from msff.study.runs import Experiment
from msff.study.tuning import METHODS, RATES, HoldOut, best, candidates, tune, tuning_path


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_study(tmp_path_factory.mktemp("project"))


def test_the_held_out_images_are_training_images_and_not_trained_on(study):
    hold_out = HoldOut(study.profile, study.root, study.device)
    train, test = (hold_out.samples("standin-rhd", part) for part in ("train", "test"))
    whole = [s.image_path for s in study.samples("standin-rhd", "train").samples]
    assert [s.image_path for s in [*train.samples, *test.samples]] == whole
    assert len(test) == round(tuning.SHARE * len(whole)) > 0
    unseen = {s.image_path for s in study.samples("standin-rhd", "test").samples}
    assert not unseen & set(whole)


def test_candidates_change_the_rates_of_every_phase_of_one_method_alone():
    profile = PROFILES["cpu"]
    for method in tuning.METHODS:
        tried = [c.profile for c in candidates(profile, method)]
        assert len({c.setting for c in candidates(profile, method)}) == len(tried) == len(set(map(repr, tried)))
        for changed in tried:
            rest = {"recipes": profile.recipes, "training": profile.training}
            own = "training" if method in ("msff", "internet") else "recipes"
            assert dataclasses.replace(changed, **{own: rest[own]}) == profile
    low, usual, high = (c.profile.recipes.posenet for c in candidates(profile, "posenet"))
    for phase in ("pose2d", "lifting", "segmentation"):
        rates = [getattr(recipe, phase).learning_rate for recipe in (low, usual, high)]
        assert rates == list(RATES)
    with pytest.raises(ValueError, match="mean-pose.*choose one of msff"):
        next(candidates(profile, "mean-pose"))


def test_a_second_call_measures_only_what_is_missing(study, monkeypatch):
    table = tune(study, ["song", "chen"])
    assert list(table.method) == ["chen"] * 3 + ["song"] * 3 and table.error_mm.gt(0).all()  # in the order of METHODS
    kept = pd.read_csv(tuning_path(study.store))
    pd.testing.assert_frame_equal(kept, table, check_dtype=False, rtol=1e-5)
    experiment = Experiment("smoke", "standin-rhd", "song")
    assert study.finished(experiment) is None and not study.checkpoint_path(experiment).exists()  # nothing of its own

    kept.drop(index=4).to_csv(tuning_path(study.store), index=False)  # killed before this row
    measured = []
    whole = tuning._measured
    monkeypatch.setattr(tuning, "_measured", lambda *which: measured.append(which) or whole(*which))
    again = tune(study, ["chen", "song"])
    assert len(measured) == 1 and measured[0][1] == experiment
    again = again.sort_values(["method", "setting"]).reset_index(drop=True)
    kept = kept.sort_values(["method", "setting"]).reset_index(drop=True)
    untimed = [table.drop(columns="train_seconds") for table in (again, kept)]
    pd.testing.assert_frame_equal(*untimed, check_dtype=False, rtol=1e-5)


def test_a_killed_call_keeps_what_was_measured_and_the_next_drops_what_is_obsolete(study, monkeypatch):
    path = tuning_path(study.store)
    kept = pd.read_csv(path)
    obsolete = kept.iloc[[0]].assign(config_hash="another", setting="rate 7")
    pd.concat([obsolete, kept.drop(index=1)]).to_csv(path, index=False)

    def killed(*which):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tuning, "_measured", killed)
        tune(study, ["chen", "song"])
    assert set(pd.read_csv(path).config_hash) == {"another", *kept.config_hash.drop(index=1)}
    assert set(tune(study, ["chen", "song"]).config_hash) == set(kept.config_hash)
    with pytest.raises(ValueError, match="rootnet"):
        tune(study, ["chen", "rootnet"])


def test_the_best_setting_is_the_lowest_and_shared_where_the_training_is():
    rows = [("msff", "a", 40, "m1"), ("msff", "b", 41, "m2"), ("internet", "a", 60, "i1"), ("internet", "b", 55, "i2"),
            ("song", "a", 50, "s1"), ("song", "b", 49, "s2")]  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "setting", "error_mm", "config_hash"])
    assert best(table) == {"msff": "m2", "internet": "i2", "song": "s2"}


def test_the_profile_follows_the_table_that_is_shipped_with_it():
    study = Study("cpu", ROOT, "cpu")
    table = pd.read_csv(tuning_path(study.store))
    assert set(table.method) == set(METHODS)
    hold_out = HoldOut(study.profile, study.root, study.device)
    dataset = study.profile.data.datasets[0]
    for method, config_hash in best(table).items():
        experiment = Experiment("cpu", dataset, method, method_of(method).headline)
        assert hold_out.config_hash(experiment) == config_hash, f"{method}: {table[table.method == method]}"
