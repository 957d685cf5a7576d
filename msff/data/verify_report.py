"""What ``msff data verify`` found, as text and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LISTED = 20  # problems of a split that the text shows
LAYOUT_NAMES = {"rhd": "RHD v1.1", "interhand": "InterHand2.6M", "realworld": "real-world test set"}


@dataclass(frozen=True)
class SplitReport:
    """What was found of one split."""

    split: str
    annotated: int  # images that the annotations name
    usable: int  # samples that the reader returns
    hand_types: dict[str, int]
    decoded: int
    reprojection_px: float | None  # largest distance of projected 3D to annotated 2D; None where 2D is not annotated
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class VerifyReport:
    """The result of ``verify``; ``str`` of it is the text for a reader."""

    path: Path
    layout: str  # "rhd", "interhand" or "realworld"
    kind: str  # "stand-in" or "real"
    version: str
    splits: tuple[SplitReport, ...]
    problems: tuple[str, ...]  # of the folder as a whole

    @property
    def ok(self) -> bool:
        return not self.problems and not any(s.problems for s in self.splits)

    def __str__(self) -> str:
        lines = [f"{self.path}: {LAYOUT_NAMES[self.layout]} layout, {self.kind}, {self.version}"]
        for s in self.splits:
            types = ", ".join(f"{count:,} {name}" for name, count in s.hand_types.items()) or "none"
            counts = f"{s.annotated:,} annotated, {s.usable:,} usable ({types}), {s.decoded:,} decoded"
            lines.append(f"  {s.split}: {counts}")
            if s.reprojection_px is not None:
                lines.append(f"    3D on 2D: at most {s.reprojection_px:.3f} px apart")
            lines += [f"    note: {note}" for note in s.notes]
            lines += [f"    PROBLEM: {problem}" for problem in s.problems[:LISTED]]
            if len(s.problems) > LISTED:
                lines.append(f"    PROBLEM: ... and {len(s.problems) - LISTED:,} more; --json lists them all")
        lines += [f"  PROBLEM: {problem}" for problem in self.problems]
        lines.append("  OK" if self.ok else f"  NOT OK: {self._count()} problem(s)")
        return "\n".join(lines)

    def _count(self) -> int:
        return len(self.problems) + sum(len(s.problems) for s in self.splits)

    def to_dict(self) -> dict:
        """For JSON, which has no infinity: a reprojection that failed is null, and its problem is listed."""
        splits = [{k: list(v) if isinstance(v, tuple) else v for k, v in vars(s).items()} for s in self.splits]
        for split in splits:
            if split["reprojection_px"] == float("inf"):
                split["reprojection_px"] = None
        head = {"path": str(self.path), "layout": self.layout, "kind": self.kind, "version": self.version}
        return {**head, "ok": self.ok, "problems": list(self.problems), "splits": splits}
