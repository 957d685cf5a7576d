"""One cell of the study grid."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Experiment:
    """What is trained and evaluated: a method's variant on a dataset with a seed, at the scale of a profile."""

    profile: str
    dataset: str
    method: str
    variant: str = "full"
    seed: int = 0

    @property
    def run_id(self) -> str:
        return f"{self.dataset}/{self.method}/{self.variant}/seed{self.seed}"

    @classmethod
    def parse(cls, profile: str, run_id: str) -> Experiment:
        """Invert ``run_id``; ValueError if the text is not a run id."""
        match = re.fullmatch(r"([\w-]+)/([\w-]+)/([\w-]+)/seed(\d+)", run_id)
        if not match:
            raise ValueError(f"a run id reads dataset/method/variant/seed<k>, got {run_id!r}")
        return cls(profile, *match.groups()[:3], int(match[4]))
