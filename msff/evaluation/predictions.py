"""Annotation and predictions of a test set: the two files that every number of the study derives from.

Both are validated when they are built and when they are read. They are joined by sample id, never by position alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from msff.data.datasets import DATASETS
from msff.data.sample import DataError, HandSample
from msff.evaluation.tracks import TRACK_NAMES, TestTimeInputs
from msff.skeleton import JOINTS, JOINTS_PER_HAND, ROOTS, SIDES


class ResultError(DataError):
    """A truth or predictions file that cannot be used. The message names the file and the remedy."""


@dataclass(frozen=True, eq=False)
class Truth:
    """The annotation of a test set that evaluation uses."""

    sample_id: list[str]  # N, unique
    joints_cam_mm: np.ndarray  # (N, 42, 3) float32
    joint_valid: np.ndarray  # (N, 42) bool
    joint_visible: np.ndarray | None  # (N, 42) bool, or None if the dataset has no visibility
    side_present: np.ndarray  # (N, 2) bool: right, left
    intrinsics: np.ndarray  # (N, 3, 3) float32
    box: np.ndarray  # (N, 4) float32 x, y, w, h px
    dataset: str  # a name in DATASETS
    side_valid: np.ndarray  # (N,) bool: handedness is annotated

    def __post_init__(self):
        n = _check_ids(self.sample_id, "truth")
        shapes = {
            "joints_cam_mm": (n, JOINTS, 3), "joint_valid": (n, JOINTS), "joint_visible": (n, JOINTS),
            "side_present": (n, 2), "intrinsics": (n, 3, 3), "box": (n, 4), "side_valid": (n,),
        }  # fmt: skip
        _check_arrays(self, shapes, "truth", optional=("joint_visible",))
        if self.dataset not in DATASETS:
            raise ResultError(f"truth: dataset must be one of {', '.join(DATASETS)}, got {self.dataset!r}")
        if self.single_hand and not (self.side_present.sum(1) == 1).all():
            raise ResultError(f"truth of {self.dataset}: exactly one hand per sample in this layout")

    @property
    def layout(self) -> str:
        """ "rhd" and "realworld": one hand per image; "interhand": one or two."""
        return DATASETS[self.dataset].layout

    @property
    def single_hand(self) -> bool:
        """True if every image has exactly one annotated hand."""
        return self.layout != "interhand"

    @property
    def cluster(self) -> np.ndarray | None:
        """(N,) int64: number of the cluster that the bootstrap draws as a whole; None if it draws single images.

        In InterHand2.6M's layout a cluster is a sequence of a capture, the first two folders of the id: its cameras and
        frames show the same hands. The ids of the other layouts do not encode such groups.
        """
        if self.layout != "interhand":
            return None
        sequences = ["/".join(name.split("/")[:2]) for name in self.sample_id]
        return np.unique(sequences, return_inverse=True)[1]

    def __len__(self) -> int:
        return len(self.sample_id)

    @classmethod
    def from_samples(cls, samples: Sequence[HandSample], dataset: str) -> Truth:
        """Return the annotation of these samples, in their order."""
        if not samples:
            raise ResultError(f"{dataset}: no sample to evaluate on")
        floats = ("joints_cam_mm", "intrinsics", "box")
        others = ("sample_id", "joint_valid", "joint_visible", "side_present", "hand_type_valid")
        columns = {name: [] for name in (*floats, *others)}
        for sample in samples:  # one pass: a large split makes its samples on demand
            for name, column in columns.items():
                value = getattr(sample, name)
                column.append(np.asarray(value, np.float32) if name in floats else value)
        ids, visible, side_valid = (columns.pop(name) for name in ("sample_id", "joint_visible", "hand_type_valid"))
        arrays = {name: np.stack(values) for name, values in columns.items()}
        visible = None if any(v is None for v in visible) else np.stack(visible)
        return cls(sample_id=ids, dataset=dataset, joint_visible=visible, side_valid=np.stack(side_valid), **arrays)

    def save(self, path: Path | str) -> None:
        """Write an npz file; the caller provides atomicity."""
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        save_npz(path, arrays | {"sample_id": np.array(self.sample_id), "dataset": np.array(self.dataset)})

    @classmethod
    def load(cls, path: Path | str) -> Truth:
        arrays = load_npz(
            path, required=("sample_id", "joints_cam_mm", "joint_valid", "side_present", "side_valid", "dataset")
        )
        arrays |= {"sample_id": arrays["sample_id"].tolist(), "dataset": str(arrays["dataset"])}
        arrays.setdefault("joint_visible", None)
        return _build(cls, path, arrays)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of one run for a test set, with their test-time inputs."""

    sample_id: list[str]  # N, unique
    joints: dict[str, np.ndarray]  # track -> (N, 42, 3) float32 camera mm
    side_probability: np.ndarray  # (N, 2) float32 right, left; NaN if the network has no such head
    relative_root_depth_mm: np.ndarray  # (N,) float32 z of the left minus the right wrist; NaN likewise
    inputs: dict[str, TestTimeInputs]  # track -> test-time inputs
    root_depth_mm: dict[str, np.ndarray] = field(default_factory=dict)  # track -> (N, 2) float32, as used for lifting

    def __post_init__(self):
        n = _check_ids(self.sample_id, "predictions")
        if not self.joints or not set(self.joints) <= set(TRACK_NAMES):
            raise ResultError(
                f"predictions: tracks must be among {', '.join(TRACK_NAMES)}, found {sorted(self.joints)}"
            )
        for track, joints in self.joints.items():
            if joints.shape != (n, JOINTS, 3):
                raise ResultError(f"predictions: joints of {track} must be {(n, JOINTS, 3)}, found {joints.shape}")
            if track not in self.inputs:
                raise ResultError(f"predictions: the test-time inputs of track {track} are missing")
        for track, depth in self.root_depth_mm.items():
            if track not in self.joints or depth.shape != (n, len(SIDES)):
                raise ResultError(f"predictions: root_depth_mm of {track} must be {(n, 2)}, found {depth.shape}")
        _check_arrays(self, {"side_probability": (n, 2), "relative_root_depth_mm": (n,)}, "predictions")

    def __len__(self) -> int:
        return len(self.sample_id)

    @classmethod
    def joined(cls, parts: Sequence[Predictions]) -> Predictions:
        """Concatenate the predictions of consecutive parts of a test set."""
        sample_id = [name for part in parts for name in part.sample_id]
        return _combined(parts, sample_id, lambda *arrays: np.concatenate(arrays))

    def only(self, track: str, name: str | None = None) -> Predictions:
        """Return the predictions of one track alone, under another track's ``name`` if one is given."""
        name, depths = name or track, self.root_depth_mm
        return replace(
            self,
            joints={name: self.joints[track]},
            inputs={name: self.inputs[track]},
            root_depth_mm={name: depths[track]} if track in depths else {},
        )

    def as_stored(self, truth: Truth) -> Predictions:
        """Return the predictions as a run's file holds them: rounded, and NaN for hands that nothing reads.

        A network predicts two hands in every image; no metric reads one that is neither annotated nor predicted to be
        present. Evaluate these, so that the numbers of a run are those of its file.
        """
        ordered = self.in_order_of(truth)
        likely = ordered.side_probability  # (N, 2), NaN without such a head
        kept = truth.side_present | (likely > 0.5) | (likely == likely.max(1, keepdims=True))  # (N, 2)
        kept = kept.repeat(JOINTS_PER_HAND, 1)[..., None]  # (N, 42, 1)
        joints = {
            track: np.where(kept, _join_wrists(*_split_wrists(joints)), np.float32("nan"))
            for track, joints in ordered.joints.items()
        }
        return replace(_combined([ordered], truth.sample_id, lambda array: array.astype(np.float32)), joints=joints)

    def save(self, path: Path | str) -> None:
        """Write an npz file: float32 wrists and float16 joints relative to them, so that rounding stays below 0.1 mm.

        Absolute positions as float16 would be off by up to 0.5 mm. The caller provides atomicity.
        """
        arrays = {
            "sample_id": np.array(self.sample_id),
            "side_probability": self.side_probability.astype(np.float32),
            "relative_root_depth_mm": self.relative_root_depth_mm.astype(np.float32),
            "given": np.array(json.dumps({track: asdict(self.inputs[track]) for track in self.joints})),
        }
        for track, joints in self.joints.items():
            arrays[f"{track}_wrists_mm"], arrays[f"{track}_relative_mm"] = _split_wrists(joints)
        arrays |= {f"{track}_root_depth_mm": d.astype(np.float32) for track, d in self.root_depth_mm.items()}
        save_npz(path, arrays)

    @classmethod
    def load(cls, path: Path | str) -> Predictions:
        arrays = load_npz(path, required=("sample_id", "side_probability", "relative_root_depth_mm", "given"))
        fields = {"sample_id": arrays.pop("sample_id").tolist(), "joints": {}, "root_depth_mm": {}}
        for track in TRACK_NAMES:
            wrists, relative = (arrays.pop(f"{track}_{part}", None) for part in ("wrists_mm", "relative_mm"))
            if wrists is not None and relative is not None:
                n = len(wrists)
                if wrists.shape != (n, len(SIDES), 3) or relative.shape != (n, JOINTS, 3):
                    raise ResultError(
                        f"{path}: {track} has wrists {wrists.shape} and joints {relative.shape}; delete it and rerun"
                    )
                fields["joints"][track] = _join_wrists(wrists, relative)
            if f"{track}_root_depth_mm" in arrays:
                fields["root_depth_mm"][track] = arrays.pop(f"{track}_root_depth_mm")
        given = str(arrays.pop("given"))
        try:
            fields["inputs"] = {track: TestTimeInputs(**sources) for track, sources in json.loads(given).items()}
        except (TypeError, ValueError, AttributeError) as error:
            raise ResultError(
                f"{path}: the test-time inputs are not readable ({error}); delete it and rerun"
            ) from error
        return _build(cls, path, arrays | fields)

    def in_order_of(self, truth: Truth) -> Predictions:
        """Return the predictions in the order of the truth; ResultError if they are not of the same samples."""
        if self.sample_id == truth.sample_id:
            return self
        missing, extra = set(truth.sample_id) - set(self.sample_id), set(self.sample_id) - set(truth.sample_id)
        if missing or extra:
            raise ResultError(
                f"the predictions are not of {truth.dataset}'s {len(truth)} test samples: "
                f"{_some('missing', missing)}{_some('unknown', extra)}. They belong to another dataset, size or seed; "
                "run that experiment again"
            )
        position = {sample: i for i, sample in enumerate(self.sample_id)}
        order = np.array([position[s] for s in truth.sample_id])
        return _combined([self], list(truth.sample_id), lambda array: array[order])


