"""RootNet's published outputs: the boxes and absolute wrist depths that InterNet was tested with; read only.

One JSON list per test set (InterNet's repository, folder rootnet_output): {"annot_id", "bbox", "abs_depth"}. ``bbox``
is the square after InterNet's box rule (1:1, 1.25 times as large), made from the annotated box: no detector took part.
``abs_depth`` is [right, left] mm for InterHand2.6M and one number for RHD, whose images count one hand each.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from msff.data.files import again, require_file, sentence
from msff.data.interhand_json import INT64
from msff.data.sample import DataError, HandSample
from msff.skeleton import SIDES

_INTERHAND = "rootnet_interhand2.6m_output_{}.json"
FILE_NAMES = {
    ("interhand", "val"): (_INTERHAND.format("val"), _INTERHAND.format("machine_annot_val")),
    ("interhand", "test"): (_INTERHAND.format("test"), _INTERHAND.format("all_test")),
    ("rhd", "evaluation"): ("rootnet_rhd_output.json",),
}
"""Names of v1.0 and, for InterHand2.6M, of v0.0."""
REMEDY = "fetch the RootNet output that InterNet's README links and put it into rootnet_output/"


_Size = Annotated[float, msgspec.Meta(gt=0)]


class _Entry(msgspec.Struct, gc=False):
    annot_id: INT64
    bbox: tuple[float, float, _Size, _Size]
    abs_depth: float | tuple[float, float]  # msgspec 0.22 crashes on constraints here: checked by hand


@dataclass(frozen=True)
class RootNetOutput:
    """One file of N annotations, in ascending id; arrays are read-only."""

    path: Path
    annotation_ids: np.ndarray  # (N,) int64
    square_box: np.ndarray  # (N, 4) x, y, w, h px, already 1:1 and 1.25 times the annotated box
    root_depth_mm: np.ndarray  # (N, 2) right, left wrist; RHD's single depth stands in both

    def __post_init__(self):
        for name, shape in (("annotation_ids", ()), ("square_box", (4,)), ("root_depth_mm", (2,))):
            array = np.array(getattr(self, name))
            if array.shape != (len(self.annotation_ids), *shape) or not np.isfinite(array).all():
                raise DataError(
                    f"{self.path}: {name} must be finite and of N x {shape}, found {array.shape}. {sentence(REMEDY)}"
                )
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def of(self, sample: HandSample) -> tuple[np.ndarray, dict[str, float]]:
        """Square box (4,) px and {side: wrist depth mm} of the sample's hands; DataError if it is not in the file."""
        wanted = sample.meta.get("annotation_id")
        place = int(np.searchsorted(self.annotation_ids, -1 if wanted is None else wanted))
        if wanted is None or place == len(self.annotation_ids) or self.annotation_ids[place] != wanted:
            raise DataError(
                f"{self.path}: no entry for annotation {wanted} ({sample.sample_id}); expected the output of the same "
                "version and split"
            )
        depths = zip(SIDES, self.root_depth_mm[place].tolist(), sample.side_present, strict=True)
        return self.square_box[place], {side: depth for side, depth, present in depths if present}


def read_rootnet(path: Path) -> RootNetOutput:
    """The file at ``path``; DataError if it is missing, cut short or not of that form."""
    require_file(path, "RootNet's output", REMEDY)
    try:
        entries = msgspec.json.decode(path.read_bytes(), type=list[_Entry])
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: not RootNet's output: {error}. {sentence(REMEDY)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a whole JSON file ({error}); {again(path)}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check its permissions and the disk") from error
    if not entries:
        raise DataError(f"{path}: no entry; expected one per test image. {sentence(REMEDY)}")
    entries.sort(key=lambda entry: entry.annot_id)
    ids = np.array([entry.annot_id for entry in entries], dtype=np.int64)
    if (np.diff(ids) == 0).any():
        raise DataError(
            f"{path}: annotation {ids[np.flatnonzero(np.diff(ids) == 0)[0]]} occurs twice. {sentence(REMEDY)}"
        )
    depths = [e.abs_depth if isinstance(e.abs_depth, tuple) else (e.abs_depth, e.abs_depth) for e in entries]
    behind = np.flatnonzero((np.array(depths) < 0).any(1))
    if len(behind):
        found = f"annotation {ids[behind[0]]} has a negative abs_depth, {depths[behind[0]]}"
        raise DataError(f"{path}: {found}. {sentence(REMEDY)}")
    return RootNetOutput(path, ids, np.array([e.bbox for e in entries]), np.array(depths))


def find_rootnet(root: Path, layout: str, split: str) -> Path:
    """The file for a split in ``root``/rootnet_output; DataError with the names that were looked for."""
    names = FILE_NAMES.get((layout, split), ())
    if not names:
        raise DataError(f"RootNet's output was not published for {split} of {layout}; use the annotated depth there")
    folder = Path(root) / "rootnet_output"
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        found = "neither" if len(names) > 1 else "nothing"
        raise DataError(f"{folder}: expected {' or '.join(names)}, found {found}. {sentence(REMEDY)}")
    return found
