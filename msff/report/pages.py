"""What the notebooks show: small compositions of the study's data, runs and figures, one call per cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from msff.camera import apply_affine, project
from msff.data.loader import Batch, HandDataset
from msff.models.msff import Msff
from msff.report.results import Cell, Results
from msff.study.experiment import Study
from msff.study.runs import Run

DISPLAY_PX = 192  # side of the crops that figures show, finer than a slim profile's own input


@dataclass(frozen=True, eq=False)
class Examples:
    """A few test images with ground truth, ready to draw skeletons on."""

    dataset: str
    rows: list[int]  # positions in the test part
    batch: Batch  # crops of DISPLAY_PX

    @property
    def images(self) -> np.ndarray:
        """(n, S, S, 3) in [0, 1]."""
        return self.batch.image.permute(0, 2, 3, 1).cpu().numpy()

    @property
    def valid(self) -> np.ndarray:
        return self.batch.joint_valid.cpu().numpy()

    def to_crop(self, joints_cam_mm: np.ndarray) -> np.ndarray:
        """Camera frame to the pixels of these crops: (n, 42, 3) mm -> (n, 42, 2) px."""
        cam = torch.as_tensor(joints_cam_mm, dtype=torch.float32)
        return apply_affine(self.batch.affine.cpu(), project(cam, self.batch.intrinsics.cpu())).numpy()

    def predicted(self, run: Run, track: str = "T2") -> np.ndarray:
        """The run's joints for these images: (n, 42, 3) mm, camera frame."""
        return run.predictions.joints[track][self.rows]

    @property
    def truth(self) -> np.ndarray:
        """(n, 42, 3) mm, camera frame."""
        return self.batch.joints_cam_mm.cpu().numpy()


def examples(study: Study, dataset: str, count: int, part: str = "test", kind: str | None = None) -> Examples:
    """``count`` images spread evenly over the part, of one hand type if ``kind`` is given ("interacting", ...).

    ValueError if there are fewer such images.
    """
    samples = study.samples(dataset, part).samples
    rows = [i for i, s in enumerate(samples) if kind is None or s.hand_type == kind]
    if len(rows) < count:
        raise ValueError(f"{dataset} has {len(rows)} {kind or ''} images in its {part} part, {count} were asked for")
    rows = [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]
    chosen = HandDataset([samples[i] for i in rows], DISPLAY_PX)
    batch = next(iter(chosen.batches(count, augment=None, shuffle=False, generator=torch.Generator())))
    return Examples(dataset, rows, batch)


def network_batch(study: Study, dataset: str, count: int) -> Batch:
    """The first ``count`` test crops as the network sees them."""
    batches = study.samples(dataset, "test").batches(
        count, augment=None, shuffle=False, generator=torch.Generator(), limit=count
    )
    return next(iter(batches))


@torch.no_grad()
def feature_maps(network: Msff, image: Tensor) -> dict[str, list[Tensor]]:
    """Every intermediate map of MS-FF in evaluation mode, fine to coarse; see ``Msff.features``."""
    network.eval()
    maps = network.features(image)
    return {name: maps_ if isinstance(maps_, list) else [maps_] for name, maps_ in maps.items()}


def shapes(maps: dict[str, list[Tensor]]) -> pd.DataFrame:
    """One row per stage, one column per level: channels x height x width."""
    rows = {name: ["x".join(map(str, m.shape[1:])) for m in levels] for name, levels in maps.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["1/4", "1/8", "1/16", "1/32"][: max(map(len, rows.values()))])


def layers(network: torch.nn.Module) -> pd.DataFrame:
    """The network's direct parts with their trainable parameters."""
    rows = {name: sum(p.numel() for p in part.parameters() if p.requires_grad) for name, part in network.named_children()}
    total = max(sum(rows.values()), 1)
    table = pd.DataFrame({"parameters": rows, "share, %": {n: round(100 * v / total, 1) for n, v in rows.items()}})
    table.index.name = "part"
    return table


def cumulative(study: Study, upto: str) -> pd.DataFrame:
    """Error of the network as built so far (track T2, wrist20, mm), with the change against the step before."""
    from msff.report.tables import ablation

    table = ablation(Results(study.store))
    order = ["backbone", "ccm", "ccm-grm", "ccm-grm-lom", "full"]
    return table[table.variant.isin(order[: order.index(upto) + 1])]


def summary(run: Run) -> pd.DataFrame:
    """The run's metrics, one column per track."""
    table = pd.DataFrame(run.record["metrics"]).astype(float)
    table.index.name = "metric"
    return table.dropna(how="all")


def facts(run: Run) -> pd.Series:
    """Where the run's numbers come from."""
    record = run.record
    shown = {
        "run": record["run_id"],
        "profile": record["experiment"]["profile"],
        "config hash": record["config_hash"],
        "commit": record["commit"],
        "training images": record["train_images"],
        "test images": record["test_images"],
        "parameters": f"{record['parameters']:,}",
        "GMAC per image": round(record["macs"] / 1e9, 4),
        "training, s": round(record["train_seconds"], 1),
        "training images/s": round(record["images_per_s"], 1) if record["images_per_s"] else "none",
        "hardware": record["hardware"],
        "torch": record["versions"]["torch"],
    }
    return pd.Series(shown, name="value")


def beats(study: Study, run: Run, floor: str = "mean-pose") -> str:
    """One line: by how much the run is below the mean-pose floor, or that it is not."""
    results, e = Results(study.store), run.experiment
    metric = {"rhd": "wrist20", "interhand": "mpjpe_all"}[study.truth(e.dataset).layout]
    study.ensure_run(f"{e.dataset}/{floor}/full/seed{study.profile.seeds[0]}")
    results = Results(study.store)
    ours = results.estimate(Cell(e.dataset, e.method, e.variant), "T2", metric)
    theirs = results.estimate(Cell(e.dataset, floor), "T2", metric)
    share = 1 - ours.value / theirs.value
    return f"{metric} (T2): {ours.value:.1f} mm against {theirs.value:.1f} mm of the mean pose: {share:+.0%} below it"


def agree(statement: str, ours: Tensor | np.ndarray, printed: np.ndarray, tolerance: float = 1e-5) -> str:
    """One line if the module equals the transcription of the printed formula; AssertionError with the distance if not.

    The distance is the largest difference divided by the largest magnitude.
    """
    ours = np.asarray(ours.detach().cpu() if isinstance(ours, Tensor) else ours, np.float64)
    if ours.shape != printed.shape:
        raise AssertionError(f"{statement}: shape {ours.shape} against {printed.shape}")
    distance = np.abs(ours - printed).max() / max(np.abs(printed).max(), 1e-12)
    if not distance <= tolerance:
        raise AssertionError(f"{statement}: relative distance {distance:.2e} is above {tolerance:g}")
    return f"{statement}: equal to the printed formula within {tolerance:g}"
