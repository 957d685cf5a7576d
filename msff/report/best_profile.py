"""Which profile's stored runs a page about all runs is made from."""

from __future__ import annotations

from collections.abc import Collection

from msff.data.datasets import DATASETS
from msff.models.registry import METHODS
from msff.study.pages import BEST
from msff.study.store import Store


def best_with(store: Store, layout: str, rows: Collection[str]) -> Store:
    """Return the store of the best profile that has these rows: variants of MS-FF, or methods at their headline.

    The smoke test and real data show their own.
    """
    if store.profile not in BEST:
        return store
    for other in (Store(store.root.with_name(name)) for name in BEST):
        if _has_rows(other, layout, rows):
            return store if other.profile == store.profile else other
    return store


def _has_rows(store: Store, layout: str, rows: Collection[str]) -> bool:
    found = {
        name
        for run in store.runs()
        if DATASETS[run.experiment.dataset].layout == layout
        for name in (
            (run.experiment.variant,) * (run.experiment.method == "msff")
            + (run.experiment.method,) * (run.experiment.variant == METHODS[run.experiment.method].headline)
        )
    }
    return found >= set(rows)
