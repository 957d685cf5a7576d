"""The book's tables about the methods: whole, and the same as the code."""

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from make_results import add_run, make_record, make_store, make_truth

from msff.data.datasets import DATASETS
from msff.models.registry import AUXILIARY, METHODS
from msff.report.book.fragments import (
    banner,
    bench,
    demo_fragment,
    departures_table,
    larger,
    open_choices_table,
    profile_page,
    runs_table,
)
from msff.report.book.methods import (
    PUBLISHED_LAYERS,
    choices_tables,
    given_table,
    methods_table,
    native_recipes_table,
    of_recipes,
    recipes_table,
    schedule,
    trainings,
    variants_table,
)
from msff.report.book.run_pages import run_title
from msff.report.formatting import markdown, with_numbers
from msff.report.open_choices import COMPARED_CHOICES
from msff.report.tables import BUILDERS, write_tables
from msff.settings.training import TrainingConfig
from msff.study.experiment import Experiment
from msff.study.grid import experiments
from msff.study.profiles import PROFILES
from msff.study.recipes import HandRecipes
from msff.study.store import Store


@pytest.fixture(scope="module")
def methods():
    return methods_table().set_index("method")


@pytest.fixture(scope="module")
def choices():
    return choices_tables()


def test_the_methods_table_has_every_method_and_helper_in_order(methods):
    assert list(methods.index) == [m.label for m in (*METHODS.values(), *AUXILIARY.values())]
    assert methods["in `msff/models`"].is_unique


def test_counts_agree_with_the_published_layers(methods):
    for name, (million, gmac) in PUBLISHED_LAYERS.items():
        row = methods.loc[(METHODS | AUXILIARY)[name].label]
        assert float(row["parameters, M"]) == pytest.approx(million, abs=0.06)
        assert float(row["GMAC"]) == pytest.approx(gmac, abs=0.06)


def test_variants_start_with_the_one_that_stands_for_the_method():
    commands = list(variants_table()["in commands"])
    for name, method in METHODS.items():
        shown = [c.strip("`").split()[-1] for c in commands if c.startswith(f"`--method {name} ")]
        several = method.variants if len(method.variants) > 1 else ()
        assert sorted(shown) == sorted(several) and shown[:1] in ([], [method.headline])


def test_a_row_without_a_network_or_a_known_metric_says_so(methods):
    assert methods.loc["Mean pose", "GMAC"] == "none"
    assert methods.loc["Yang(2019)", "own metric (T0)"] == "not known"
    assert methods.loc["Chen(2018)", "own metric (T0)"] == "`palm21`"


def test_what_is_given_in_words():
    table = given_table().set_index("method")
    assert list(table.index) == [m.label for m in METHODS.values()]
    assert table.loc["PoseNet(2017)"].tolist()[1:] == ["box, scale, handedness", "box"]
    assert table.loc["MS-FF"].tolist() == [
        "crop?, depth?, scored hand?",
        "box, wrist depth, scored hand",
        "box, scored hand",
    ]


def test_every_choice_appears_once(choices):
    assert list(choices) == [METHODS[name].label for name in COMPARED_CHOICES]
    for name, rows in COMPARED_CHOICES.items():
        table = choices[METHODS[name].label]
        assert table["field"].tolist() == [f"`{row.name}`" for row in rows]
        assert table["field"].is_unique
        assert table["reason"].tolist() == [row.reason for row in rows]


def test_no_text_is_empty_and_no_table_breaks(methods, choices):
    for table in (*choices.values(), given_table(), native_recipes_table(), methods.drop(columns="by its layers")):
        assert (table.map(str).map(str.strip) != "").all(axis=None)
        assert len(markdown(table).splitlines()) == len(table) + 2


def test_a_schedule_in_words():
    training = TrainingConfig(batch_size=8, epochs=3, learning_rate=1e-5, decay_epochs=(1, 2), images_per_epoch=80)
    assert schedule(training) == "3 epochs of 80 images, batch 8, adam 1e-05, times 0.1 at 1 and 2"
    assert schedule(TrainingConfig(epochs=3, decay_epochs=(), augment=None)) == (
        "3 epochs, batch 16, adam 0.0001; no augmentation"
    )
    assert schedule(PROFILES["paper"].root_depth.training).endswith("; shift 0, scale 0, rotation_deg 30")


