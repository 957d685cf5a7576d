"""Real photographs: the table of a profile, and all profiles beside MediaPipe; what is left out."""

import json
import shutil

import numpy as np
import pytest
from make_results import PHOTO_SET, add_photos

from msff.report import tables
from msff.report.formatting import captioned, formatted
from msff.report.photos import MEDIAPIPE, photo_errors, photo_figure, photo_section, photo_table
from msff.report.results import Cell, Results
from msff.study.store import Run, Store

OTHER = {"count": 583, "sha256": "another set"}
NOISE = {"msff": 20.0, "yang": 25.0, "song": 18.0, "mean-pose": 30.0}
DATA = {"config": {"data": {"generator_version": 7}}, "train_images": 1234}


def fields(run: Run, **changed) -> None:
    path = run.path / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


@pytest.fixture(scope="module")
def store(copied) -> Store:
    """Runs of two seeds, of which most have seen 30 photos; Spurr has seen none, InterNet others."""
    store = copied("cpu", (0, 1))
    for run in store.runs():
        fields(run, **DATA)
    for method, noise in NOISE.items():
        for run in store.select(method=method, variant="full"):
            add_photos(store, run, noise)
    (internet,) = store.select(method="internet", dataset="standin-rhd", seed=0)
    add_photos(store, internet, 20.0, OTHER)
    return store


@pytest.fixture(scope="module")
def table(store):
    return tables.realworld(Results(store))


def value(table, method: str, metric: str, trained_on: str = "stand-in in RHD format"):
    (row,) = table.query("method == @method and metric == @metric and trained_on == @trained_on").itertuples()
    return row


def test_a_row_of_one_seed_is_what_the_run_measured_and_of_two_their_mean(store, table):
    (floor,) = store.select(method="mean-pose", dataset="standin-rhd")
    for name, number in floor.photos["metrics"]["T2"].items():
        row = value(table, "mean pose (baseline)", name)
        if number is None:
            assert name == "wrist20_pred_side" and np.isnan(row.value)
        else:
            assert (row.value, row.low, row.high, row.seeds) == (number["value"], number["low"], number["high"], 1)
    runs = store.select(method="msff", variant="full", dataset="standin-rhd")
    both = [run.photos["metrics"]["T2"]["pa21"] for run in runs]
    row = value(table, "MS-FF", "pa21")
    for key in ("value", "low", "high"):
        assert getattr(row, key) == pytest.approx((both[0][key] + both[1][key]) / 2)
    assert (row.seeds, row.samples, row.status) == (2, 30, "ok")


def test_every_method_has_a_line_per_training_set_and_the_mean_pose_stands_beside(table):
    assert set(table["track"]) == {"T2"} and set(table["dataset"]) == {"realworld"}
    shown = formatted(table)
    assert list(shown.columns) == [
        "method", "trained on", "wrist20", "wrist20, average hand size", "palm21", "pa21", "PCK 30 wrist20",
        "AUC 0-50 wrist20", "AUC 20-50 wrist20", "PCK 30 pa21", "AUC 0-50 pa21", "AUC 20-50 pa21", "handedness input",
        "scale input", "wrist depth", "seeds",
    ]  # fmt: skip
    lines = list(zip(shown["method"], shown["trained on"], strict=True))
    rhd, interhand = "stand-in in RHD format", "stand-in in InterHand2.6M format"
    assert lines == [
        *((m, rhd) for m in ("PoseNet(2017)", "Chen(2018)", "Yang(2019)", "Spurr(2018)", "InterNet(2020)")),
        ("Song-S (surrogate)", rhd), ("MS-FF", rhd), ("mean pose (baseline)", rhd),
        ("MS-FF without global regression", rhd), ("MS-FF without its modules", rhd),
        *((m, interhand) for m in ("PoseNet(2017)", "Yang(2019)", "Spurr(2018)", "InterNet(2020)")),
        ("Song-S (surrogate)", interhand), ("MS-FF", interhand), ("mean pose (baseline)", interhand),
    ]  # fmt: skip
    assert shown.set_index(["method", "trained on"]).loc[("Spurr(2018)", rhd), "wrist20"] == "not predicted"
    assert not [m for m in table["method"] if "oracle" in m]


def test_the_inputs_are_those_that_the_runs_recorded(table):
    shown = formatted(table).set_index(["method", "trained on"])
    inputs = ["handedness input", "scale input", "wrist depth"]
    assert list(shown.loc[("Yang(2019)", "stand-in in RHD format"), inputs]) == ["predicted", "training mean", "none"]
    assert list(shown.loc[("MS-FF", "stand-in in RHD format"), inputs]) == ["none", "none", "box"]


def test_numbers_of_other_photos_stand_apart(store, table):
    row = value(table, "InterNet(2020)", "wrist20")
    assert row.status == "not predicted" and np.isnan(row.value)
    assert Results(store).photo_set == PHOTO_SET


