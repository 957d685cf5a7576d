"""Hands that turn: each sample's ground truth and predictions in 3D, drawn in the browser by plotly's own script.

`book/_static/hands3d.js` loads that script from the book itself, only on pages with such a view, and follows the
page's theme. `msff.report.book.pdf` prints each view as it first appears. Without JavaScript, and where a reader prints
a page, nothing is shown: the static figure above the view is the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import numpy as np
import plotly.graph_objects as go
from IPython.display import HTML

from msff.report.drawing import METHOD_COLOURS, drawn_bones
from msff.report.examples import Examples
from msff.report.fig6 import fig6_panels, origin
from msff.report.results import Results, label_of

TRUTH_COLOUR = "#8A8A8A"  # 3.5:1 on white, 5:1 on the dark theme
_HEIGHT = 380  # px


def turning_hands(results: Results, chosen: Examples, methods, name: str, labels) -> HTML:
    """Return a view per sample of ``chosen``: ground truth and each method's first seed, relative to the wrist, mm.

    ``name`` is the fixed beginning of the ids of the views and ``labels`` names the samples. Withheld methods are left
    out, as in `msff.report.fig6`.
    """
    panels = {k: v[1] for k, v in fig6_panels(results, chosen, methods).items() if not isinstance(v, str)}
    data = f"{label_of(chosen.dataset)}, profile {results.profile}"
    parts = []
    for i, label in enumerate(labels):
        joints = {"ground truth": chosen.truth[i], **{method: joints[i] for method, joints in panels.items()}}
        figure = turning_figure(joints, chosen.valid[i])
        parts.append(turning_view(figure, f"{name}-{i}", f"Sample {i + 1}, {label} ({data})"))
    return HTML("\n".join(parts))


def turning_view(figure: go.Figure, identifier: str, title: str) -> str:
    """Return a scene as HTML that `hands3d.js` draws, hidden until then."""
    return (
        f'<figure class="msff-3d" id="{escape(identifier)}" hidden><figcaption>{escape(title)}</figcaption>'
        f'<div class="msff-3d-view" role="img" aria-label="{escape(title)}" style="height:{_HEIGHT}px"></div>'
        f'<script type="application/json">{figure.to_json().replace("</", "<" + chr(92) + "/")}</script></figure>'
    )


def turning_figure(joints_mm: Mapping[str, np.ndarray], valid: np.ndarray) -> go.Figure:
    """Return a scene with a line per name: 42 joints in camera mm, of which bones between ``valid`` ones are drawn.

    The ground truth is grey, a method has its colour. Axes: x right, z away, y down, at one scale.
    """
    figure = go.Figure()
    drawn = {
        name: _bones(np.asarray(joints, float) - origin(joints, valid), valid) for name, joints in joints_mm.items()
    }
    for name, points in drawn.items():
        truth = name not in METHOD_COLOURS
        figure.add_trace(go.Scatter3d(
            x=points[:, 0], y=points[:, 2], z=-points[:, 1], name=name, mode="lines+markers", hoverinfo="name",
            line={"width": 7 if truth else 4, "color": TRUTH_COLOUR if truth else METHOD_COLOURS[name]},
            marker={"size": 2}, visible=True if truth or name == "MS-FF" else "legendonly",
        ))  # fmt: skip
    hidden = {"showticklabels": False, "title": "", "showbackground": False, "gridcolor": "rgba(128,128,128,0.35)"}
    scene = {f"{axis}axis": hidden for axis in "xyz"} | {"aspectmode": "data", "bgcolor": "rgba(0,0,0,0)"}
    # "data" scales the box of the hands by the geometric mean of its sides, so that a long one would leave the view.
    points = np.concatenate(list(drawn.values()))
    sides = np.maximum(np.nanmax(points, 0) - np.nanmin(points, 0), 1)
    distance = 1.12 * max(1.0, float((sides / [1.4, 1.4, 1]).max() / np.prod(sides) ** (1 / 3)))  # width counts less
    eye = {axis: distance * place for axis, place in {"x": 0.6, "y": -1.6, "z": 0.5}.items()}
    figure.update_layout(
        scene=scene, template="none", paper_bgcolor="rgba(0,0,0,0)", height=_HEIGHT, margin=dict.fromkeys("lrtb", 0),
        legend={"orientation": "h", "y": 0}, scene_camera={"eye": eye},
    )  # fmt: skip
    return figure


def _bones(joints: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return the ends of all drawn bones, each pair followed by NaN, which ends a line. -> (3 bones, 3), 0.1 mm."""
    gap = np.full(3, np.nan)
    ends = [(joints[c], joints[p], gap) for c, p in drawn_bones(valid)]
    return np.round(np.array(ends).reshape(-1, 3), 1)
