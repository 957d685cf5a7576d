"""Benchmarks: every method's training step and prediction, the data side, each beside its plain reference."""

import json
import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from tiny_study import tiny_study
from torch import nn

from msff.bench import implementations, networks
from msff.bench.implementations import CONTENDERS
from msff.bench.measure import GrownMemory, StageClock, Timed, alternate, in_child
from msff.bench.networks import bench_data, bench_network, network_case
from msff.bench.peak import matrix_peak
from msff.bench.plain import PLAIN_DECODERS, PLAIN_LOSSES, PlainHandObjective
from msff.cli import main
from msff.data.crops import AugmentConfig
from msff.data.synthetic import synthetic_batch
from msff.heatmaps import VolumeSpec, decode, volume_integral_l1, volume_mse
from msff.models.backbone import BackboneConfig
from msff.models.registry import METHODS, NetworkConfig
from msff.report.benchmarks import bench_text
from msff.study.experiment import Study
from msff.study.profiles import PROFILES
from msff.training.engine import SpeedConfig, usable_precision
from msff.training.objectives.chen import ChenObjective
from msff.training.objectives.heatmap import HandObjective
from msff.training.objectives.posenet import Pose2DObjective
from msff.training.objectives.song_surrogate import SongObjective
from msff.training.objectives.vae import SpurrObjective, YangObjective

NETWORKS = [name for name, method in METHODS.items() if method.build]
TRUNK = BackboneConfig("basic", 16, (1, 1, 1, 1))
OBJECTIVES = {
    "msff": HandObjective, "internet": HandObjective, "posenet": Pose2DObjective, "chen": ChenObjective,
    "spurr": SpurrObjective, "yang": YangObjective, "song": SongObjective,
}  # fmt: skip


def slim_config(size):
    return NetworkConfig(
        crop_size=size, bins=size // 4, backbone=TRUNK, backbone18=TRUNK, pyramid_channels=16, deconv_channels=16,
        head_hidden=16, vae_hidden=16, posenet_width=0.0625,
    )  # fmt: skip


@pytest.fixture
def slim(monkeypatch):
    """Small networks, memory measured in this process and a peak of small matrices: fast."""
    monkeypatch.setattr(networks, "network_config", slim_config)
    monkeypatch.setattr(networks, "in_child", lambda function, *arguments: max(function(*arguments), 1.0))  # MiB
    monkeypatch.setattr("msff.bench.peak._SIZES", {"cpu": (64,)})
    monkeypatch.setattr("msff.bench.peak._SECONDS", 0.0)


def case_of(method, variant=None, **options):
    return network_case(method, variant, **{"device": "cpu", "size": 64, "batch": 2, "precision": "float32"} | options)


def test_the_networks_are_the_papers_at_another_size():
    assert networks.network_config(256) == NetworkConfig()
    assert networks.network_config(96) == replace(NetworkConfig(), crop_size=96, bins=24)
    for size in (32, 100):
        with pytest.raises(ValueError, match=f"multiple of 32 and at least 64, got {size}"):
            networks.network_config(size)


