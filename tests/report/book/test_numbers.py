"""Numbers in prose: filled at each build, or equal to their source."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from msff.data.datasets import DATASETS
from msff.evaluation.inference_statistics import BETTER, WORSE
from msff.models.registry import FACTORIAL, METHODS
from msff.report.book.answers import NETWORKS, root_depth_table
from msff.report.book.build import _config
from msff.report.book.numbers import numbers
from msff.report.contrasts import GAUSSIAN_LEAD, LEAD, NORM_LEAD, OWN_TARGET_LEAD
from msff.report.photos import MEDIAPIPE, photo_errors
from msff.report.published import DATASET_FACTS, INTERNET_INTERHAND, RHD_ELSEWHERE, TABLE1
from msff.study.grid import experiments
from msff.study.photos import PHOTOS, SIZED
from msff.study.profiles import PROFILES
from msff.study.reference import headline
from msff.study.store import Store

ROOT = Path(__file__).parents[3]
CHAPTERS = sorted((ROOT / "book").glob("*.md"))
QUOTED = re.compile(r"\{\{ *(\w+) *\}\}")

SOURCES = (
    ("book/rule.md", r"\(([\d.]+) - ([\d.]+)\) / ([\d.]+)", ("epe_internet", "epe_msff", "epe_internet")),
    ("book/data.md", r"\| training and test \| ([\d,]+) and [\d,]+ images \| ([\d,]+) and",
     ("images_rhd", "images_interhand")),
)  # fmt: skip
"""File, pattern, names of the numbers that its groups must equal: for text that cannot be filled at the build."""


def test_every_number_that_a_chapter_quotes_has_a_source_and_every_source_is_quoted_or_checked():
    quoted = {name for path in CHAPTERS for name in QUOTED.findall(path.read_text())}
    assert quoted and quoted <= numbers().keys()


@pytest.mark.parametrize(("file", "pattern", "names"), SOURCES, ids=[s[0] for s in SOURCES])
def test_a_number_typed_in_prose_equals_its_source(file, pattern, names):
    found = re.search(pattern, (ROOT / file).read_text())
    assert found, f"{file} has no text like {pattern}"
    values = numbers()
    assert list(found.groups()) == [values[name] for name in names]


def test_an_error_in_mm_in_prose_is_a_published_one_or_filled_in():
    """A decimal number of mm in a chapter, outside code, is in `published.py`, or a setting with its own source."""
    published = {row.epe_mm for row in TABLE1} | {n.value for n in RHD_ELSEWHERE}
    published |= {v for row in INTERNET_INTERHAND for v in row.by_metric.values()}
    known = {f"{value:.2f}" for value in published} | set(numbers().values()) | {"21.05"}  # a threshold: 8 * 50 / 19
    for path in CHAPTERS:
        text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
        typed = set(re.findall(r"(?<![\d.])(\d+\.\d+) mm\b", text))
        assert typed <= known, f"{path.name} states {sorted(typed - known)} mm without a source"


def test_the_built_configuration_holds_the_numbers():
    text = _config(ROOT, "cpu")
    assert f"lead_internet: '{numbers()['lead_internet']}'" in text
    assert set(re.findall(r"https?://([^/\s\"']+)", text)) <= {"doi.org"}  # the footer's citation


def test_numbers_follow_from_the_published_tables():
    """Worked by hand: 20.89 - 20.21; 20.21 * 21 / 20; 12.16 - 9.47; 1,361,062 * 20 / 16."""
    named = numbers()
    assert (named["lead_internet"], named["wrist20_msff"], named["retraining_shift"]) == ("0.68", "21.22", "2.69")
    assert named["interhand_steps_million"] == "1.7" and named["margin_percent"] == "3.3"


def test_the_readme_states_the_profiles_as_they_are():
    readme = (ROOT / "README.md").read_text()
    millions = int(DATASET_FACTS["interhand"]["images"][0].partition(" / ")[0].replace(",", "")) / 1e6
    assert re.search(r"([\d.]+) million training images", readme)[1] == f"{millions:.2f}"
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (\d) of 8 \|", readme, re.MULTILINE)
    grids = {name: {e.variant for e in experiments(PROFILES[name]) if e.method == "msff"} for name, _ in rows}
    assert len(rows) == len(PROFILES)
    assert {name: str(len(variants & set(FACTORIAL))) for name, variants in grids.items()} == dict(rows)


def test_what_the_prose_concludes_from_stored_runs_still_follows():
    """RootNet beside the box-size model (answers.md), the learning rate beside the paper's lead (doubts.md), how far
    apart MS-FF and InterNet are with either target (report.md), and their order with batch norm and with either target.
    """
    rows = root_depth_table([Store(ROOT / "results" / "cpu-scratch")]).set_index(["data", "depth from"])
    error = rows["mean error, %"].astype(float)
    assert error["standin-rhd", "RootNet"] < error["standin-rhd", "box-size model"]
    assert error["standin-interhand", "RootNet"] > error["standin-interhand", "box-size model"]
    tuning = pd.read_csv(ROOT / "results" / "cpu-long" / "tuning.csv")
    spread = tuning.groupby("row").error_mm.agg(lambda e: e.max() - e.min())
    assert spread["msff"] > float(numbers()["lead_internet"])
    best = tuning.groupby("row").error_mm.min()
    assert abs(best["msff"] - best["internet"]) < float(numbers()["lead_internet"])  # report.md: close; far ahead
    assert best["msff/gaussian"] < best["internet/gaussian"] - 5
    contrasts = pd.read_csv(ROOT / "results" / "cpu-long" / "tables" / "contrasts.csv").set_index("contrast")
    short = best["msff/gaussian"] - best["internet/gaussian"]
    assert 0.2 < contrasts.estimate_mm[GAUSSIAN_LEAD] / short < 0.3  # report.md, 15-robustness: about a quarter
    assert contrasts.estimate_mm[LEAD] > best["msff"] - best["internet"]
    change = contrasts.estimate_mm[OWN_TARGET_LEAD] - contrasts.estimate_mm[[LEAD, GAUSSIAN_LEAD]]
    assert change[LEAD] < 0 < change[GAUSSIAN_LEAD]  # "each with its better target" on the front page
    verdicts = contrasts.verdict
    assert verdicts[LEAD] == WORSE and verdicts[NORM_LEAD] == verdicts[GAUSSIAN_LEAD] == BETTER  # doubts.md


def test_what_the_page_of_photographs_concludes_still_follows():
    """photos.md: networks beside MediaPipe and the mean pose, and the step from rendered to photographed hands."""
    stores = [Store(ROOT / "results" / name) for name in ("cpu", "cpu-scratch", "cpu-long")]
    errors = photo_errors(stores, ROOT / "results" / "mediapipe")
    baseline = errors.method.str.startswith("mean pose")
    networks = errors[~baseline & (errors.method != MEDIAPIPE)]
    networks = networks.assign(on_rhd=networks.trained_on.str.contains("RHD"))
    wrist20, pa21 = (networks[networks.metric == metric] for metric in ("wrist20", "pa21"))
    mean_pose = errors[baseline].groupby("metric").value.min()
    mediapipe = errors[(errors.method == MEDIAPIPE) & (errors.metric == "wrist20")].high.item()
    assert mediapipe < wrist20.low.min()
    assert wrist20[wrist20.on_rhd].value.max() < 0.8 * mean_pose["wrist20"]
    assert (wrist20[~wrist20.on_rhd].value > mean_pose["wrist20"]).any() and pa21.value.max() < mean_pose["pa21"]
    assert wrist20[~wrist20.on_rhd].value.min() > wrist20[wrist20.on_rhd].value.max()
    of = ["profile", "method", "trained_on"]
    sized = networks[networks.metric == SIZED].set_index(of).value
    assert sized.max() < mean_pose[SIZED]
    on_rhd = wrist20[wrist20.on_rhd].set_index(of).value.sort_values()
    gain = (sized - on_rhd).dropna().reindex(on_rhd.index).dropna()  # the better networks first
    gaussian = gain.index.get_level_values("method").str.contains("Gaussian")
    assert -7 < gain[gaussian].min() < gain[gaussian].max() < 0
    gain = gain[~gaussian]
    assert gain.iloc[0] < 0 < gain.iloc[-1] and (gain < 0).is_monotonic_decreasing and gain.min() > -4
    evidence = on_rhd["cpu-long"].droplevel("trained_on")
    aligned = pa21.set_index(of).value.loc["cpu-long", :, "stand-in in RHD format"]
    assert evidence["MS-FF with Gaussian volumes"] > evidence["InterNet(2020) with Gaussian volumes"]
    for name in ("MS-FF", "InterNet(2020)"):
        assert evidence[f"{name} from scratch"] > evidence[name]
        assert evidence[f"{name} with Gaussian volumes"] > evidence[name]
        assert aligned[f"{name} with Gaussian volumes"] < aligned[name]
    photographed = wrist20[wrist20.on_rhd & wrist20.method.isin([METHODS[name].label for name in NETWORKS])]
    moved = photographed.groupby("method").value.agg(lambda e: e.max() - e.min())
    for row in photographed.itertuples():
        name = next(name for name in NETWORKS if METHODS[name].label == row.method)
        runs = Store(ROOT / "results" / row.profile).select(dataset="standin-rhd", method=name, variant="full")
        assert row.value - max(map(headline, runs)) > moved[row.method]
        if row.profile == "cpu-long":
            gains = evidence[f"{row.method} from scratch"] - row.value, row.value - evidence["MS-FF with batch norm"]
            assert row.value - max(map(headline, runs)) > max(gains)


def test_the_gains_of_the_demonstration_network_end_with_the_stored_errors():
    """own-data.md: the last two rows of its second table are the network in the project and stored runs."""
    rows = re.findall(r"^\| (.+) \|$", (ROOT / "book" / "own-data.md").read_text(), re.MULTILINE)
    cells = [row.split(" | ")[1:] for row in rows if row.count(" | ") == 5][-2:]
    measured = json.loads((ROOT / "results" / "demo" / "demo.json").read_text())["measured"]
    track = {name: of["tracks"]["T2"] for name, of in measured.items()}
    columns = ("standin-rhd", "wrist20"), ("standin-interhand", "mpjpe_all"), (PHOTOS, "wrist20"), (PHOTOS, "pa21")
    own = [f"{track[name]['network'][metric]['value']:.1f}" for name, metric in columns]
    assert cells[0] == [*own, f"{100 * track[PHOTOS]['handedness_accuracy']:.0f} %"]
    store = Store(ROOT / "results" / "cpu-long")
    photos = pd.read_csv(store.tables / "realworld.csv").query("method == 'MS-FF with batch norm'")
    photos = photos[photos.trained_on == DATASETS["standin-rhd"].label].set_index("metric").value
    ablation = pd.read_csv(store.tables / "ablation.csv").query("track == 'T2' and metric == 'wrist20'")
    stored = ablation.set_index("variant").value["grm-norm"], photos["wrist20_sized"], photos["pa21"]
    assert [cells[1][0].split(",")[0], *cells[1][2:4]] == [f"{value:.1f}" for value in stored]
    files = (store.root / "runs" / "standin-rhd" / "msff" / "grm-norm").glob("seed*/realworld.npz")
    left = [np.load(path)["side_probability"][:, 1] > 0.5 for path in files]
    assert cells[1][4] == f"{100 * np.mean(left):.0f} %" and "three runs" in rows[-1] and len(left) == 3


def test_the_profiles_that_the_prose_names_for_the_box_size_model_are_those_that_use_it():
    box = [f"`{p.name}`" for p in PROFILES.values() if p.root_depth.source == "box"]
    words = f"{', '.join(box[:-1])} and {box[-1]}"
    assert f"In {words} a box-size depth model" in (ROOT / "book" / "methods.md").read_text()
    heads = "".join(json.loads((ROOT / "notebooks" / "06-heads.ipynb").read_text())["cells"][0]["source"])
    assert f"{words}, by a model of the depth from the size of the box" in " ".join(heads.split())
