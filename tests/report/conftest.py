"""Figures are drawn without a screen and closed after each test; stores of made-up runs are made once."""

import shutil
from functools import cache

import matplotlib
import pytest
from make_results import make_store
from matplotlib import pyplot as plt

from msff.report.results import Results
from msff.study.store import Store

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A function that returns the store of `make_store`, made once: no test may change it."""

    @cache
    def store(profile: str = "cpu", seeds: tuple[int, ...] = (0,)) -> Store:
        return make_store(tmp_path_factory.mktemp("made") / profile, seeds)

    return store


@pytest.fixture(scope="session")
def made_results(made):
    """A function that returns the `Results` of such a store, whose numbers are computed once."""
    return cache(lambda profile="cpu", seeds=(0,): Results(made(profile, seeds)))


@pytest.fixture(scope="session")
def copied(made, tmp_path_factory):
    """A function that returns a copy of such a store in a folder of its own, which a test may change."""

    def store(profile: str = "cpu", seeds: tuple[int, ...] = (0,)) -> Store:
        return Store(shutil.copytree(made(profile, seeds).root, tmp_path_factory.mktemp("copied") / profile))

    return store


@pytest.fixture
def empty(tmp_path):
    """Results of a store without runs."""
    return Results(Store(tmp_path / "none" / "smoke"))
