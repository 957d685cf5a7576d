"""What the notebooks show: small compositions of the study's data, runs and figures, one call per cell."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, Image, Markdown
from matplotlib.figure import Figure
from torch import Tensor, nn

from msff.data.batches import Batch
from msff.evaluation.evaluate import PRIMARY_METRIC
from msff.evaluation.tracks import PAPER_PROTOCOLS, PAPER_TRACK
from msff.models.msff.local_optimization import LocalOptimization
from msff.models.msff.network import Msff
from msff.models.registry import module_outputs
from msff.report.dataset_statistics import comparison
from msff.report.drawing import contact_sheet, show_maps
from msff.report.examples import Examples, examples  # noqa: F401  the notebooks call pages.examples
from msff.report.figures import fig6_figure
from msff.report.formatting import formatted
from msff.report.plausibility import withheld, withheld_methods
from msff.report.results import Cell, Results, label_of
from msff.report.rows import HEADLINE_TRACK, LABELS, PAPER_ORDER, given_words
from msff.report.sheets import choose_sheet, draw_sheet, encoded
from msff.report.tables import CUMULATIVE, FIG5_METHODS, ablation
from msff.study.experiment import Study
from msff.study.grid import FLOORS
from msff.study.store import Run

FIG6_METHODS = FIG5_METHODS  # those that the paper's Fig. 6 shows
ALL_METHODS = PAPER_ORDER


def network_batch(study: Study, dataset: str, count: int) -> Batch:
    """The first ``count`` test crops as the network sees them, on the CPU, where a page computes with them."""
    batches = study.samples(dataset, "test").in_order(count, limit=count)
    return next(iter(batches)).to("cpu")


@torch.no_grad()
def feature_maps(network: Msff, image: Tensor) -> dict[str, list[Tensor]]:
    """Return the four maps that each part of MS-FF makes of images in evaluation mode, fine to coarse, on the CPU."""
    with module_outputs(network.eval()) as outputs:
        network(image.to(next(network.parameters()).device))
    maps = {name: outputs[part] for name, part in network.named_children()}
    return {name: [level.cpu() for level in levels] for name, levels in maps.items() if isinstance(levels, list)}


def shapes(maps: dict[str, list[Tensor]]) -> pd.DataFrame:
    """One row per stage, one column per level: channels x height x width."""
    rows = {name: ["x".join(map(str, m.shape[1:])) for m in levels] for name, levels in maps.items()}
    return pd.DataFrame.from_dict(
        rows, orient="index", columns=["1/4", "1/8", "1/16", "1/32"][: max(map(len, rows.values()))]
    )


def layers(network: torch.nn.Module) -> pd.DataFrame:
    """The network's direct parts with their trainable parameters."""
    rows = {
        name: sum(p.numel() for p in part.parameters() if p.requires_grad) for name, part in network.named_children()
    }
    total = max(sum(rows.values()), 1)
    table = pd.DataFrame({"parameters": rows, "share, %": {n: round(100 * v / total, 1) for n, v in rows.items()}})
    table.index.name = "part"
    return table


def cumulative(study: Study, upto: str) -> pd.DataFrame:
    """The ablation table's rows up to and with the variant ``upto``, headline metric only."""
    table = ablation(Results(study.store))
    order = list(CUMULATIVE)
    wanted = table.variant.isin(order[: order.index(upto) + 1]) & (table.metric == "wrist20") & (table.track == "T2")
    shown = table[wanted]
    shown.attrs = dict(table.attrs)
    return shown


def caption(table: pd.DataFrame) -> Markdown:
    """The table's caption: data, profile, samples and seeds."""
    return Markdown(table.attrs["caption"])


def shown(table: pd.DataFrame) -> HTML:
    """The table for reading: rounded, intervals beside their value; scrolls inside its box when it is wide."""
    return HTML(f'<div class="wide-table">{formatted(table).to_html(index=False, border=0)}</div>')


def about(run: Run) -> str:
    """Data and profile of a run, for titles."""
    return f"{label_of(run.experiment.dataset)}, profile {run.experiment.profile}"


def about_dataset(study: Study, dataset: str) -> str:
    return f"{label_of(dataset)}, profile {study.profile.name}"