def test_on_a_tie_the_larger_set_counts(copied):
    store = copied()
    for method, source in (("msff", PHOTO_SET), ("song", OTHER)):
        (run,) = store.select(method=method, variant="full", dataset="standin-rhd")
        add_photos(store, run, 20.0, source)
    assert Results(store).photo_set == OTHER


def test_the_caption_names_photos_training_data_and_profile(table):
    caption = table.attrs["caption"]
    for fact in ("30 of the 583 real photographs", "Ge et al.", "stand-in in RHD format, 1,234 images", "version 7",
                 "Profile cpu"):  # fmt: skip
        assert fact in caption
    assert len(caption.split()) <= 60


def test_without_predictions_a_sentence_stands_in_place_of_the_table(made_results, empty):
    for results in (made_results(), empty):
        table = tables.realworld(results)
        text = captioned(table)
        assert table.empty and text.startswith("No run of this profile")
        assert "|" not in text and f"Profile {results.profile}." in text
    assert made_results().photos(Cell("standin-rhd", "msff")) == []


def test_the_table_needs_neither_photos_nor_predictions(store, table, tmp_path):
    shutil.copytree(store.root, tmp_path / "cpu", ignore=shutil.ignore_patterns("*.npz"))
    again = tables.realworld(Results(Store(tmp_path / "cpu")))
    assert again.equals(table) and again.attrs["caption"] == table.attrs["caption"]


# All profiles


@pytest.fixture(scope="module")
def stores(copied):
    stores = {}
    for name, noise in (("cpu", 30.0), ("cpu-scratch", 15.0)):
        stores[name] = store = copied(name)
        for run in store.runs():
            fields(run, config={"data": {}}, train_images=1234)
        for run in store.select(method="msff", variant="full", dataset="standin-rhd"):
            add_photos(store, run, noise)
    return stores


def mediapipe(folder, photos):
    number = {"value": 1.0, "low": 0.5, "high": 2.0, "samples": 30}
    metrics = {"T2": {name: number for name in ("wrist20", "pa21", "pa21_pck_30")}}
    folder.mkdir()
    (folder / "realworld.json").write_text(json.dumps({"found": 30, "photos": photos, "metrics": metrics}))
    return folder


def test_rows_of_all_profiles_come_with_mediapipe_the_smallest_error_first(stores, tmp_path):
    errors = photo_errors(stores.values(), mediapipe(tmp_path / "m", PHOTO_SET))
    table = photo_table(errors)
    assert table.network.tolist() == [MEDIAPIPE, "MS-FF, `cpu-scratch`", "MS-FF, `cpu`"]
    (run,) = stores["cpu"].select(method="msff", variant="full", dataset="standin-rhd")
    found = run.photos["metrics"]["T2"]["wrist20"]
    assert table.wrist20.iloc[2] == f"{found['value']:.1f} [{found['low']:.1f}, {found['high']:.1f}]"


def test_landmarks_of_other_photographs_are_left_out(stores, tmp_path):
    errors = photo_errors(stores.values(), mediapipe(tmp_path / "m", OTHER))
    assert set(errors.method) == {"MS-FF"}


def test_the_figure_has_the_networks_of_one_profile_beside_mediapipe(stores, tmp_path):
    errors = photo_errors(stores.values(), mediapipe(tmp_path / "m", PHOTO_SET))
    left, right = photo_figure(errors, "cpu-scratch").axes
    assert [text.get_text() for text in left.texts] == [MEDIAPIPE, "MS-FF"]
    of_msff = errors[(errors.method == "MS-FF") & (errors.profile == "cpu-scratch")].set_index("metric").value
    for ax, metric in ((left, "wrist20"), (right, "pa21")):
        drawn = [container.lines[0].get_xdata().item() for container in ax.containers]
        assert drawn == [1.0, of_msff[metric]]


def test_the_section_states_the_number_of_photos_and_splits_the_networks_by_training_set(stores, tmp_path):
    errors = photo_errors(stores.values(), mediapipe(tmp_path / "m", PHOTO_SET))
    errors.loc[errors.profile == "cpu", "trained_on"] = "stand-in in InterHand2.6M format"
    rhd, interhand = photo_section(errors, "cpu-scratch").split("{dropdown}")
    assert f"{PHOTO_SET['count']} real photographs" in rhd
    assert "`cpu-scratch`" in rhd and "`cpu`" not in rhd and "`cpu`" in interhand and MEDIAPIPE not in interhand


def test_networks_of_one_layout_alone_make_a_section(stores, tmp_path):
    errors = photo_errors(stores.values(), tmp_path)
    assert "{dropdown}" not in photo_section(errors, "cpu")
    text = photo_section(errors.assign(trained_on="stand-in in InterHand2.6M format"), "cpu")
    assert "{dropdown}" in text and "All networks" not in text and text.count("\n| MS-FF") == 2


def test_without_photographs_the_section_says_so(made, tmp_path):
    assert photo_errors([made()], tmp_path).empty
    assert "No stored run" in photo_section(photo_errors([], tmp_path), "cpu")
