"""What the helpers tell the runs: they are asked once, when they are trained, and looked up from then on.

A helper's weights stay on the machine that trained it, and another training gives other weights. So its run keeps its
answers (`msff.evaluation.answers`) about every test crop that runs show it and about the real photos at hand, and all
runs rest on these, on any machine, whether the weights are there or not. The network itself is asked about crops that
nobody can know before: those that a method finds or that its paper's recipe has (``sees_own_crops``).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from msff.data.batches import HandDataset
from msff.data.datasets import DATASETS
from msff.data.sample import DataError, HandSample
from msff.evaluation.answers import Answers, Helped, Question
from msff.evaluation.root_depth import NetworkDepth
from msff.evaluation.sides import SideProbabilities
from msff.study.store import PHOTOS, Experiment, Run

if TYPE_CHECKING:
    from msff.study.experiment import Study

QUESTIONS = {"rootnet": NetworkDepth, "sidenet": SideProbabilities}
"""Helper -> what it is asked about a crop."""
SHOWN = {"rootnet": ("images", "hands"), "sidenet": ("hands",)}
"""Helper -> the views of the test pictures that runs show it."""


@dataclass(frozen=True)
class Helper:
    """A stored helper, and its network where its weights are here."""

    run: Run
    network: Question | None
    is_the_runs: bool = True  # False: trained anew, since the weights of the stored run are elsewhere

    def estimate(self, itself: bool) -> Helped:
        """What tells a run; ``itself``: the network alone."""
        name = self.run.experiment.run_id
        if itself:
            return Helped(name, None, self.network)
        answers = self.run.answers if self.run.answered else None
        return Helped(name, answers, self.network if self.is_the_runs else None)

    def cited(self, itself: bool) -> dict:
        """What a record says of it; uid None: a network was asked that is no stored run's."""
        cited = {key: self.run.record[key] for key in ("run_id", "config_hash", "uid", "metrics")}
        return cited if self.is_the_runs or not itself else cited | {"uid": None, "metrics": None}


def ask(study: Study, helper: Experiment, model: nn.Module) -> Answers:
    """The trained helper about the test part of its dataset, and about the photos at hand.

    Photos that cannot be read cost a warning and not the training.
    """
    question = QUESTIONS[helper.method](study.engine.network(model))
    said = Answers.asked(question, None)
    for view in SHOWN[helper.method]:
        said = _asked(study, question, study.samples(helper.dataset, "test", view), said)
    if study.names_data(PHOTOS):
        try:
            return _asked(study, question, study.samples(PHOTOS, "test"), said)
        except DataError as error:
            warnings.warn(
                f"{helper.run_id} is trained, but not asked about the {DATASETS[PHOTOS].label}: {error}", stacklevel=2
            )
    return said


def _asked(study: Study, question: Question, dataset: HandDataset, said: Answers) -> Answers:
    """What was ``said``, and what is said of the crops that are new. Of several processes each asks about a share."""
    new = np.flatnonzero(said.rows(dataset.samples) < 0)
    own = new[study.engine.share(len(new))]
    crops = dataset if len(own) == len(dataset) else dataset.at(own) if len(own) else None
    return Answers.joined([said, *study.engine.gathered(Answers.asked(question, crops))])


def shown(study: Study, method: str, dataset: str) -> list[Sequence[HandSample]]:
    """The test crops of a dataset that runs show the helper."""
    views = {"images": study.samples(dataset, "test").samples, "hands": study.hands(dataset, "test").samples}
    return [views[view] for view in SHOWN[method]]


def knows(run: Run | None, crops: list[Sequence[HandSample]]) -> bool:
    """Whether a helper's stored run has answered about all these crops."""
    return run is not None and run.answered and all(map(run.answers.hold, crops))
