"""A training step or a prediction of a network: the study's implementation beside a plain reference.

The reference is written as public code of this family of networks is: float32, eager, memory in NCHW order, the target
of Eq. (15) or the softmax materialised for the whole batch, the maximum searched axis by axis, torch's optimiser with
its defaults. Both learn and predict the same from the same initial weights. Torch's global settings are left alone, on
CUDA also TF32 in convolutions, which is its default.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from msff.bench.crops import Frames, study_frames
from msff.bench.measure import alternate, compare, is_cuda, matrix_peak
from msff.data.batches import Batch
from msff.data.datasets import DATASETS
from msff.data.synthetic import synthetic_batch
from msff.device import can_compile, usable_precision
from msff.evaluation.lifting import lift
from msff.heatmaps import bins_to_crop, decode, plain_integral_l1, plain_soft_argmax, plain_volume_mse
from msff.models.building import build, count_macs, count_parameters, takes_handedness
from msff.models.registry import METHODS
from msff.report.benchmarks import PAPERS_OWN
from msff.settings.networks import NetworkConfig
from msff.settings.training import SpeedConfig, TrainingConfig
from msff.study.experiment import Experiment
from msff.study.machine import machine
from msff.study.phases import phases
from msff.study.procedures import procedure, runs_on
from msff.study.profiles import DataSpec, Profile, get_profile
from msff.study.workspace import Workspace
from msff.training.engine import Engine, Objective
from msff.training.loop import Phase, optimiser, train_step
from msff.training.objectives.heatmap import HandObjective, hand_loss

DATA_STEPS = 20
"""Steps for which cutting crops is timed, about."""
HEAVIEST_PHASE = {"posenet": "pose2d", "yang": "image"}  # on images; the other methods have a single phase


@dataclass(frozen=True)
class Case:
    """A network to measure, with its batch."""

    experiment: Experiment
    profile: Profile  # its sizes, loss, decoder and recipe
    batch: Batch  # on the CPU
    device: str
    speed: SpeedConfig  # of the fast implementation

    def network(self, implementation: str) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build(self.experiment.method, self.experiment.variant, self.profile.network).to(self.device)
        return model if implementation == "fast" else model.to(memory_format=torch.contiguous_format)

    def phase(self) -> Phase:
        """Return the most expensive training phase on images; ValueError if the experiment trains nothing itself."""
        found = {phase.name: phase for phase in phases(self.experiment, self.profile)}
        if not found:
            raise ValueError(
                f"{self.experiment.method}/{self.experiment.variant} trains nothing itself: "
                f"bench {procedure(self.experiment, self.profile).start_from.variant!r}, whose weights it takes"
            )
        return found[HEAVIEST_PHASE.get(self.experiment.method, "all")]


def network_config(size: int) -> NetworkConfig:
    """Return the papers' networks at another crop size, with bins = size / 4."""
    if size < 64 or size % 32:
        raise ValueError(f"size must be a multiple of 32 and at least 64, got {size}")
    return NetworkConfig(crop_size=size, bins=size // 4)


def network_case(
    method: str, variant: str | None = None, *, device: str, size: int | None = None, batch: int | None = None,
    profile: str | None = None, precision: str | None = None, compiled: bool | None = None,
) -> Case:  # fmt: skip
    """Return what to measure; ValueError names the option that makes no sense.

    The network is the paper's at ``size`` px (256), or the ``profile``'s with its loss and decoder. Batch and precision
    default to the profile's, without one to bf16 and compilation; a device that lacks either does without, as the
    report states. The default variant is the one in the tables, of Chen the one without masks.
    """
    if method not in METHODS or not METHODS[method].has_network:
        known = ", ".join(name for name, m in METHODS.items() if m.has_network)
        raise ValueError(f"unknown network {method!r}: choose one of {known}")
    if profile is not None and size is not None:
        raise ValueError(f"the size is that of profile {profile!r}: give --profile or --size, not both")
    paper = Profile(PAPERS_OWN, "", "", DataSpec(), network_config(size or 256), TrainingConfig())
    sizes = get_profile(profile) if profile else paper
    batch = sizes.training.batch_size if batch is None else batch
    usual = "plain" if method == "chen" else METHODS[method].headline
    dataset = next(name for name in sizes.data.datasets if not DATASETS[name].has_masks)  # nor have synthetic crops
    experiment = Experiment(sizes.name, dataset, method, variant or usual)
    if not runs_on(method, experiment.variant, dataset):
        raise ValueError(f"{method}/{experiment.variant} needs masks of the hands, which are missing: bench {usual!r}")
    hands = 1 if METHODS[method].single_hand else 2
    synthetic = synthetic_batch(batch, sizes.network.crop_size, "cpu", torch.Generator().manual_seed(0), hands)
    wanted, there = sizes.speed if profile else SpeedConfig("bf16", compile=True), torch.device(device)
    speed = SpeedConfig(
        usable_precision(precision or wanted.precision, there),
        compile=(wanted.compile if compiled is None else compiled) and can_compile(there),
    )
    return Case(experiment, sizes, synthetic, device, speed)


def training_frames(case: Case) -> Frames | None:
    """Return images of the case's profile, or None if the profile's data are not on this disk."""
    try:
        workspace = Workspace(case.experiment.profile, device=case.device)
    except FileNotFoundError:  # outside the project's folder
        return None
    dataset = case.experiment.dataset
    if not workspace.has_data(dataset):
        return None
    return study_frames(
        workspace, dataset, procedure(case.experiment, case.profile).view, case.phase().training.augment
    )


# the workloads


@contextmanager
def trainer(case: Case, implementation: str) -> Iterator[Callable[..., dict[str, Tensor]]]:
    """Give a full training step, of the case's batch or another."""
    phase, model, held = case.phase(), case.network(implementation), case.batch.to(case.device)
    fast, training = implementation == "fast", phase.training
    objective = phase.objective if fast else plain_objective(phase.objective)
    with phase.learning(model.train()):
        learning = [p for p in model.parameters() if p.requires_grad]
        if fast:
            engine = Engine(case.device, case.speed)
            losses, backward, rule = engine.step(model, objective), engine.backward, optimiser(training, learning)
        else:
            plain = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}[training.optimizer]
            losses, backward, rule = partial(objective, model), Tensor.backward, plain(learning)
        yield lambda batch=held: train_step(losses, rule, batch, operator.call, training.learning_rate, backward)


