"""Choosing rates on held-out training images: no test image takes part, and a killed call resumes."""

import dataclasses

import pandas as pd
import pytest
from tiny_study import ROOT

from msff.study import tuning
from msff.study.experiment import Experiment
from msff.study.grid import method_and_variant
from msff.study.profiles import PROFILES, RootDepthSpec
from msff.study.progress import checkpoint_path, finished
from msff.study.tuning import RATES, ROWS, best, candidates, tune
from msff.study.workspace import Workspace

BOX = RootDepthSpec("box")


@pytest.fixture
def two_rates(monkeypatch):
    """Two of the four rates, since each is trained."""
    for name in ("RATES", "CHEN_RATES"):
        monkeypatch.setattr(tuning, name, getattr(tuning, name)[:2])


def test_the_held_out_images_are_training_images_and_not_trained_on(study):
    hold_out = tuning._hold_out(study, study.profile, Experiment("smoke", "standin-rhd", "msff"))
    train, test = (hold_out.samples("standin-rhd", part) for part in ("train", "test"))
    whole = [s.image_path for s in study.samples("standin-rhd", "train").samples]
    assert [s.image_path for s in [*train.samples, *test.samples]] == whole
    assert len(test) == round(tuning.SHARE * len(whole)) > 0
    unseen = {s.image_path for s in study.samples("standin-rhd", "test").samples}
    assert not unseen & set(whole)


@pytest.mark.parametrize("name", ["cpu", "cpu-long"])
def test_candidates_change_the_rates_of_every_phase_of_one_network_alone(name):
    """All have the same schedule, that of the pilot where the profile has one, and the same rates."""
    profile = PROFILES[name]
    start = dataclasses.replace(profile, training=profile.pilot or profile.training, rates={}, root_depth=BOX)
    for row in ROWS:
        tried = list(candidates(profile, row))
        assert len({setting for setting, *_ in tried}) == len(tried) and len({rate for _, rate, _ in tried}) >= 4
        for *_, changed in tried:
            own = "training" if row in ("msff", "msff/bare", "internet") else "recipes"
            assert dataclasses.replace(changed, **{own: getattr(start, own)}) == start
    recipes = [changed.recipes.posenet for *_, changed in candidates(profile, "posenet")]
    for phase in ("pose2d", "lifting", "segmentation"):
        assert [getattr(recipe, phase).learning_rate for recipe in recipes] == list(RATES)
    for row in ("msff", "msff/bare", "internet"):
        assert [p.rate(*method_and_variant(row)) for *_, p in candidates(profile, row)] == list(RATES)


def test_an_unknown_row_is_refused_by_name(study):
    with pytest.raises(ValueError, match="mean-pose.*choose one of msff"):
        tune(study, ["msff", "mean-pose"])


def test_a_variant_of_msff_is_tuned_by_the_same_rule():
    """Its settings are those of MS-FF, and it is no part of a call without rows."""
    profile = PROFILES["cpu-long"]
    assert "msff/no-grm" in tuning.VARIANTS and not {*tuning.VARIANTS} & {*ROWS}
    assert list(candidates(profile, "msff/no-grm")) == list(candidates(profile, "msff"))


def test_a_second_call_measures_only_what_is_missing(study, two_rates, monkeypatch):
    table = tune(study, ["song", "chen"])
    assert list(table.row) == ["chen"] * 2 + ["song"] * 2 and table.error_mm.gt(0).all()  # in the order of ROWS
    kept = pd.read_csv(study.store.tuning)
    pd.testing.assert_frame_equal(kept, table, check_dtype=False, rtol=1e-5)
    experiment = Experiment("smoke", "standin-rhd", "song")
    assert finished(study, experiment) is None and not checkpoint_path(study, experiment).exists()  # nothing of its own

    kept.drop(index=2).to_csv(study.store.tuning, index=False)  # killed before this row
    measured = []
    whole = tuning._measured
    monkeypatch.setattr(tuning, "_measured", lambda *which: measured.append(which) or whole(*which))
    again = tune(study, ["chen", "song"])
    assert len(measured) == 1 and measured[0][1] == experiment
    again = again.sort_values(["row", "setting"]).reset_index(drop=True)
    kept = kept.sort_values(["row", "setting"]).reset_index(drop=True)
    untimed = [table.drop(columns=["train_seconds", "images_per_s"]) for table in (again, kept)]
    pd.testing.assert_frame_equal(*untimed, check_dtype=False, rtol=1e-5)


def test_a_killed_call_keeps_what_was_measured_and_the_next_drops_what_is_obsolete(study, two_rates, monkeypatch):
    path = study.store.tuning
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


def test_two_calls_on_different_rows_keep_each_others_lines(study, two_rates):
    path = study.store.tuning
    before = set(pd.read_csv(path).config_hash)
    theirs = dict(row="internet", setting="rate 1", rate=1.0, error_mm=1.0, config_hash="other")
    pd.concat([pd.read_csv(path), pd.DataFrame([theirs])]).to_csv(path, index=False)
    assert set(tune(study, ["chen"]).config_hash) == before | {"other"}


def test_the_best_setting_is_the_lowest_of_each_row():
    rows = [("msff", "a", 40, "m1"), ("msff", "b", 41, "m2"), ("internet", "a", 60, "i1"), ("internet", "b", 55, "i2")]
    table = pd.DataFrame(rows, columns=["row", "setting", "error_mm", "config_hash"])
    assert best(table) == {"msff": "m1", "internet": "i2"}


def test_the_profile_follows_the_table_that_is_shipped_with_it():
    study = Workspace("cpu-long", ROOT, "cpu")
    table = tuning.tuned(study.store.tuning)
    chosen = table[table.config_hash.isin(best(table).values())].set_index("row").rate
    assert set(chosen.index) >= {"msff", "msff/bare", "internet"}
    for row, rate in chosen.items():
        assert study.profile.rate(*method_and_variant(row)) == rate, table[table.row == row]