def heading(run: Run) -> Markdown:
    """Which run the page shows, as its title line."""
    e = run.experiment
    return Markdown(f"**{LABELS[e.method]}**, variant {e.variant}, seed {e.seed}, on the {about(run)}.")


def summary(run: Run) -> pd.DataFrame:
    """The run's metrics, one column per track."""
    table = pd.DataFrame(run.record["metrics"]).astype(float)
    table.index.name = "metric"
    return table.dropna(how="all")


def facts(run: Run) -> pd.Series:
    """Where the run's numbers come from; "none" where a row has no network."""
    record = run.record
    given = {} if run.experiment.method in FLOORS else record.get("given", {})
    shown = {
        "run": record["run_id"],
        "profile": record["experiment"]["profile"],
        "config hash": record["config_hash"],
        "commit": record["commit"],
        "training images": record["train_images"],
        "test images": record["test_images"],
        "parameters": f"{record['parameters']:,}" if record["parameters"] else "none",
        "GMAC per crop": round(record["macs"] / 1e9, 4) if record["macs"] else "none",
        "training, s": round(record["train_seconds"], 1),
        "training images/s": _speed(record["images_per_s"]),
        "prediction images/s": _speed(record.get("predict_images_per_s")),
        **{f"given on {track}": given_words(words, run.experiment.method) for track, words in sorted(given.items())},
        "hardware": record["hardware"],
        "torch": record["versions"]["torch"],
    }
    return pd.Series(shown, name="value")


def _speed(images_per_s: float | None) -> float | str:
    return round(images_per_s, 1) if images_per_s else "none"


def beats(study: Study, run: Run) -> str:
    """One line: by how much the run is below the mean-pose floor, with the paired 95 % interval.

    A run of a paper's own recipe has no number on the floor's tracks: its own one instead.
    """
    e = run.experiment
    if PAPER_TRACK in run.record["metrics"]:
        metric = PAPER_PROTOCOLS[e.method].own_metric
        value = run.record["metrics"][PAPER_TRACK].get(metric) if metric else None
        number = "its metric is not known" if value is None else f"{metric} {value:.1f} mm"
        return f"track {PAPER_TRACK}, this seed: {number}; the floors have no such track"
    floor = Cell(e.dataset, "mean-pose")
    study.ensure_run(f"{e.dataset}/mean-pose/full/seed{study.profile.seeds[0]}")
    results, ours = Results(study.store), Cell(e.dataset, e.method, e.variant)
    metric = PRIMARY_METRIC[study.truth(e.dataset).layout]
    value, reference = (results.estimate(cell, "T2", metric) for cell in (ours, floor))
    gap = results.difference(ours, floor, "T2", metric)
    return (
        f"{metric}, track T2, all seeds so far: {value.value:.1f} mm; mean pose {reference.value:.1f} mm; "
        f"difference {gap.value:+.1f} mm [{gap.low:+.1f}, {gap.high:+.1f}], {gap.value / reference.value:+.0%}"
    )


def data_sheet(study: Study, dataset: str, truth: bool = False, part: str = "test", count: int = 64) -> Image:
    """Whole frames of a part of the study's data, plain or with their ground truth. JPEG, for it is many pictures."""
    samples = study.samples(dataset, part).samples
    sheet = choose_sheet(dataset, study.data_root(dataset), part, samples, count)
    shown = f"{sheet.caption}\nprofile {study.profile.name}".replace("\n", ", ")
    return Image(data=encoded(draw_sheet(sheet, truth), ".jpg"), format="jpeg", alt=shown)


def data_statistics(study: Study, dataset: str) -> pd.DataFrame:
    """What the training and test parts hold, beside what is published of the real set."""
    parts = {part: study.samples(dataset, part).samples for part in ("train", "test")}
    return comparison(dataset, parts, study.profile.name)


