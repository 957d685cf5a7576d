"""What tests read off figures, tables and stores, and examples without a dataset behind them."""

import matplotlib
import numpy as np
import pandas as pd

from msff.evaluation.predictions import Truth
from msff.report.examples import Examples
from msff.study.experiment import Experiment
from msff.study.store import Run, Store


def texts(figure) -> str:
    """All words of a figure, without line breaks."""
    return " ".join(" ".join(t.get_text().split()) for t in figure.findobj(matplotlib.text.Text))


def only(table: pd.DataFrame, **where) -> pd.Series:
    """The only row with these values."""
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table) == 1, f"{len(table)} rows for {where}"
    return table.iloc[0]


def run_of(store: Store, method: str, variant: str = "full", dataset: str = "standin-rhd", seed: int = 0) -> Run:
    return store.get(Experiment(store.profile, dataset, method, variant, seed))


class Drawn:
    """Stands in for ``Examples``: three images of the made-up truth, without a dataset behind them."""

    def __init__(self, dataset: str, truth: Truth):
        self.dataset, self.rows, self._truth = dataset, [0, 2, 4], truth

    images = np.zeros((3, 32, 32, 3))

    def at(self, places):
        self.rows = [self.rows[i] for i in places]
        return self

    predicted = Examples.predicted

    @property
    def valid(self):
        return self._truth.joint_valid[self.rows]

    @property
    def truth(self):
        return self._truth.joints_cam_mm[self.rows]

    def to_crop(self, joints):
        return joints[..., :2] / 4 + 16
