"""Predictions of the demonstration network on rendered test images, chosen by a rule: what README and book show."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from msff.data.batches import HandDataset
from msff.evaluation.evaluate import evaluate
from msff.evaluation.predictions import Predictions, Truth
from msff.evaluation.tracks import RANKING_TRACK
from msff.report.drawing import contact_sheet
from msff.report.examples import read_examples

EXAMPLES = "examples.png"
PERCENTILES = (10, 50, 90)
_METRICS = {"rhd": "wrist20_pred_side", "interhand": "mpjpe_all"}
"""Of what is drawn: on RHD's layout the hand of the predicted handedness."""


def example_sheet(tests: Mapping[str, HandDataset], predictions: Mapping[str, Predictions]) -> Figure:
    """Draw the test images at three percentiles of the error on each stand-in, those with two hands if it has any.

    The ground truth is above, the prediction below. ``predictions`` by the name of the dataset.
    """
    images, joints, valid, labels = ([[], []] for _ in range(4))
    for name, predicted in predictions.items():
        truth = Truth.from_samples(tests[name].samples, name)
        errors = evaluate(truth, predicted, RANKING_TRACK).errors[_METRICS[truth.layout]]
        mean = np.where(errors.valid, errors.value, np.nan).mean(1, where=errors.valid.numpy())  # (N,) mm
        both = truth.side_present.all(1)
        group = np.flatnonzero(np.isfinite(mean) & (both | ~both.any()))
        order = group[np.argsort(mean[group])]
        rows = [int(order[round(p / 100 * (len(order) - 1))]) for p in PERCENTILES]
        chosen = read_examples(tests[name].samples, name, rows)
        hands = np.repeat(predicted.side_probability[rows] > 0.5, chosen.valid.shape[1] // 2, axis=1)
        titles = [f"{p}th percentile, {mean[i]:.0f} mm" for p, i in zip(PERCENTILES, rows, strict=True)]
        for row, (positions, shown, words) in enumerate((
            (chosen.truth, chosen.valid, titles), (predicted.joints[RANKING_TRACK][rows], hands, [""] * len(rows)),
        )):  # fmt: skip
            images[row] += list(chosen.images)
            joints[row] += list(chosen.to_crop(positions))
            valid[row] += list(shown)
            labels[row] += words
    title = "Rendered test images: ground truth above, prediction below"
    return contact_sheet(*(sum(x, []) for x in (images, joints, valid, labels)), len(images[0]), title)
