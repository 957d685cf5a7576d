"""The stores of other profiles beside a store, and which of them a page shows."""

from __future__ import annotations

from collections.abc import Collection

from msff.data.datasets import DATASETS
from msff.models.registry import METHODS
from msff.study.pages import evidence_stores
from msff.study.profiles import PROFILES
from msff.study.store import Store


def stores_with_runs(store: Store) -> list[Store]:
    """Return the stores of all profiles beside ``store`` that hold runs, the smallest profile first."""
    return [other for other in (Store(store.root.with_name(name)) for name in PROFILES) if other.runs()]


def larger_stores(store: Store) -> list[Store]:
    """Return the stores of larger profiles that hold runs, the largest first."""
    names = list(PROFILES)
    larger = names[names.index(store.profile) + 1 :]
    return [other for other in reversed(stores_with_runs(store)) if other.profile in larger]


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