def prediction_sheet(study: Study, chosen: Examples, run: Run) -> Figure:
    """Ground truth in the upper row, the run's prediction below (track T2, or the only one that the run holds).

    A row of the study whose networks fail the plausibility check is withheld: the title states why.
    """
    count, tracks, experiment = len(chosen.rows), run.predictions.joints, run.experiment
    track = HEADLINE_TRACK if HEADLINE_TRACK in tracks else next(iter(tracks))
    cell = Cell(experiment.dataset, experiment.method, experiment.variant)
    if reason := withheld(Results(study.store), cell):
        title = f"Ground truth of test images ({about(run)}); predictions withheld: {reason}"
        return contact_sheet(
            chosen.images, count, joints_px=chosen.to_crop(chosen.truth), valid=chosen.valid,
            labels=["ground truth"] * count, title=textwrap.fill(title, 16 * count),
        )  # fmt: skip
    true, predicted = chosen.to_crop(chosen.truth), chosen.to_crop(chosen.predicted(run, track))
    return contact_sheet(
        [*chosen.images] * 2, count, joints_px=[*true, *predicted], valid=[*chosen.valid] * 2,
        labels=["ground truth"] * count + [LABELS[experiment.method]] * count,
        title=f"Ground truth and prediction (track {track}) on test images ({about(run)})",
    )  # fmt: skip


def fig6_panels(
    results: Results, chosen: Examples, methods: Sequence[str] = FIG6_METHODS
) -> dict[str, tuple[np.ndarray, np.ndarray] | str]:
    """Method -> (crop px (n, 42, 2), camera mm (n, 42, 3)) of the first seed, for each of ``methods`` with a run.

    A method whose networks fail the plausibility check has the reason instead.
    """
    panels = {}
    for method in methods:
        cell = Cell(chosen.dataset, method)
        runs, reason = results.runs(cell), withheld(results, cell)
        if runs:
            joints = chosen.predicted(runs[0])
            panels[LABELS[method]] = reason or (chosen.to_crop(joints), joints)
    return panels


def fig6(study: Study, results: Results, chosen: Examples, methods: Sequence[str] = FIG6_METHODS) -> Figure:
    """Fig. 6 for these examples: input, ground truth and each of ``methods`` that has a run, the paper's by default."""
    truth = (chosen.to_crop(chosen.truth), chosen.truth)
    data = about_dataset(study, chosen.dataset)
    return fig6_figure(chosen.images, truth, fig6_panels(results, chosen, methods), chosen.valid, data)


def plausibility_note(results: Results, layout: str) -> Markdown:
    """One sentence below a figure: which methods are withheld from it on a layout ("rhd", "interhand") and why."""
    faults = withheld_methods(results, layout)
    where = label_of(results.dataset(layout))
    if not faults:
        return Markdown(f"Every method stored for the {where} passes the plausibility check.")
    listed = "; ".join(f"**{label}**: {fault}" for label, fault in faults.items())
    return Markdown(f"Withheld from the figures of the {where}, because the predicted hands are implausible: {listed}.")


def volume_views(volume: Tensor, data: str) -> Figure:
    """One joint's volume (D, H, W) seen along z, y and x: the maximum over that axis."""
    views = [volume.amax(0), volume.amax(1), volume.amax(2)]
    titles = ["along z: y over x", "along y: z over x", "along x: z over y"]
    return show_maps(torch.stack(views).cpu().numpy(), titles=titles, columns=3, title=f"Target of one joint ({data})")


def mean_maps(maps: list[Tensor], what: str, data: str) -> Figure:
    """Mean over the channels of the first image's maps, all enlarged to the finest."""
    size = maps[0].shape[-2:]
    enlarged = [nn.functional.interpolate(m[:1].mean(1, keepdim=True), size=size)[0, 0] for m in maps]
    titles = ["1/4", "1/8", "1/16", "1/32"][: len(maps)]
    return show_maps(torch.stack(enlarged).cpu().numpy(), titles=titles, columns=4, title=f"{what} ({data})")


def pass_parameters(one_pass: LocalOptimization) -> tuple[list, list, np.ndarray, np.ndarray]:
    """Convolutions, batch norms and channel conversion of a pass, as ``transcription.eq12_pass`` takes them."""
    convolutions, norms = [], []
    for part in one_pass.branch:
        if isinstance(part, nn.Conv2d):
            weight = part.weight.detach().numpy()
            convolutions.append(weight[:, :, 0, 0] if weight.shape[-1] == 1 else weight)
        if isinstance(part, nn.BatchNorm2d):
            norms.append([v.detach().numpy() for v in (part.running_mean, part.running_var, part.weight, part.bias)])
    weights = (one_pass.conversion.w1.weight.detach().numpy(), one_pass.conversion.w2.weight.detach().numpy())
    return convolutions, norms, *weights


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
    return f"{statement}: equal within {tolerance:g}"