@pytest.mark.parametrize("method", NETWORKS)
def test_every_method_trains_alike_in_both_ways(slim, monkeypatch, method):
    """With the objective of its heaviest phase and one hand per crop, or both for the networks that see both; the
    reference loses and learns as the fast way does."""
    case = case_of(method, batch=4)
    assert case.phase().name == {"posenet": "pose2d", "yang": "image"}.get(method, "all")
    assert isinstance(case.phase().objective, OBJECTIVES[method])
    assert case.experiment.variant == ("plain" if method in ("chen", "spurr") else "full")
    sides = case.batch.side_present.tolist()
    assert sides == ([[1, 0], [0, 1]] * 2 if METHODS[method].single_hand else [[1, 1]] * 4)
    built, losses, changed = {}, {}, {}
    network = implementations.Case.network

    def keep(self, contender):
        built[contender] = network(self, contender)
        return built[contender]

    monkeypatch.setattr(implementations.Case, "network", keep)
    for name in CONTENDERS:
        with implementations.trainer(case, name, StageClock("cpu")) as step:
            before = {key: p.detach().clone() for key, p in built[name].named_parameters()}
            torch.manual_seed(0)  # dropout
            losses[name] = {key: float(value.detach()) for key, value in step(case.batch).items()}
        after = dict(built[name].named_parameters())
        changed[name] = {key.split(".")[0] for key, p in before.items() if not torch.equal(p, after[key])}
    assert losses["fast"] == pytest.approx(losses["reference"], rel=1e-4) and losses["fast"]["total"] > 0
    assert changed["fast"] == changed["reference"] != set()
    if method in implementations.HEAVIEST_PHASE:
        assert changed["fast"] == {{"posenet": "pose2d", "yang": "image_encoder"}[method]}
    widest = max(built["fast"].parameters(), key=lambda p: p.shape[1] if p.ndim == 4 and p.shape[-1] > 1 else 0)
    plain = dict(built["reference"].named_parameters())
    assert not widest.is_contiguous() and all(p.is_contiguous() for p in plain.values())


@pytest.mark.parametrize("volume", ["mse", "integral"])
def test_the_plain_objective_is_the_reference_of_the_heat_map_networks(slim, monkeypatch, volume):
    seen = []
    case = case_of("msff")
    case = replace(case, profile=replace(case.profile, loss=replace(case.profile.loss, volume=volume)))
    call = PlainHandObjective.__call__
    monkeypatch.setattr(PlainHandObjective, "__call__", lambda *args: seen.append(1) or call(*args))
    totals = []
    for name in CONTENDERS:
        with implementations.trainer(case, name, StageClock("cpu")) as step:
            totals.append([float(step(case.batch)["total"].detach()) for _ in range(3)])
    assert len(seen) == 3 and totals[0] == pytest.approx(totals[1], rel=1e-3)


@pytest.mark.parametrize("name, fast", [("mse", volume_mse), ("integral", volume_integral_l1)])
def test_the_plain_losses_equal_the_fast_ones_in_value_and_gradient(name, fast):
    spec, generator = VolumeSpec(bins=8, crop_size=32, sigma_bin=1.3), torch.Generator().manual_seed(0)
    volume, bins = torch.randn(2, 3, 8, 8, 8, generator=generator) * 20, torch.rand(2, 3, 3, generator=generator) * 8
    valid = torch.tensor([[True, False, True], [True, True, True]])
    bins[0, 1] = math.nan
    values, gradients = [], []
    for loss in (fast, PLAIN_LOSSES[name]):
        leaf = volume.clone().requires_grad_()
        values.append(loss(leaf, bins, valid, spec))
        values[-1].backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(values[0], values[1], rtol=1e-5, atol=0)
    assert (gradients[0] - gradients[1]).norm() < 1e-5 * gradients[1].norm()  # each by itself is rounded worse


@pytest.mark.parametrize("decoder", PLAIN_DECODERS)
def test_the_plain_decoders_equal_the_fast_ones(decoder):
    volume = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 3
    torch.testing.assert_close(PLAIN_DECODERS[decoder](volume), decode(volume, decoder))


@pytest.mark.parametrize("method", NETWORKS)
def test_every_method_predicts_alike_in_both_ways(slim, method):
    case = case_of(method)
    found = []
    for name in CONTENDERS:
        with implementations.predictor(case, name, StageClock("cpu")) as step:
            found.append(step(case.batch))
    if METHODS[method].single_hand:
        found = [next(v for v in vars(output).values() if isinstance(v, torch.Tensor)) for output in found]
    else:
        assert found[0].shape == (2, 42, 3)
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


