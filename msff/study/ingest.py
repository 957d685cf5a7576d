"""Runs of another machine, out of their archive into the results of this one."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from msff.data.datasets import DATASETS
from msff.files import atomic_file, atomic_folder
from msff.study.archive import AGAIN, Archive, ArchiveError, todays_hash
from msff.study.execute import done, fingerprint, output_path, steps
from msff.study.experiment import Study
from msff.study.grid import find
from msff.study.store import PHOTO_FILES

TRUTH_TOLERANCE = 0.01  # mm or px; processors differ in the last bits


@dataclass
class Merged:
    """What became of an archive's content. Runs are named by their ids."""

    merged: list[str] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)  # those of the merged in whose place others were
    skipped: list[str] = field(default_factory=list)  # the very same runs are here already
    kept: list[str] = field(default_factory=list)  # other runs of these experiments are here and stay
    refused: dict[str, str] = field(default_factory=dict)  # run id -> why
    pages: list[str] = field(default_factory=list)  # executed notebooks
    truth: list[str] = field(default_factory=list)  # datasets
    photos: list[str] = field(default_factory=list)  # those of the skipped that got what they measured on real photos

    def lines(self) -> Iterator[str]:
        """What happened to each run, for the reader."""
        for run in self.merged:
            yield f"  merged   {run}" + (", in place of the run that was here" if run in self.replaced else "")
        for run in self.skipped:
            added = "; what it measured on real photos was not, and is now" if run in self.photos else ""
            yield f"  skipped  {run}: this very run is here already{added}"
        yield from (f"  kept     {run}: another run of it is here; --replace takes the archive's" for run in self.kept)
        yield from (f"  refused  {run}: {why}" for run, why in self.refused.items())
        yield f"  executed notebooks: {len(self.pages)}; ground truth: {', '.join(self.truth) or 'none was missing'}"


def merge(study: Study, archive: Archive, replace: bool = False) -> Merged:
    """Put the archive's runs into the results, each whole or not at all.

    Refused is a run of another configuration than today's. One that is here already is skipped, and where another run
    of its experiment is here, that one stays, unless ``replace`` or its own configuration is not today's. ArchiveError,
    with nothing merged, if the profile or the ground truth is another one.
    """
    if archive.profile != study.profile.name:
        raise ArchiveError(f"{archive.path}: is of profile {archive.profile}, not of {study.profile.name}")
    result, wanted = Merged(), []
    for folder, run in archive.manifest["runs"].items():
        if _is_wanted(study, run, replace, result):
            wanted.append(folder)
    packed = sorted(name[6:-4] for name in archive.files if name.startswith("truth/") and name.endswith(".npz"))
    result.truth = [dataset for dataset in packed if _lacks_truth(study, archive, dataset)]
    for dataset in result.truth:
        _put_truth(study, archive, dataset)
    for folder in wanted:
        run_id = archive.manifest["runs"][folder]["run_id"]
        result.replaced += [run_id] if study.store.get(find(study.profile, run_id)) else []
        with atomic_folder(study.store.root / folder) as partial:
            for name in [name for name in archive.files if name.startswith(f"{folder}/")]:
                (partial / name.rpartition("/")[2]).write_bytes(archive.files[name])
        result.merged.append(run_id)
    _add_photos(study, archive, result)
    _merge_pages(study, archive, result)
    return result


def _is_wanted(study: Study, run: dict, replace: bool, result: Merged) -> bool:
    """Whether the run is to be written; if not, ``result`` is told why."""
    run_id, today = run["run_id"], todays_hash(study, run["run_id"])
    if run["config_hash"] != today:
        other = f"here it is {today}" if today else "here there is no such experiment"
        remedy = "train it anew, or ingest it in the checkout that it was made with"
        result.refused[run_id] = f"its configuration is {run['config_hash']}, {other}; {remedy}"
        return False
    here = study.finished(find(study.profile, run_id))  # None for one of an older configuration, too
    if here is not None and here.record["uid"] == run["uid"]:
        result.skipped.append(run_id)
        return False
    if here is not None and not replace:
        result.kept.append(run_id)
        return False
    return True


def _add_photos(study: Study, archive: Archive, result: Merged) -> None:
    """What the archive's runs measured on real photos, beside the very same runs here where these have not seen any."""
    for folder, run in archive.manifest["runs"].items():
        names = [f"{folder}/{name}" for name in PHOTO_FILES]
        if run["run_id"] not in result.skipped or names[0] not in archive.files:
            continue
        if study.store.get(find(study.profile, run["run_id"])).photos is None:
            for name in reversed(names):  # the record last: it says that the predictions are there
                with atomic_file(study.store.root / name) as partial:
                    partial.write_bytes(archive.files[name])
            result.photos.append(run["run_id"])


def _lacks_truth(study: Study, archive: Archive, dataset: str) -> bool:
    """Whether the archive's ground truth is wanted here; ArchiveError if it is not the one that is here."""
    names = [f"truth/{dataset}.json", f"truth/{dataset}.npz"]
    if dataset not in study.profile.data.datasets or names[0] not in archive.files:
        return False
    try:
        source, arrays = json.loads(archive.files[names[0]]), _arrays(archive.files[names[1]])
    except (ValueError, zipfile.BadZipFile) as error:
        raise ArchiveError(f"{archive.path}: {names[1]} cannot be read ({error}). {AGAIN}") from error
    today = study.test_config(dataset)
    if source != today:  # of other images, as are the refused runs that were measured with it
        return False
    if study.store.truth_source(dataset) != today:  # none here, or an old one
        return True
    path = study.store.root / names[1]
    if not _equal(arrays, _arrays(path.read_bytes())):
        raise ArchiveError(
            f"{archive.path}: the ground truth of {DATASETS[dataset].label} is not the one in {path}, so that its "
            "errors are not comparable; nothing was merged. If the file here is the wrong one, delete it and run the "
            "same command again"
        )
    return False


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    def same(a: np.ndarray, b: np.ndarray) -> bool:
        if a.shape != b.shape or a.dtype.kind != b.dtype.kind:
            return False
        return np.allclose(a, b, 0, TRUTH_TOLERANCE, equal_nan=True) if a.dtype.kind == "f" else np.array_equal(a, b)

    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)


def _put_truth(study: Study, archive: Archive, dataset: str) -> None:
    for suffix in (".npz", ".json"):  # the source last: it says whose the arrays are
        name = f"truth/{dataset}{suffix}"
        with atomic_file(study.store.root / name) as partial:
            partial.write_bytes(archive.files[name])


def _merge_pages(study: Study, archive: Archive, result: Merged) -> None:
    """Executed notebooks of runs that are now here, and those that are up to date, where this machine has no better."""
    here = {*result.merged, *result.skipped}
    for step in steps(study):
        data = archive.files.get(f"notebooks/{step.output}.ipynb")
        if data is None or done(study, step):
            continue
        shows_them = bool(step.experiments) and here.issuperset(run.run_id for run in step.experiments)
        if shows_them or json.loads(data)["metadata"].get("msff", {}).get("inputs") == fingerprint(study, step):
            with atomic_file(output_path(study, step)) as partial:
                partial.write_bytes(data)
            result.pages.append(step.output)
