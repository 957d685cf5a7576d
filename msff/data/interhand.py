"""InterHand2.6M as published (Moon et al., ECCV 2020): three JSON files per split and the images.

v1.0 keeps annotations/{train,val,test}/, v0.0 annotations/{all,human_annot,machine_annot}/. The joint file of v0.0 held
bare 42x3 joints at first, and since August 2020 the same dicts as v1.0's: both forms are read in either layout. The 5
and the 30 frames per second of v1.0 are two archives of the same layout. Its joint order is the canonical one. World to
camera: R (world - campos), as in the InterNet code.

v1.0 publishes H+M together; text files of annotation ids, one per line, separate them: aid_human_annot_train.txt and
aid_human_annot_test.txt (named as in the author's later InterWild code; aid_machine_annot_<split>.txt by analogy).
In test H and M are disjoint (121,573 + 727,587 = 849,160), in train they share 76,457 frames, and all of val is M.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from msff.data.interhand_cache import cached
from msff.data.interhand_index import Tables, annotation_files, build_index, unpack_bits, values
from msff.data.reading import again, check, readable, require_files, require_folder
from msff.data.sample import HAND_TYPES, DataError, HandSample, LazySamples
from msff.skeleton import JOINTS

SPLITS = ("train", "val", "test")
PUBLISHED_COUNTS = {
    ("v1.0", "train"): {"H": 528482, "M": 909037, "H+M": 1361062},
    ("v1.0", "val"): {"M": 380125, "H+M": 380125},
    ("v1.0", "test"): {"H": 121573, "M": 727587, "H+M": 849160},
    ("v0.0", "train"): {"H": 284716, "M": 497058, "H+M": 738602},
    ("v0.0", "val"): {"M": 184287, "H+M": 184287},
    ("v0.0", "test"): {"H": 66722, "M": 286175, "H+M": 352897},
}
"""Frames at 5 frames per second (the data set's home page)."""
KEPT_FROM = 20_000
"""Annotations; a smaller split is read so fast that its index is not kept."""
SUBSETS = {"H+M": "all", "H": "human_annot", "M": "machine_annot"}
"""Subset -> its folder in v0.0, and part of the name of its list of ids in v1.0."""
REMEDY = (
    "unpack InterHand2.6M's annotations/ and images/ there, each once, by itself or in its archive's "
    "folder, or render the stand-in with "
    "`msff data make standin-interhand`"
)


def part_folder(root: Path, part: str) -> Path:
    """Return the dataset's "annotations" or "images", also where the archive left it in a folder of its own."""
    direct = Path(root) / part
    unpacked = [] if check(Path.is_dir, direct) else sorted(Path(root).glob(f"InterHand2.6M_*/{part}"))
    return unpacked[0] if len(unpacked) == 1 else direct


def annotation_folder(root: Path, split: str, subset: str = "H+M") -> tuple[Path, str]:
    """Return the folder of a split's JSON files and the version that came in this layout, "v1.0" or "v0.0".

    In v0.0 each subset has a folder; all of val is machine-annotated and has no other.
    """
    for what, value, known in (("split", split, SPLITS), ("subset", subset, SUBSETS)):
        if value not in known:
            raise DataError(f"unknown InterHand2.6M {what} {value!r}; expected one of {', '.join(known)}")
    require_folder(Path(root), "InterHand2.6M", REMEDY)
    annotations = require_folder(part_folder(root, "annotations"), "InterHand2.6M's annotations", REMEDY)
    if check(Path.is_dir, annotations / split):
        return annotations / split, "v1.0"
    file_name = f"InterHand2.6M_{split}_data.json"
    there = subsets_present(root, split)
    if subset == "H+M" and split == "val" and there == ["M"]:
        subset = "M"
    if there and subset not in there:
        raise DataError(
            f"{annotations / SUBSETS[subset] / file_name}: subset {subset} of v0.0's {split} expected, found only "
            f"{', '.join(there)}; ask for that subset, or unpack the annotations again"
        )
    if there:
        return annotations / SUBSETS[subset], "v0.0"
    return require_folder(annotations / split, f"the annotations of {split}", REMEDY), "v1.0"


def subsets_present(root: Path, split: str) -> list[str]:
    """Return the subsets with an annotation file of their own: in v0.0 up to three, in v1.0 H+M."""
    annotations = part_folder(root, "annotations")
    if check(Path.is_dir, annotations / split):
        return ["H+M"]
    paths = {s: annotations / name / f"InterHand2.6M_{split}_data.json" for s, name in SUBSETS.items()}
    return [s for s, path in paths.items() if check(Path.exists, path)]


def read_interhand(root: Path, split: str, subset: str = "H+M", check_files: bool = True) -> InterHandSamples:
    """Return the samples of ``split`` ("train", "val" or "test") in annotation order, single and interacting hands.

    ``subset`` is annotated by humans ("H"), by machine ("M") or both. ``check_files`` looks for every image when the
    index is made; only such an index is kept, and later readings rely on it.

    A hand whose wrist is not valid has no valid joint, as its root-relative pose is unknown (InterNet code).
    Visibility is not annotated: ``joint_visible`` is None. Raises DataError if anything is missing or unsound.
    """
    root = Path(root)
    folder, version = annotation_folder(root, split, subset)
    sources = list(annotation_files(folder, split).values())
    images = part_folder(root, "images") / split

    def build() -> Tables:
        tables = build_index(folder, split, version, REMEDY)
        if check_files:
            require_folder(images, f"the images of {split}", REMEDY)
            names = tables["annotations"]["file_name"].to_pylist()
            remedy = f"{again(images)}; take images and annotations from one release, frame rate and split"
            require_files(images, names, f"images of {split}", remedy)
        return tables

    name = f"interhand-{folder.name}-{split}"
    tables = cached(root, name, sources, build, KEPT_FROM) if check_files else build()
    samples = InterHandSamples(images, tables)
    if version == "v0.0":  # each subset has a folder of its own
        return samples
    ids = subset_ids(folder.parent, split, subset, samples.annotation_ids())
    return samples if ids is None else samples.only(ids)


def subset_ids(annotations: Path, split: str, subset: str, ids: np.ndarray) -> np.ndarray | None:
    """Return the annotation ids of ``subset`` among ``ids``, all of a v1.0 split, from the list in or beside
    ``annotations``; None for the whole split. DataError if there is no list or it names none of ``ids``.
    """
    if subset == "H+M" or (subset == "M" and split == "val"):
        return None
    if subset == "H" and split == "val":
        raise DataError(
            f"{annotations}: subset H of val was requested, but all of val is annotated by machine; use another"
        )
    if (path := _list_of(annotations, split, subset)).is_file():
        chosen = np.intersect1d(ids, read_ids(path))
    elif subset == "M" and split == "test" and (path := _list_of(annotations, split, "H")).is_file():
        chosen = np.setdiff1d(ids, read_ids(path))
    else:
        raise DataError(
            f"{_list_of(annotations, split, subset)}: expected the ids of subset {subset}, found nothing. Put the list "
            "from the data set's home page there"
        )
    if not len(chosen):
        raise DataError(f"{path}: none of its ids is an annotation of {split}; take the list of that split and of v1.0")
    return chosen


def _list_of(annotations: Path, split: str, subset: str) -> Path:
    """Return the file that lists a subset's ids; without one, where it belongs."""
    usual = annotations / split / f"aid_{SUBSETS[subset]}_{split}.txt"
    places = (usual, annotations / usual.name, annotations.parent / usual.name)
    return next((path for path in places if path.is_file()), usual)


def read_ids(path: Path) -> np.ndarray:
    """Read (N,) int64 annotation ids from a text file, one per line."""
    try:
        with readable(path):
            ids = np.array([int(line) for line in path.read_text(encoding="ascii").split()], dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: expected one annotation id per line ({error}); fetch the list again") from error
    if not len(ids):
        raise DataError(f"{path}: holds no id; fetch the list again")
    return ids


class InterHandSamples(LazySamples):
    """The samples of a split, made from its index; ``rows`` (int64, in order) selects annotations."""

    def __init__(self, image_folder: Path, tables: Tables, rows: np.ndarray | None = None):
        about = tables["annotations"].schema.metadata
        self.version = about[b"version"].decode()
        self.description = about[b"description"].decode()  # of the data file; the stand-in states itself there
        self.image_folder = image_folder
        self._tables = tables
        table = tables["annotations"]
        self._rows = np.arange(len(table)) if rows is None else rows
        plain = ("annotation_id", "width", "height", "joint_valid", "hand_type", "hand_type_valid", "frame_row")
        self._columns = {name: values(table[name]) for name in (*plain, "camera_row")}
        self._box = values(table["box"]).reshape(-1, 4)
        self._world_mm = values(tables["frames"]["world_mm"]).reshape(-1, JOINTS, 3)
        cameras = {"rotation": (3, 3), "position": (3,), "intrinsics": (3, 3)}
        self._cameras = {k: values(tables["cameras"][k]).reshape(-1, *shape) for k, shape in cameras.items()}

    def __len__(self) -> int:
        return len(self._rows)

    def only(self, annotation_ids: np.ndarray) -> InterHandSamples:
        """Return the samples whose annotation id is among ``annotation_ids``, in the same order."""
        keep = self._rows[np.isin(self.annotation_ids(), annotation_ids)]
        return InterHandSamples(self.image_folder, self._tables, keep)

    def annotation_ids(self) -> np.ndarray:
        """Return the annotations' ids. (N,) int64"""
        return self._columns["annotation_id"][self._rows]

    def file_names(self) -> list[str]:
        """Return the paths of the images, relative to images/<split>/."""
        return self._tables["annotations"]["file_name"].take(self._rows).to_pylist()

    def largest_size(self) -> tuple[int, int]:
        return int(self._columns["width"][self._rows].max()), int(self._columns["height"][self._rows].max())

    def count_distinct_ids(self) -> int:
        return pc.count_distinct(self._tables["annotations"]["file_name"].take(self._rows)).as_py()

    def hand_types(self) -> np.ndarray:
        return self._columns["hand_type"][self._rows]

    def make(self, position: int) -> HandSample:
        row = int(self._rows[position])
        column = {name: array[row] for name, array in self._columns.items()}
        table, camera = self._tables["annotations"], column["camera_row"]
        rotation, centre, k = (self._cameras[name][camera] for name in ("rotation", "position", "intrinsics"))
        valid = unpack_bits(column["joint_valid"][None])[0]  # (42,)
        cam_mm = np.zeros((JOINTS, 3))
        cam_mm[valid] = (self._world_mm[column["frame_row"]][valid] - centre) @ rotation.T
        image_px = np.zeros((JOINTS, 2))
        image_px[valid] = (cam_mm[valid] @ k.T)[:, :2] / cam_mm[valid, 2:]
        file_name = table["file_name"][row].as_py()
        return HandSample(
            sample_id=Path(file_name).with_suffix("").as_posix(),
            image_path=self.image_folder / file_name,
            image_size=(int(column["width"]), int(column["height"])),
            joints_cam_mm=cam_mm,
            joints_image_px=image_px,
            joint_valid=valid,
            joint_visible=None,
            intrinsics=k,
            box=self._box[row],
            hand_type=HAND_TYPES[column["hand_type"]],
            hand_type_valid=bool(column["hand_type_valid"]),
            meta={"subject": table["subject"][row].as_py()},
        )