def test_every_training_of_every_profile_is_in_the_table():
    table = recipes_table(PROFILES.values())
    assert list(table.columns) == ["training", *(f"`{name}`" for name in PROFILES)]
    listed = [name for cell in table["training"] for name in cell.split("; ")]
    assert sorted(listed) == sorted(trainings(PROFILES["paper"]))
    rootnet = table[table["training"] == "RootNet"].iloc[0]
    boxes = [name for name, profile in PROFILES.items() if profile.root_depth.source == "box"]
    assert boxes and [name for name in PROFILES if rootnet[f"`{name}`"] == "not trained"] == boxes
    assert {"MS-FF, InterNet(2020)", "Yang(2019), labels", "SideNet", "RootNet", "Spurr(2018)"} <= set(listed)
    joint = HandRecipes(yang=type(HandRecipes().yang)(joint=TrainingConfig()))
    assert "Yang(2019), joint" in of_recipes(joint, ["yang"])


def test_schedules_are_not_repeated_among_the_departures():
    table = departures_table(PROFILES)
    assert "epochs" not in table and "`training." not in table and "root_depth.source" in table


def test_a_papers_own_recipe_shows_its_own_metric(tmp_path, monkeypatch):
    store = Store(tmp_path / "results" / "paper")
    metrics = {"T0": {"palm21_vis": 12.345}}

    def get(experiment):
        if experiment.variant != "native" or experiment.method not in ("spurr", "yang"):
            return None
        return SimpleNamespace(experiment=experiment, record=make_record(experiment, metrics=metrics))

    monkeypatch.setattr(store, "get", get)
    lines = runs_table(store, {}).splitlines()
    assert "12.35 (T0, palm21_vis)" in next(line for line in lines if "rhd/spurr/native/seed0" in line)
    assert "its metric on T0 is not known" in next(line for line in lines if "rhd/yang/native/seed0" in line)


def test_larger_profiles_that_have_runs_are_linked(tmp_path):
    store = make_store(tmp_path / "cpu")
    for none in (store, Store(tmp_path / "cpu-long"), Store(tmp_path / "gpu")):
        assert "No larger profile" in larger(none)
    assert "[`cpu`](/book/_executed/larger/cpu.md)" in larger(Store(tmp_path / "smoke"))


def test_the_page_of_a_profile_counts_its_runs_and_links_every_stored_table(tmp_path):
    store = make_store(tmp_path / "cpu")
    assert "CSV in full precision: none yet." in profile_page(store, {})
    write_tables(store)
    text, grid = profile_page(store, {}), experiments(PROFILES["cpu"])
    assert f"{len({run.experiment for run in store.runs()} & set(grid))} of its {len(grid)} runs are stored" in text
    assert "rendered hands" in text
    assert all(f"</book/_executed/csv/cpu/tables/{name}.csv>" in text for name in BUILDERS)


def test_the_banner_counts_the_seeds_of_the_stored_runs(tmp_path):
    """The profile cpu-long has two seeds of some methods, whatever is stored of them."""
    store = Store(tmp_path / "cpu-long")
    store.save_truth(make_truth("standin-rhd"), {"made": "up"})
    add_run(store, "standin-rhd", "msff", "full", 0, 6.0)
    assert "96 px crops, 1 seed," in banner(store)
    add_run(store, "standin-rhd", "msff", "full", 1, 6.0)
    assert "96 px crops, up to 2 seeds," in banner(store)


def test_the_banner_says_if_a_page_is_not_from_the_profile_of_the_others(tmp_path):
    scratch, evidence = Store(tmp_path / "cpu-scratch"), Store(tmp_path / "cpu-long")
    assert banner(scratch, scratch) == banner(scratch)
    text = banner(scratch, evidence)
    assert "`cpu-long`, which lacks the runs" in text and "without ImageNet weights" in text
    assert "ImageNet" not in banner(evidence, scratch)


def test_stored_benchmarks_are_a_table(tmp_path):
    folder = tmp_path / "bench"
    assert "No benchmark is stored in `results/bench`" in bench(folder)
    folder.mkdir()
    frames = {"images_per_s": 100.0, "peak_mib": 50.0}
    report = {
        "bench": "train", "method": "msff", "size": 64, "batch": 16, "profile": "cpu", "precision": "bf16", **frames,
        "reference": {"images_per_s": 40.0}, "ratio": {"images_per_s": 2.5, "peak_mib": 0.6}, "percent_of_peak": 21.4,
        "stages": {"data": 9.5, "forward": 90.5}, "hardware": "a machine", "threads": 2, "versions": {"torch": "2"},
    }  # fmt: skip
    (folder / "train.json").write_text(json.dumps(report))
    row = bench(folder).splitlines()[2]
    cells = (
        "training step, MS-FF",
        "64 px, batch 16, profile `cpu`, bf16, 2 threads",
        "100 ",
        "40.0",
        "2.50 / 0.60",
        "21",
        "10",
    )
    assert all(cell in row for cell in cells)
    assert bench(folder).endswith("Measured on: a machine, torch 2.")
    render = {"bench": "render", "size": 256, "batch": 8, "images_per_s": 12.0, "stages": {"shade": {"percent": 50.0}}}
    (folder / "render.json").write_text(
        json.dumps(render | {k: report[k] for k in ("hardware", "threads", "versions")})
    )
    assert "| rendering " in bench(folder) and "| 256 px, batch 8, 2 threads " in bench(folder)  # compared with nothing


