"""Reading a dataset by its name, and the guard that keeps stand-in and real data apart."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from msff.data.datasets import DatasetSpec, spec
from msff.data.interhand import InterHandSamples, read_interhand
from msff.data.reading import FETCH, STANDIN_MANIFEST, again, read_json, require_folder, sentence
from msff.data.realworld import read_realworld
from msff.data.rhd import read_rhd, rhd_root
from msff.data.sample import DataError, HandSample

READERS: dict[str, Callable[..., Sequence[HandSample]]] = {
    "rhd": read_rhd,
    "interhand": read_interhand,
    "realworld": read_realworld,
}
STANDIN_DESCRIPTION = "msff stand-in"
"""Start of ``info.description`` in a rendered data file of InterHand2.6M's format."""


def load(name: str, root: Path | str, part: str) -> Sequence[HandSample]:
    """Return the samples of a part ("train" or "test"; "val" if the dataset has one) of a dataset in folder ``root``.

    Of InterHand2.6M human and machine annotation together; `msff.data.interhand.read_interhand` reads either.
    """
    dataset, root = spec(name), Path(root)
    if part not in dataset.splits:
        raise DataError(f"{name} has no part {part!r}; expected one of {', '.join(dataset.splits)}")
    require_folder(root, dataset.label, dataset.remedy)
    check_identity(dataset, root)
    samples = READERS[dataset.layout](root, dataset.splits[part])
    if states_rendering(samples) and not dataset.is_standin:  # even without standin.json
        raise DataError(
            f"{root}: its annotations say {samples.description!r}, so it is a rendered stand-in and not "
            f"{dataset.label}; use the dataset name standin-{dataset.layout}, or {dataset.remedy}"
        )
    check_distinct(root, part, samples)
    return samples


def check_distinct(root: Path, part: str, samples: Sequence[HandSample]) -> None:
    """Raise DataError if two samples have the same id."""
    quick = isinstance(samples, InterHandSamples)  # makes no sample for it
    distinct = samples.count_distinct_ids() if quick else len({s.sample_id for s in samples})
    if distinct != len(samples):
        raise DataError(
            f"{root}: {len(samples) - distinct} samples of {part} share an id; expected each image once. "
            f"{sentence(again(root / STANDIN_MANIFEST, FETCH))}"
        )


def states_rendering(samples: Sequence[HandSample]) -> bool:
    """Return True if the annotation file itself states that it was rendered (only in InterHand2.6M's format)."""
    return isinstance(samples, InterHandSamples) and samples.description.startswith(STANDIN_DESCRIPTION)


def standin_manifest(root: Path) -> dict | None:
    """Return the contents of standin.json, which marks a folder as rendered; None if there is none."""
    places = (root / STANDIN_MANIFEST, rhd_root(root) / STANDIN_MANIFEST)
    path = next((p for p in places if os.path.lexists(p)), None)
    return None if path is None else read_json(path, "the manifest of a stand-in", "render it again")


def check_identity(dataset: DatasetSpec, root: Path) -> None:
    """Raise DataError if a stand-in is read as a real dataset or the reverse: their numbers must never mix."""
    manifest = standin_manifest(root)
    if manifest is not None and not dataset.is_standin:
        raise DataError(
            f"{root}: holds {STANDIN_MANIFEST}, so it is a rendered stand-in and not {dataset.label}; "
            f"use the dataset name standin-{dataset.layout}, or {dataset.remedy}"
        )
    if manifest is None and dataset.is_standin:
        raise DataError(
            f"{root}: expected {STANDIN_MANIFEST}, which marks the {dataset.label}, found none; "
            f"if these are the real images use their own dataset name, else {dataset.remedy}"
        )
    if manifest is not None and manifest.get("finished", True) is not True:
        raise DataError(
            f"{root}: its {STANDIN_MANIFEST} says that the rendering was not finished; rename the folder to "
            f"{root.resolve().name}.partial and {dataset.remedy} to finish it, or delete it"
        )
    named = (manifest or {}).get("dataset", dataset.name)
    if named != dataset.name:
        raise DataError(f"{root}: its {STANDIN_MANIFEST} says {named!r}, expected {dataset.name!r}; use that name")
