"""Hands that turn: fixed ids, the page's own script, and bones of annotated joints only."""

import json
import re

import numpy as np
from report.reading import Drawn

from msff.report import fig6
from msff.report.drawing import METHOD_COLOURS
from msff.report.hands3d import turning_figure, turning_hands
from msff.report.results import Cell


def test_a_view_per_sample_with_a_fixed_id_and_no_server(made_results):
    results = made_results()
    chosen = Drawn("standin-rhd", results.truth("standin-rhd"))
    html = turning_hands(results, chosen, ("internet", "msff"), "single", ["a", "b", "c"]).data
    assert re.findall(r'class="msff-3d" id="([^"]+)" hidden', html) == ["single-0", "single-1", "single-2"]
    assert "http" not in html and "src=" not in html
    figures = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', html)]
    assert [[trace["name"] for trace in f["data"]] for f in figures] == [
        ["ground truth", "InterNet(2020)", "MS-FF"]
    ] * 3
    assert figures[0]["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"


def test_only_bones_between_annotated_joints_are_drawn_in_the_methods_colour():
    joints, valid = np.random.default_rng(0).normal(0, 40, (42, 3)), np.ones(42, bool)
    valid[21:] = False
    valid[0] = False  # the thumb's tip
    figure = turning_figure({"ground truth": joints, "MS-FF": joints}, valid)
    assert [len(trace.x) for trace in figure.data] == [3 * 19] * 2
    assert figure.data[1].line.color == METHOD_COLOURS["MS-FF"] != figure.data[0].line.color
    ends = np.array([figure.data[0].x[:2], figure.data[0].y[:2], figure.data[0].z[:2]]).T
    lengths = np.linalg.norm(joints[1] - joints[2])
    assert np.isclose(np.linalg.norm(ends[0] - ends[1]), lengths, atol=0.3)


def test_a_long_hand_is_seen_from_farther_away_so_that_it_stays_in_view():
    joints, valid = np.random.default_rng(0).uniform(-1, 1, (42, 3)), np.ones(42, bool)
    distance = []
    for size in ([50, 50, 50], [50, 50, 400]):
        eye = turning_figure({"MS-FF": joints * size}, valid).layout.scene.camera.eye
        distance.append(np.linalg.norm([eye.x, eye.y, eye.z]))
    assert distance[1] > 2 * distance[0]


def test_difficulty_is_the_mean_error_of_the_drawn_methods(made_results):
    results = made_results()
    found = fig6.difficulty(results, "standin-rhd")
    by_method = [results.errors(Cell("standin-rhd", m), "T2", "wrist20")[0] for m in fig6.FIG6_METHODS]
    first = np.mean([e.value[3][e.valid[3]].mean() for e in by_method])
    assert len(found) == 40 and np.isclose(found[3], first)
    labels = fig6.ranks(results, Drawn("standin-rhd", results.truth("standin-rhd")))
    share = 100 * (found <= found[2]).mean()
    assert labels[1] == f"percentile {share:.0f} ({found[2]:.0f} mm)"