def _combined(parts: Sequence[Predictions], sample_id: list[str], combine: Callable[..., np.ndarray]) -> Predictions:
    """Return predictions whose every array is ``combine`` of those of the parts."""
    tracks = {
        name: {track: combine(*(getattr(part, name)[track] for part in parts)) for track in getattr(parts[0], name)}
        for name in ("joints", "root_depth_mm")
    }
    columns = ("side_probability", "relative_root_depth_mm")
    arrays = {name: combine(*(getattr(part, name) for part in parts)) for name in columns}
    return replace(parts[0], sample_id=sample_id, **tracks, **arrays)


def _check_ids(sample_id: list[str], what: str) -> int:
    if not sample_id:
        raise ResultError(f"{what}: no samples")
    if len(set(sample_id)) != len(sample_id):
        raise ResultError(f"{what}: {len(sample_id) - len(set(sample_id))} sample ids occur twice")
    return len(sample_id)


def _check_arrays(record, shapes: dict[str, tuple], what: str, optional: Iterable[str] = ()) -> None:
    for name, shape in shapes.items():
        array = getattr(record, name)
        if array is None and name in optional:
            continue
        if np.shape(array) != shape:
            raise ResultError(f"{what}: {name} must have shape {shape}, found {np.shape(array)}")


def _split_wrists(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 42, 3) mm -> (N, 2, 3) float32 wrists and (N, 42, 3) float16 joints relative to their own wrist."""
    wrists = joints[:, list(ROOTS.values())].astype(np.float32)  # (N, 2, 3)
    relative = joints - wrists.repeat(JOINTS_PER_HAND, 1)  # (N, 42, 3)
    return wrists, np.clip(relative, -60000, 60000).astype(np.float16)


def _join_wrists(wrists: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """Invert ``_split_wrists``. (N, 2, 3), (N, 42, 3) -> (N, 42, 3) float32 mm"""
    return wrists.repeat(JOINTS_PER_HAND, 1) + relative.astype(np.float32)


def _build(cls, path, fields: dict):
    try:
        return cls(**fields)
    except (ResultError, TypeError) as error:
        raise ResultError(f"{path}: {error}") from error


def _some(label: str, ids: set[str]) -> str:
    return f"{len(ids)} {label} (such as {min(ids)!r}) " if ids else ""


def save_npz(path: Path | str, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed npz file; the caller provides atomicity."""
    with open(path, "wb") as file:
        np.savez_compressed(file, **arrays)


def load_npz(
    path: Path | str, required: Iterable[str], remedy: str = "Delete it and run the study again"
) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file; ResultError with the remedy if it is damaged or a required array is missing."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise ResultError(f"{path} is missing. Run the study to make it") from error
    except Exception as error:  # the parsers of a damaged file: BadZipFile, zlib.error, NotImplementedError ...
        raise ResultError(f"{path} is truncated or not an npz file ({error}). {remedy}") from error
    absent = [name for name in required if name not in arrays]
    if absent:
        raise ResultError(f"{path} lacks {', '.join(absent)}; it holds {', '.join(arrays) or 'nothing'}. {remedy}")
    return arrays
