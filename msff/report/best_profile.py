"""Which profile's stored runs a page about all runs is made from."""

from __future__ import annotations

from collections.abc import Collection

from msff.data.datasets import DATASETS
from msff.models.registry import METHODS
from msff.study.pages import evidence_stores
from msff.study.store import Store


def best_with(store: Store, layout: str, rows: Collection[str]) -> Store:
    """Return the store of the best profile that has these rows: variants of MS-FF, or methods at their headline.

    The smoke test and real data show their own.
    """
    best = next((other for other in evidence_stores(store) if _has_rows(other, layout, rows)), store)
    return store if best.profile == store.profile else best


def _has_rows(store: Store, layout: str, rows: Collection[str]) -> bool:
    experiments = [run.experiment for run in store.runs() if DATASETS[run.experiment.dataset].layout == layout]
    variants = {e.variant for e in experiments if e.method == "msff"}
    methods = {e.method for e in experiments if e.variant == METHODS[e.method].headline}
    return variants | methods >= set(rows)