def test_the_report_of_a_training_step(slim):
    report = bench_network("train", case_of("msff"), 0.01)
    reference, ratio = report["reference"], report["ratio"]
    assert (report["bench"], report["method"], report["variant"], report["phase"]) == ("train", "msff", "full", "all")
    assert report["images_per_s"] == pytest.approx(2 / report["step_s"])
    assert ratio["images_per_s"] == pytest.approx(reference["step_s"] / report["step_s"])
    assert ratio["peak_mib"] == pytest.approx(report["peak_mib"] / reference["peak_mib"])
    assert report["gmac_per_s"] == pytest.approx(report["gmac_per_image"] * report["images_per_s"])
    assert 2.5 < report["gmac_per_image"] / report["gmac_forward"] < 3.1  # nothing flows back into the image
    peak = report["peak_gmac_per_s"]["float32"]
    assert report["percent_of_peak"] == pytest.approx(100 * report["gmac_per_s"] / peak)
    for stages in (report["stages"], reference["stages"]):
        assert set(stages) == {"forward", "loss", "backward", "optimiser"} and sum(stages.values()) == pytest.approx(
            100
        )
    assert report["data"] == "synthetic" and "images_per_s_with_data" not in report
    assert json.loads(json.dumps(report)) == report
    text = bench_text(report)
    assert "reference" in text and "optimiser" in text and "{" not in text


def test_on_cuda_memory_is_measured_after_the_step_that_compiles(slim, monkeypatch):
    """In this process, with what CUDA would count made up: the recording of the graphs is in, compilation is not."""
    steps, counted = [], []

    class Memory:
        def __init__(self, device):
            self.on_cuda = True

        def forget_peak(self):
            counted.append(len(steps))

        def mib(self):
            return float(len(steps) - counted[-1])

    monkeypatch.setattr(networks, "is_cuda", lambda device: True)
    monkeypatch.setattr(networks, "GrownMemory", Memory)
    monkeypatch.setattr(networks, "alternate", lambda on_held, *_: {name: {"images_per_s": 1.0} for name in on_held})
    make = networks.STEPS["train"]

    @contextmanager
    def counting(case, name, clock):
        with make(case, name, clock) as step:
            yield lambda batch: steps.append(name) or step(batch)

    monkeypatch.setitem(networks.STEPS, "train", counting)
    report = bench_network("train", case_of("msff"), 0.01)
    assert report["peak_mib"] == report["reference"]["peak_mib"] == 4.0  # of five steps all but the first


def test_the_stages_of_a_prediction(slim):
    for method, stages in (("internet", {"forward", "decode", "lift"}), ("spurr", {"forward"})):
        report = bench_network("infer", case_of(method), 0.01)
        assert set(report["stages"]) == stages == set(report["reference"]["stages"]) and "phase" not in report
        assert report["gmac_per_image"] == pytest.approx(report["gmac_forward"], rel=1e-3)
        assert "forward" in bench_text(report)


def test_what_cannot_be_measured_says_what_to_take_instead(slim):
    for method, variant, message in (
        ("chen", "full", "chen/full needs masks of the hands.*bench 'plain'"),
        ("posenet", "segmented", "posenet/segmented needs masks.*bench 'full'"),
        ("sidenet", None, "unknown network 'sidenet'"),
    ):
        with pytest.raises(ValueError, match=message):
            case_of(method, variant)
    with pytest.raises(ValueError, match="batch must be at least 1, got 0"):
        case_of("spurr", batch=0)
    with pytest.raises(ValueError, match="give --profile or --size, not both"):
        case_of("msff", profile="smoke")
    with pytest.raises(ValueError, match="--compile needs a GPU"):
        case_of("msff", compiled=True)
    with pytest.raises(ValueError, match="yang has no variant 'half'"):
        bench_network("infer", case_of("yang", "half"), 0.01)
    with pytest.raises(ValueError, match="song/regressed trains nothing itself: bench 'full'"):
        bench_network("train", case_of("song", "regressed"), 0.01)
    assert bench_network("infer", case_of("song", "regressed"), 0.001)["variant"] == "regressed"