def test_only_rows_that_wait_for_runs_are_named_below_their_table():
    rows = pd.DataFrame({
        "method": ["a", "b", "c"], "difference": ["-1.00", "", ""], "status": ["ok", "run missing", "withheld: palm"],
    })  # fmt: skip
    kept, sentence = with_numbers(rows, "contexts-occlusion")
    assert kept["method"].tolist() == ["a", "c"] and sentence == "No value, since runs are missing (1): b."
    assert "status" not in with_numbers(rows[:2], "contexts-occlusion")[0]


def test_a_run_has_a_title_in_words():
    titles = {
        "standin-rhd/msff/no-grm/seed2": "MS-FF without global regression, RHD layout, seed 2",
        "standin-interhand/spurr/plain/seed0": "Spurr(2018), InterHand2.6M layout, seed 0",
        "rhd/msff/printed/seed0": f"MS-FF with Eq. (4) as printed, {DATASETS['rhd'].label}, seed 0",
    }
    assert {run_id: run_title(Experiment.parse("cpu", run_id)) for run_id in titles} == titles


def test_symbols_of_the_paper_are_mathematics_and_numbers_have_few_digits():
    texts = {"source": "Of V_k.", "reason": "G_{k+1} here."}
    choice = SimpleNamespace(tag="D1", name="Some.top_down", value="B(G_{k+1})", **texts)
    text = open_choices_table([choice])
    assert "Of $V_k$." in text and "$G_{k+1}$ here." in text and "`B(G_{k+1})`" in text
    assert "0.1333 " in departures_table(PROFILES) and "0.13333" not in departures_table(PROFILES)


INDEX = Path(__file__).parents[3] / "results" / "demo" / "demo.json"


def test_the_errors_of_the_demonstration_network_are_those_of_its_index(tmp_path):
    assert demo_fragment(tmp_path) == "No demonstration network is stored."
    table = demo_fragment(INDEX.parent)
    photos = json.loads(INDEX.read_text())["measured"]["realworld"]
    error = photos["tracks"]["T2"]["network"]["wrist20"]
    row = next(line for line in table.splitlines() if "real-world test set (98)" in line)
    assert f" {error['value']:.1f} [{error['low']:.1f}, {error['high']:.1f}] " in row
    assert table.count("\n|") == 5 and "nan" not in table


def test_an_error_of_the_demonstration_network_without_an_interval_stands_alone(tmp_path):
    """Test images of a single sequence give none."""
    index = json.loads(INDEX.read_text())
    measured = {"standin-rhd": index["measured"]["standin-rhd"]}
    measured["standin-rhd"]["tracks"]["T2"]["network"]["wrist20"] = {"value": 12.34}
    (tmp_path / "demo.json").write_text(json.dumps(index | {"measured": measured}))
    assert "| 12.3 |" in " ".join(demo_fragment(tmp_path).split())


def test_the_steps_to_the_demonstration_network_have_the_numbers_of_its_index_and_of_the_stored_runs():
    page = (INDEX.parents[2] / "book" / "own-data.md").read_text(encoding="utf-8")
    *_, both, alone = (line.split(" | ")[1:] for line in page.splitlines() if line.count("|") == 7)
    tracks = {name: found["tracks"]["T2"] for name, found in json.loads(INDEX.read_text())["measured"].items()}
    metrics = (
        ("standin-rhd", "wrist20"), ("standin-interhand", "mpjpe_all"), ("realworld", "wrist20"), ("realworld", "pa21"),
    )  # fmt: skip
    numbers = [f"{tracks[name]['network'][metric]['value']:.1f}" for name, metric in metrics]
    assert both == [*numbers, f"{100 * tracks['realworld']['handedness_accuracy']:.0f} % |"]
    tables = INDEX.parents[1] / "cpu-long" / "tables"
    rendered = pd.read_csv(tables / "ablation.csv").set_index("variant").loc["grm-norm", "value"]
    photos = (
        pd.read_csv(tables / "realworld.csv").query("method == 'MS-FF with batch norm'").set_index("metric")["value"]
    )
    assert alone[0].startswith(f"{rendered:.1f}, ")
    assert alone[2:4] == [f"{photos['wrist20_sized']:.1f}", f"{photos['pa21']:.1f}"]
