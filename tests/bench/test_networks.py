"""Every method's training step and prediction: the fast implementation computes what the plain reference computes."""

import json
import pickle
from dataclasses import replace

import pytest
import torch
from tiny_study import NETWORK

from msff.bench import measure, networks
from msff.bench.measure import IMPLEMENTATIONS
from msff.bench.networks import HEAVIEST_PHASE, bench_network, network_case, plain_decode, predictor, trainer
from msff.cli import main
from msff.heatmaps import decode
from msff.models.registry import METHODS
from msff.report.benchmarks import bench_text
from msff.settings.networks import NetworkConfig
from msff.settings.training import SpeedConfig
from msff.study.profiles import PROFILES

NETWORKS = [name for name, method in METHODS.items() if method.has_network]


@pytest.fixture
def slim(monkeypatch):
    """Networks of a few channels, and a matrix peak of small matrices."""
    monkeypatch.setattr(networks, "network_config", lambda size: NetworkConfig(crop_size=64, bins=16, **NETWORK))
    monkeypatch.setattr(measure, "_MATRIX_SIZES", {"cpu": (64,)})


@pytest.fixture
def one_process(monkeypatch):
    """Without the processes in which memory is measured, to which a workload is sent pickled."""
    found = {"fast": 100.0, "reference": 400.0}
    monkeypatch.setattr(measure, "peak_mib", lambda workload, name, _: pickle.dumps(workload) and found[name])


def case_of(method, variant=None, **options):
    return network_case(method, variant, **{"device": "cpu", "size": 64, "batch": 2, "precision": "float32"} | options)


def test_the_networks_are_the_papers_at_another_size():
    assert networks.network_config(256) == NetworkConfig()
    assert networks.network_config(96) == replace(NetworkConfig(), crop_size=96, bins=24)
    for size in (32, 100):
        with pytest.raises(ValueError, match=f"multiple of 32 and at least 64, got {size}"):
            networks.network_config(size)


@pytest.mark.parametrize("method, volume", [*((method, "mse") for method in NETWORKS), ("msff", "integral")])
def test_both_implementations_train_alike(slim, method, volume):
    case = case_of(method, batch=4)
    case = replace(case, profile=replace(case.profile, loss=replace(case.profile.loss, volume=volume)))
    assert case.phase().name == HEAVIEST_PHASE.get(method, "all")
    assert case.batch.side_present.sum(1).tolist() == [1 if METHODS[method].single_hand else 2] * 4
    losses = {}
    for name in IMPLEMENTATIONS:
        with trainer(case, name) as step:
            torch.manual_seed(0)  # dropout
            losses[name] = [float(step()["total"].detach()) for _ in range(2)]
    assert losses["fast"] == pytest.approx(losses["reference"], rel=1e-3)
    assert losses["fast"][0] != losses["fast"][1]  # it learns


@pytest.mark.parametrize("method", NETWORKS)
def test_both_implementations_predict_alike(slim, method):
    case = case_of(method)
    found = []
    for name in IMPLEMENTATIONS:
        with predictor(case, name) as step:
            found.append(step())
    if METHODS[method].single_hand:
        found = [next(v for v in vars(output).values() if isinstance(v, torch.Tensor)) for output in found]
    else:
        assert found[0].shape == (2, 42, 3)
    torch.testing.assert_close(*found, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("decoder", ["argmax", "expectation"])
def test_the_plain_decoders_equal_the_fast_ones(decoder):
    volume = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0)) * 3
    torch.testing.assert_close(plain_decode(volume, decoder), decode(volume, decoder))


def test_the_report_of_a_training_step(slim, one_process):
    report = bench_network("train", case_of("msff"), 0.01)
    reference, ratio = report["reference"], report["ratio"]
    assert (report["bench"], report["method"], report["variant"], report["phase"]) == ("train", "msff", "full", "all")
    assert report["images_per_s"] == pytest.approx(2 / report["step_s"])
    assert ratio["images_per_s"] == pytest.approx(reference["step_s"] / report["step_s"])
    assert ratio["peak_mib"] == 0.25
    assert report["gmac_per_s"] == pytest.approx(report["gmac_per_image"] * report["images_per_s"])
    assert 2.5 < report["gmac_per_image"] / report["gmac_forward"] < 3.1  # nothing flows back into the image
    peak = report["peak_gmac_per_s"]["float32"]
    assert report["percent_of_peak"] == pytest.approx(100 * report["gmac_per_s"] / peak)
    assert report["data"] == "synthetic" and "images_per_s_with_data" not in report
    assert json.loads(json.dumps(report)) == report
    text = bench_text(report)
    assert "reference" in text and "gmac_per_s" in text and "{" not in text


def test_impossible_options_name_an_alternative(slim, monkeypatch):
    for method, variant, message in (
        ("chen", "full", "chen/full needs masks of the hands.*bench 'plain'"),
        ("posenet", "segmented", "posenet/segmented needs masks.*bench 'full'"),
        ("sidenet", None, "unknown network 'sidenet'"),
    ):
        with pytest.raises(ValueError, match=message):
            case_of(method, variant)
    with pytest.raises(ValueError, match="give --profile or --size, not both"):
        case_of("msff", profile="smoke")
    with pytest.raises(ValueError, match="song/regressed trains nothing itself: bench 'full'"):
        bench_network("train", case_of("song", "regressed"), 0.01)
    monkeypatch.setattr(networks, "usable_precision", lambda wanted, device: "float32")
    assert case_of("msff", precision="bf16", compiled=True).speed == SpeedConfig("float32", compile=False)


def test_a_profile_gives_network_batch_loss_and_decoder():
    case = case_of("msff", size=None, batch=None, profile="cpu-long")
    profile = PROFILES["cpu-long"]
    assert (len(case.batch), case.profile) == (profile.training.batch_size, profile)
    assert case.batch.image.shape[-1] == profile.network.crop_size
    assert len(case_of("msff", size=None, batch=3, profile="cpu").batch) == 3


def test_the_command_prints_json_or_a_table(slim, one_process, capsys):
    command = ["bench", "infer", "--method", "internet", "--size", "64", "--batch", "2", "--device", "cpu"]
    assert main([*command, "--seconds", "0.01", "--precision", "float32", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["precision"], report["compile"], report["batch"]) == ("float32", False, 2)
    assert main([*command, "--seconds", "0.01", "--no-compile"]) == 0
    assert "percent_of_peak" in capsys.readouterr().out