def test_bf16_is_refused_where_it_is_only_emulated(monkeypatch):
    monkeypatch.setattr(networks, "usable_precision", lambda wanted, device: "float32")
    with pytest.raises(ValueError, match="this cpu does not multiply bf16 natively; take float32"):
        case_of("msff", precision="bf16")
    assert case_of("msff", precision=None).speed == SpeedConfig("float32", compile=False)
    monkeypatch.setattr(networks, "count_processes", lambda: 2)
    with pytest.raises(ValueError, match="without torchrun"):
        case_of("msff")


@pytest.mark.skipif(usable_precision("bf16", torch.device("cpu")) != "bf16", reason="this CPU has no bf16 products")
def test_bf16_is_the_default_where_it_is_native(slim):
    report = bench_network("train", case_of("msff", precision=None), 0.001)
    assert report["precision"] == "bf16"
    peak = report["peak_gmac_per_s"]
    assert report["percent_of_peak"] == pytest.approx(100 * report["gmac_per_s"] / peak["bf16"])
    assert report["reference"]["percent_of_peak"] == pytest.approx(
        100 * report["reference"]["gmac_per_s"] / peak["float32"]
    )


def test_a_profile_gives_network_batch_loss_and_decoder():
    case = case_of("msff", size=None, batch=None, profile="cpu-long")
    profile = PROFILES["cpu-long"]
    assert (len(case.batch), case.profile) == (profile.training.batch_size, profile)
    assert case.batch.image.shape[-1] == profile.network.crop_size
    assert case.phase().objective.config.volume == "integral"
    assert len(case_of("msff", size=None, batch=3, profile="cpu").batch) == 3


@pytest.mark.parametrize("variant", ["scale-side", "native"])
def test_a_variant_can_be_asked_for(slim, variant):
    assert bench_network("train", case_of("spurr", variant), 0.001)["variant"] == variant


def test_a_synthetic_batch_of_one_hand_marks_the_other_as_absent():
    both, one = (synthetic_batch(3, 32, "cpu", torch.Generator().manual_seed(0), hands) for hands in (2, 1))
    assert both.joint_valid.all() and both.side_present.all() and both.relative_root_valid.all()
    assert one.side_present.tolist() == [[1, 0], [0, 1], [1, 0]] and not one.relative_root_valid.any()
    assert one.joint_valid.sum(1).tolist() == [21] * 3 and one.joint_valid[1, 21:].all()
    assert torch.equal(one.joint_visible, one.joint_valid) and torch.equal(one.image, both.image)


# the data side


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return tiny_study(tmp_path_factory.mktemp("project"))


@pytest.fixture
def frames(study):
    return networks.study_frames(study, "standin-interhand", "images", AugmentConfig())


@pytest.mark.parametrize("augment", [None, AugmentConfig()])
@pytest.mark.parametrize("supersample", [1, 2])
def test_the_plain_crops_are_those_of_the_dataset(frames, augment, supersample):
    frames = replace(frames, supersample=supersample, augment=augment)
    fast, plain = (frames.crops(name, 4, "cpu") for name in CONTENDERS)
    for _ in range(2):
        torch.testing.assert_close(next(fast).image, next(plain), rtol=0, atol=1e-4)


def test_the_report_of_the_data_side(slim, frames):
    report = bench_data(frames, 4, "cpu", 0.01)
    assert (report["bench"], report["batch"], report["images"]) == ("data", 4, 12) and report["size"] == 64
    assert report["ratio"]["images_per_s"] == pytest.approx(
        report["images_per_s"] / report["reference"]["images_per_s"]
    )
    assert "images/s" in bench_text(report)


