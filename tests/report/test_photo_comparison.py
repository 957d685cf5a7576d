"""Errors on photographs across profiles, beside MediaPipe's: which rows, in which order, and what is left out."""

import json

import pytest
from make_results import PHOTO_SET, add_photos

from msff.report.photo_comparison import MEDIAPIPE, photo_errors, photo_figure, photo_section, photo_table

OTHER = {"count": 583, "sha256": "another set"}


@pytest.fixture(scope="module")
def stores(copied):
    stores = {}
    for name, noise in (("cpu", 30.0), ("cpu-scratch", 15.0)):
        stores[name] = store = copied(name)
        for run in store.runs():
            path = run.path / "run.json"
            record = json.loads(path.read_text()) | {"config": {"data": {}}, "train_images": 1234}
            path.write_text(json.dumps(record))
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
    assert table.method.tolist() == [MEDIAPIPE, "MS-FF", "MS-FF"]
    assert table.profile.tolist() == ["", "`cpu-scratch`", "`cpu`"]
    (run,) = stores["cpu"].select(method="msff", variant="full", dataset="standin-rhd")
    found = run.photos["metrics"]["T2"]["wrist20"]
    assert table["wrist20, mm"].iloc[2] == f"{found['value']:.1f} [{found['low']:.1f}, {found['high']:.1f}]"


def test_landmarks_of_other_photographs_are_left_out(stores, tmp_path):
    errors = photo_errors(stores.values(), mediapipe(tmp_path / "m", OTHER))
    assert set(errors.method) == {"MS-FF"}


def test_the_figure_has_a_point_per_row_and_the_section_states_the_number_of_photos(stores, tmp_path):
    errors = photo_errors(stores.values(), mediapipe(tmp_path / "m", PHOTO_SET))
    left, right = photo_figure(errors).axes
    assert len(left.containers) == len(right.containers) == 3
    assert f"{PHOTO_SET['count']} real photographs" in photo_section(errors)


def test_without_photographs_the_section_says_so(made, tmp_path):
    assert photo_errors([made()], tmp_path).empty
    assert "No stored run" in photo_section(photo_errors([], tmp_path))
