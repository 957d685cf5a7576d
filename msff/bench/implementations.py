"""What a benchmark compares: the fast way and the plain reference, each as a step to be timed.

Both learn and predict the same: the same network with the same initial weights, the same objective, the same crops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from msff.bench.measure import StageClock, Timed
from msff.bench.plain import PLAIN_DECODERS, plain_crops, plain_objective, plain_optimizer
from msff.data.batches import Batch, HandDataset
from msff.data.crops import AugmentConfig, draw_augmentation
from msff.data.images import decode_sample
from msff.data.sample import HandSample
from msff.evaluation.lifting import lift
from msff.heatmaps import bins_to_crop, decode
from msff.models.registry import METHODS, build, takes_handedness
from msff.study.procedures import procedure
from msff.study.profiles import Profile
from msff.study.store import Experiment
from msff.training.engine import Engine, SpeedConfig
from msff.training.loop import Phase, train_step

CONTENDERS = ("fast", "reference")
HEAVIEST_PHASE = {"posenet": "pose2d", "yang": "image"}  # on images; the other methods have one phase for everything
Step = Callable[[], object]


@dataclass(frozen=True)
class Frames:
    """Images on disk, few enough to be kept decoded, and how a training cuts its crops from them."""

    samples: tuple[HandSample, ...]
    crop_size: int  # px
    supersample: int
    augment: AugmentConfig | None

    def crops(self, contender: str, batch: int, device: str) -> Iterator[Batch | Tensor]:
        """Augmented batches without end; of the reference the crops alone, (B, 3, S, S), which is less work."""
        generator = torch.Generator().manual_seed(0)
        batch = min(batch, len(self.samples))
        if contender == "fast":
            dataset = HandDataset(self.samples, self.crop_size, device=device, supersample=self.supersample)
            while True:
                yield from dataset.batches(batch, augment=self.augment, shuffle=True, generator=generator)
        frames = [torch.from_numpy(decode_sample(s).copy()).permute(2, 0, 1).contiguous() for s in self.samples]
        while True:
            for chosen in torch.randperm(len(frames), generator=generator).split(batch)[: len(frames) // batch]:
                images, samples = [frames[i] for i in chosen], [self.samples[i] for i in chosen]
                drawn = draw_augmentation(self.augment, batch, generator)
                yield plain_crops(images, samples, drawn, self.crop_size, self.supersample).to(device)


@dataclass(frozen=True)
class Case:
    """A network to be measured."""

    experiment: Experiment
    profile: Profile  # its sizes, loss, decoder and recipe
    batch: Batch  # on the CPU
    device: str
    speed: SpeedConfig  # of the fast way
    threads: int

    def network(self, contender: str) -> torch.nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build(self.experiment.method, self.experiment.variant, self.profile.network).to(self.device)
        return model if contender == "fast" else model.to(memory_format=torch.contiguous_format)

    def phase(self) -> Phase:
        """The part of the training on images that costs most; ValueError if the experiment trains nothing itself."""
        how = procedure(self.experiment, self.profile)
        phases = {phase.name: phase for phase in how.phases(None)}
        if not phases:
            raise ValueError(
                f"{self.experiment.method}/{self.experiment.variant} trains nothing itself: "
                f"bench {how.start.variant!r}, whose weights it takes"
            )
        return phases[HEAVIEST_PHASE.get(self.experiment.method, "all")]


@contextmanager
def trainer(case: Case, contender: str, clock: StageClock) -> Iterator[Callable[[Batch], dict[str, Tensor]]]:
    """A full training step of a batch; its stages are forward, loss, backward and optimiser."""
    phase, model = case.phase(), case.network(contender)
    fast = contender == "fast"
    objective = phase.objective if fast else plain_objective(phase.objective)

    def timed(network, batch: Batch) -> dict[str, Tensor]:
        losses = objective(Timed(network, clock), batch)
        clock.mark("loss")
        return losses

    with phase.learning(model):
        model.train()
        if fast:
            engine = Engine(case.device, case.speed)
            optimizer = phase.training.optimise(p for p in model.parameters() if p.requires_grad)
            losses_of, backward = engine.step(model, timed), engine.backward
        else:
            optimizer, backward = plain_optimizer(model, phase.training), Tensor.backward

            def losses_of(batch: Batch) -> dict[str, Tensor]:
                return timed(model, batch)

        def timed_backward(loss: Tensor) -> None:
            backward(loss)
            clock.mark("backward")

        def step(batch: Batch) -> dict[str, Tensor]:
            rate = phase.training.learning_rate
            losses = train_step(losses_of, optimizer, batch, lambda network, b: network(b), rate, timed_backward)
            clock.mark("optimiser")
            return losses

        yield step


@contextmanager
def predictor(case: Case, contender: str, clock: StageClock) -> Iterator[Callable[[Batch], Tensor | object]]:
    """Prediction of a batch; its stages are forward and, of a volume, decode and lift -> (B, 42, 3) mm."""
    network = model = case.network(contender).eval()
    profile, one_hand = case.profile, METHODS[case.experiment.method].single_hand
    find = decode
    if contender == "fast":
        engine = Engine(case.device, case.speed)
        network = engine.network(model)  # as the study predicts: not compiled
    else:
        find = lambda volume, decoder: PLAIN_DECODERS[decoder](volume)  # noqa: E731

    @torch.no_grad()
    def step(batch: Batch) -> Tensor | object:
        output = network(batch.image, *((batch.side_present.argmax(1),) if takes_handedness(model) else ()))
        clock.mark("forward")
        if one_hand:
            return output
        crop_px, relative_mm = bins_to_crop(find(output.volume, profile.decoder), profile.volume)
        clock.mark("decode")
        joints = lift(crop_px, relative_mm, batch.root_depth_mm, batch.affine, batch.intrinsics)
        clock.mark("lift")
        return joints

    yield step


STEPS = {"train": trainer, "infer": predictor}
