"""The data side: both implementations cut the same crops from the images of a tiny study."""

import pickle
from dataclasses import replace

import pytest
import torch

from msff.bench import measure, networks
from msff.bench.crops import bench_data, study_frames
from msff.bench.networks import bench_network, network_case, training_frames
from msff.report.benchmarks import bench_text
from msff.settings.training import AugmentConfig
from msff.study.workspace import Workspace


@pytest.fixture
def frames(study):
    return study_frames(study, "standin-interhand", "images", AugmentConfig())


@pytest.mark.parametrize("augment", [None, AugmentConfig()])
@pytest.mark.parametrize("supersample", [1, 2])
def test_the_plain_crops_are_those_of_the_dataset(frames, augment, supersample):
    frames = replace(frames, supersample=supersample, augment=augment)
    fast, plain = frames.batches(4, "cpu"), frames.plain_crops(4, "cpu")
    for _ in range(2):
        torch.testing.assert_close(next(fast).image, next(plain), rtol=0, atol=1e-4)


def test_the_report_of_the_data_side(frames, monkeypatch):
    pickled = []  # memory is measured in another process
    monkeypatch.setattr(measure, "peak_mib", lambda workload, *_: pickled.append(pickle.dumps(workload)) or 1.0)
    report = bench_data(frames, 4, "cpu", 0.01)
    assert (report["bench"], report["batch"], report["images"]) == ("data", 4, 12) and report["size"] == 64
    rates = report["images_per_s"], report["reference"]["images_per_s"]
    assert report["ratio"]["images_per_s"] == pytest.approx(rates[0] / rates[1]) and "stages" not in report
    assert "images_per_s" in bench_text(report) and len(pickled) == 2


def test_real_images_add_their_share_of_a_step(frames, monkeypatch):
    monkeypatch.setattr(measure, "peak_mib", lambda *_: 1.0)
    monkeypatch.setattr(measure, "_MATRIX_SIZES", {"cpu": (64,)})
    case = network_case("internet", device="cpu", profile="smoke", batch=4, precision="float32")
    report = bench_network("train", case, 0.01, frames)
    assert report["data"] == "12 images of standin-interhand" and report["images_per_s_with_data"] > 0
    assert 0 <= report["stages"]["data"] <= 100 and sum(report["stages"].values()) == pytest.approx(100)
    assert "Share of a step" in bench_text(report)


def test_images_are_used_if_the_profiles_are_on_the_disk(study, tmp_path, monkeypatch):
    case = network_case("spurr", device="cpu", profile="smoke")
    monkeypatch.chdir(tmp_path)
    assert training_frames(case) is None  # outside the project
    monkeypatch.setattr(networks, "Workspace", lambda profile, device: Workspace(profile, tmp_path, device))
    assert training_frames(case) is None
    study.samples("standin-interhand", "train")  # renders
    monkeypatch.setattr(networks, "Workspace", lambda profile, device: study)
    found = training_frames(case)
    assert len(found.samples) >= 12 and all(sample.side_present.sum() == 1 for sample in found.samples)
    assert found.augment == case.phase().training.augment