def test_real_images_add_their_share_of_a_step(slim, frames):
    report = bench_network("train", case_of("internet", batch=4), 0.01, frames)
    assert report["data"] == "12 images of standin-interhand" and report["images_per_s_with_data"] > 0
    assert set(report["stages"]) == {"data", "forward", "loss", "backward", "optimiser"}
    assert sum(report["stages"].values()) == pytest.approx(100) and "data" not in report["reference"]["stages"]
    assert bench_text(report).index("\ndata") < bench_text(report).index("\nforward")


def test_images_are_taken_where_the_profiles_are_on_the_disk(study, tmp_path, monkeypatch):
    case = case_of("spurr", size=None, profile="smoke")
    monkeypatch.chdir(tmp_path)
    assert networks.training_frames(case) is None  # not within the project
    monkeypatch.setattr(networks, "Study", lambda profile, device: Study(profile, tmp_path, device))
    assert networks.training_frames(case) is None
    study.samples("standin-interhand", "train")  # renders
    monkeypatch.setattr(networks, "Study", lambda profile, device: study)
    found = networks.training_frames(case)
    assert len(found.samples) >= 12 and all(sample.side_present.sum() == 1 for sample in found.samples)
    assert found.augment == case.phase().training.augment


# clocks


def test_contenders_take_turns():
    order = []
    steps = {name: lambda name=name: order.append(name) for name in ("a", "b")}
    results = alternate(steps, "cpu", 3, 0.001)
    assert order[:4] == ["a", "a", "b", "b"] and order[4:] == ["a", "b"] * (len(order[4:]) // 2)
    for result in results.values():
        assert result["steps"] == len(order[4:]) // 2 and result["images_per_s"] == pytest.approx(3 / result["step_s"])


def test_a_stage_lasts_from_mark_to_mark(monkeypatch):
    now = iter(range(100))
    monkeypatch.setattr("msff.bench.measure.time.perf_counter", lambda: float(next(now)))
    clock = StageClock("cpu")
    clock.mark("forward")  # not within `seconds`

    def step():
        for stage in ("loss", "forward", "loss"):
            clock.mark(stage)

    assert clock.seconds(step, count=2) == {"loss": 2.0, "forward": 1.0}


def test_a_timed_network_is_the_network_with_its_calls_marked(monkeypatch):
    marks = []
    clock = StageClock("cpu")
    monkeypatch.setattr(clock, "mark", marks.append)
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    timed, x = Timed(network, clock), torch.randn(4, 2)
    assert torch.equal(timed(x), network(x)) and marks == ["loss", "forward"]
    assert torch.equal(timed.get_submodule("0")(x), network[0](x)) and timed.training is True


def held_mib(size):
    memory = GrownMemory("cpu")
    block = torch.ones(size, dtype=torch.uint8)
    del block
    return memory.mib()


def test_memory_is_that_of_a_process_of_its_own():
    block = torch.ones(300 * 2**20, dtype=torch.uint8)  # held by the parent
    assert 55 < in_child(held_mib, 60 * 2**20) < 120
    del block


def test_the_matrix_peak_is_measured_once_for_each_precision(monkeypatch):
    monkeypatch.setattr("msff.bench.peak._SIZES", {"cpu": (32, 64)})
    monkeypatch.setattr("msff.bench.peak._SECONDS", 0.0)
    peak = matrix_peak("cpu", ("float32", "bf16"))
    assert set(peak) == {"float32", "bf16"} and all(0 < value < 1e6 for value in peak.values())


def test_the_command_prints_json_or_a_table(slim, capsys):
    command = ["bench", "infer", "--method", "internet", "--size", "64", "--batch", "2", "--device", "cpu"]
    assert main([*command, "--seconds", "0.01", "--precision", "float32", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["precision"], report["compile"], report["batch"]) == ("float32", False, 2)
    assert main([*command, "--seconds", "0.01", "--no-compile"]) == 0
    assert "of the matrix peak" in capsys.readouterr().out
    assert main([*command, "--compile"]) == 1
    assert "--compile needs a GPU" in capsys.readouterr().err