@contextmanager
def predictor(case: Case, implementation: str) -> Iterator[Callable[[], object]]:
    """Give the prediction of the case's batch: the output, a volume decoded and lifted -> (B, 42, 3) mm."""
    model, batch, fast = case.network(implementation).eval(), case.batch.to(case.device), implementation == "fast"
    network = Engine(case.device, case.speed).network(model) if fast else model  # not compiled, as in the study
    profile, decoder = case.profile, decode if fast else plain_decode

    @torch.no_grad()
    def step() -> object:
        output = network(batch.image, *((batch.side_present.argmax(1),) if takes_handedness(model) else ()))
        if METHODS[case.experiment.method].single_hand:
            return output
        crop_px, relative_mm = bins_to_crop(decoder(output.volume, profile.decoder), profile.volume)
        return lift(crop_px, relative_mm, batch.root_depth_mm, batch.affine, batch.intrinsics)

    yield step


WORKLOADS = {"train": trainer, "infer": predictor}


# the plain reference


def plain_objective(objective: Objective) -> Objective:
    """Return the heat-map networks' objective with plain losses of the volume; the other objectives have one form."""
    if not isinstance(objective, HandObjective):
        return objective
    losses = {"mse": plain_volume_mse, "integral": plain_integral_l1}
    return lambda model, batch: hand_loss(model(batch.image), batch, objective.spec, objective.config, losses)


def plain_decode(volume: Tensor, decoder: str) -> Tensor:
    """Decode as `msff.heatmaps.decode`, by a softmax of the whole volume or its maximum searched axis by axis."""
    if decoder == "expectation":
        return plain_soft_argmax(volume)
    over_z, z = volume.max(2)  # (B, J, H, W)
    over_zy, y = over_z.max(2)  # (B, J, W)
    x = over_zy.argmax(2, keepdim=True)  # (B, J, 1)
    y = y.gather(2, x)
    z = z.flatten(2).gather(2, y * volume.shape[4] + x)
    return torch.cat([x, y, z], -1).float()


# the report


def bench_network(what: str, case: Case, seconds: float, frames: Frames | None = None) -> dict:
    """Measure a step of "train" or "infer" in both implementations on the same batch, for about ``seconds`` in all.

    With ``frames`` the batch is cut from them; ``stages`` and ``images_per_s_with_data`` then include cutting the next.
    """
    batches = frames.batches(len(case.batch), case.device) if frames else None
    if batches:
        case = replace(case, batch=next(batches).to("cpu"))
    workload, images = partial(WORKLOADS[what], case), len(case.batch)
    with workload("reference") as step, FlopCounterMode(display=False) as counter:
        step()
    gmac = counter.get_total_flops() / 2e9 / images
    report = compare(workload, case.device, images, seconds)
    if batches:
        with trainer(case, "fast") as step:
            step(next(batches))  # compiles
            steps = {"whole": lambda: step(next(batches))}
            whole = alternate(steps, images, DATA_STEPS * report["step_s"])["whole"]
        data = max(0.0, 100 * (1 - report["step_s"] / whole["step_s"]))
        report |= {"images_per_s_with_data": whole["images_per_s"], "stages": {"data": data, "step": 100 - data}}
    model, size, experiment = case.network("fast"), case.profile.network.crop_size, case.experiment
    return {
        "bench": what,
        "method": experiment.method,
        "variant": experiment.variant,
        **({"phase": case.phase().name} if what == "train" else {}),
        "profile": experiment.profile,
        "size": size,
        "batch": images,
        "precision": case.speed.precision,
        "compile": case.speed.compile and what == "train",  # prediction is not compiled
        "parameters": count_parameters(model),
        "gmac_forward": count_macs(model, size) / 1e9,
        "data": f"{len(frames.samples)} images of {experiment.dataset}" if frames else "synthetic",
        "gmac_per_image": gmac,  # of all that a step computes
        **_rates(report, gmac, case),
        **machine(case.device),
    }


def _rates(report: dict, gmac: float, case: Case) -> dict:
    """Add multiply-adds per second, also in percent of the machine's peak in the precision of the convolutions."""
    single = "tf32" if is_cuda(case.device) and torch.backends.cudnn.allow_tf32 else "float32"
    peak = {precision: matrix_peak(case.device, precision) for precision in dict.fromkeys(("float32", "bf16", single))}

    def rates(result: dict, precision: str) -> dict:
        rate = gmac * result["images_per_s"]
        return {"gmac_per_s": rate, "percent_of_peak": 100 * rate / peak[precision]}

    reference = report["reference"] | rates(report["reference"], single)
    own = "bf16" if case.speed.precision == "bf16" else single
    return report | rates(report, own) | {"reference": reference, "peak_gmac_per_s": peak}
