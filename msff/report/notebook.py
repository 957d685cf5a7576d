"""What the notebooks call: one call per cell, which composes the study's data, runs, tables and figures."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Collection, Iterable
from html import escape

import numpy as np
import pandas as pd
import torch
from IPython.display import HTML, Code, Image, Markdown, display
from matplotlib.figure import Figure
from torch import Tensor, nn

from msff.data.batches import Batch
from msff.evaluation.evaluate import PRIMARY_METRIC, evaluate
from msff.evaluation.tracks import RANKING_TRACK
from msff.models.building import module_outputs
from msff.models.msff.local_optimization import LocalOptimization
from msff.models.msff.network import Msff
from msff.models.registry import network_name
from msff.report.ablation_figures import ModuleEffect
from msff.report.dataset_statistics import comparison
from msff.report.display import Picture, provenance
from msff.report.drawing import encoded, save, show_maps
from msff.report.figures import learning_curves
from msff.report.formatting import on_page, unbroken, with_minus, with_numbers
from msff.report.plausibility import withheld_methods
from msff.report.results import Results, label_of
from msff.report.rows import PAPER_ORDER, RANKING_METRIC, inputs_from_annotation
from msff.report.sheets import DPI, choose_sheet, draw_sheet
from msff.study.grid import BASELINES
from msff.study.store import Run
from msff.study.workspace import Workspace

ALL_METHODS = PAPER_ORDER
WITHHELD_MARK = " (withheld)"
LEVELS = ["1/4", "1/8", "1/16", "1/32"]
"""Scales of a pyramid, fine to coarse."""


# Code and networks


def source(obj: object) -> Code:
    """Return the package's source of a class or function as highlighted code."""
    return Code(textwrap.dedent(inspect.getsource(obj)), language="python")


def network_batch(workspace: Workspace, dataset: str, count: int) -> Batch:
    """Return the first ``count`` test crops as network input, on the CPU."""
    batches = workspace.samples(dataset, "test").in_order(count, limit=count)
    return next(iter(batches)).to("cpu")


@torch.no_grad()
def feature_maps(network: Msff, image: Tensor) -> dict[str, list[Tensor]]:
    """Return the four maps that each part of MS-FF makes of images in evaluation mode, fine to coarse, on the CPU."""
    with module_outputs(network.eval()) as outputs:
        network(image.to(next(network.parameters()).device))
    maps = {name: outputs[part] for name, part in network.named_children()}
    return {name: [level.cpu() for level in levels] for name, levels in maps.items() if isinstance(levels, list)}


def shapes(maps: dict[str, list[Tensor]]) -> pd.DataFrame:
    """Return one row per stage, one column per level: channels x height x width."""
    rows = {name: ["x".join(map(str, m.shape[1:])) for m in levels] for name, levels in maps.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=LEVELS[: max(map(len, rows.values()))])


def volume_views(volume: Tensor, data: str) -> Picture:
    """Draw one joint's volume (D, H, W) seen along z, y and x: the maximum over that axis."""
    views = [volume.amax(0), volume.amax(1), volume.amax(2)]
    titles = ["along z: y over x", "along y: z over x", "along x: z over y"]
    figure = show_maps(torch.stack(views).cpu().numpy(), titles, f"Target of one joint ({data})")
    return Picture(figure, f"Target of one joint: the maximum {', '.join(titles)}")


def pass_parameters(one_pass: LocalOptimization) -> tuple[list, list, np.ndarray, np.ndarray]:
    """Return convolutions, batch norms and channel conversion of a pass, as ``equations.eq12_pass`` takes them."""
    convolutions = [part.weight.detach().numpy() for part in one_pass.branch if isinstance(part, nn.Conv2d)]
    convolutions = [weight[:, :, 0, 0] if weight.shape[-1] == 1 else weight for weight in convolutions]
    norms = [
        [values.detach().numpy() for values in (part.running_mean, part.running_var, part.weight, part.bias)]
        for part in one_pass.branch if isinstance(part, nn.BatchNorm2d)
    ]  # fmt: skip
    conversion = one_pass.conversion
    return convolutions, norms, *(w.weight.detach().numpy() for w in (conversion.w1, conversion.w2))


class Agreement(str):
    """A statement that was checked, to print: the same on every machine, unlike its ``difference``."""

    difference: float  # largest, divided by the largest magnitude
    tolerance: float


def agree(statement: str, ours: Tensor | np.ndarray, printed: Tensor | np.ndarray, tolerance=1e-5) -> Agreement:
    """Return a line if the module equals the transcription of the printed formula; AssertionError if not."""
    ours, printed = (np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, np.float64) for x in (ours, printed))
    if ours.shape != printed.shape:
        raise AssertionError(f"{statement}: shape {ours.shape} against {printed.shape}")
    distance = np.abs(ours - printed).max() / max(np.abs(printed).max(), 1e-12)
    if not distance <= tolerance:
        raise AssertionError(f"{statement}: relative distance {distance:.2e} is above {tolerance:g}")
    line = Agreement(f"{statement}: equal within {tolerance:g}")
    line.difference, line.tolerance = float(distance), tolerance
    return line


def differences(checks: Iterable[Agreement]) -> HTML:
    """Return the largest relative difference of each check beside its tolerance, as measured on this machine."""
    rows = [
        (check.rpartition(": ")[0], f"{check.difference:.0e}" if check.difference else "0", f"{check.tolerance:.0e}")
        for check in checks
    ]
    return shown(pd.DataFrame(rows, columns=["check", "largest relative difference", "allowed"]))


# Tables, runs and data


def caption(table: pd.DataFrame) -> Markdown:
    """Return the table's caption: data, profile, samples and seeds."""
    return Markdown(table.attrs["caption"])


def empty(text: pd.DataFrame) -> bool:
    """Return True if no row of a table as text has a value or a difference, where it has such columns."""
    numbers = text.filter(["value", "difference"])
    return len(numbers.columns) > 0 and bool((numbers == "").all(axis=None))


def shown(table: pd.DataFrame, name: str = "", bold: str | None = None, withheld: Collection[str] = ()) -> HTML:
    """Return the table rounded, with intervals beside their value; a wide table scrolls, one without a number says so.

    With its ``name`` it has the columns of ``PAGE_COLUMNS`` alone. In the row of the method ``bold``, its name and the
    number by which methods are ranked are in bold. The networks in ``withheld`` are marked, in rows and headings.
    """
    text, waiting = with_numbers(on_page(table, name), name)
    marked = {label: f"{label}{WITHHELD_MARK}" for label in withheld}
    text = text.rename(columns=marked)
    if len(text.columns):
        text = text.assign(**{text.columns[0]: text.iloc[:, 0].replace(marked)})
    below = f"<p>{escape(with_minus(waiting))}</p>" if waiting else ""
    if waiting and not len(text):
        return HTML(below)
    if empty(text) or (name and not len(text)):
        return HTML("<p>No run is stored for this table yet.</p>")
    cells = text.map(lambda value: escape(with_minus(unbroken(str(value)))))
    if bold is not None and len(cells.columns):
        marked = cells.iloc[:, 0] == escape(bold)
        for column in {cells.columns[0], f"{RANKING_TRACK} {RANKING_METRIC}"} & set(cells.columns):
            cells.loc[marked, column] = cells.loc[marked, column].map(lambda value: f"<b>{value}</b>")
    rows = cells.rename(columns=with_minus).to_html(index=False, border=0, escape=False)
    return HTML(f'<div class="wide-table">{rows}</div>{below}')


def show_table(
    results: Results, layout: str, made_by: Callable, table: pd.DataFrame, name: str, *, page: str = "",
    bold: str | None = None, shown_as: pd.DataFrame | None = None, more: pd.DataFrame | None = None, fold: str = "",
    **rows,
) -> None:  # fmt: skip
    """Display a table with its caption above and its source line below, which offers ``name``.csv.

    ``page`` names its columns on the page, by default ``name``; ``shown_as`` stands in for it there. With ``fold`` the
    table, or the rows ``more`` below it, are behind a line of these words. ``rows`` chooses the runs of the source
    line, see `provenance`. A table without a row or a number is one sentence.
    """
    if table.empty or empty(on_page(table, page or name)):
        data = label_of(results.dataset(layout))
        display(Markdown(f"No run that this table compares is stored yet ({data}, profile {results.profile})."))
        return
    marked, first = withheld_methods(results, layout), table if shown_as is None else shown_as
    parts = [shown(part, page or name, bold, marked) for part in (first, more) if part is not None]
    if fold:
        parts[-1] = HTML(f'<details class="msff-fold"><summary>{escape(fold)}</summary>{parts[-1].data}</details>')
    above = caption(table)
    if any(WITHHELD_MARK in part.data for part in parts):
        above = Markdown(f"{above.data} Withheld: in no figure and no verdict, since its hands are implausible.")
    display(above, *parts, provenance(results, layout, made_by, table, name, **rows))


def show_figure(
    results: Results, layout: str, drawn_by: Callable, figure: Figure, alt: str, file: str = "",
    table: pd.DataFrame | None = None, name: str = "", *, withheld: bool = False, **rows,
) -> None:  # fmt: skip
    """Display a figure above its source line, with ``withheld`` also a note on what is missing from it.

    With ``file`` it is also saved under that name in the store's figures. ``table`` with its ``name`` and ``rows`` are
    those of `provenance`.
    """
    if file:
        save(figure, results.store.figures / f"{file}.png")
    note = [plausibility_note(results, layout)] if withheld else []
    display(Picture(figure, alt), *note, provenance(results, layout, drawn_by, table, name, **rows))


def show_training(workspace: Workspace, run: Run) -> None:
    """Display a run's learning curve above its source line."""
    e, results = run.experiment, Results(workspace.store)
    name = network_name(e.method, e.variant)
    figure, alt = learning_curves(run.history, name, about(run)), f"Training loss by epoch of {name}"
    show_figure(results, "rhd", learning_curves, figure, alt, methods=(e.method,), variants=(e.variant,))


def show_effect(workspace: Workspace, module: str) -> None:
    """Display what a module of MS-FF changes, see `ModuleEffect`: a sentence, the figure and the table."""
    effect = ModuleEffect(workspace, module)
    table, drawn = effect.table(), (ModuleEffect.figure, effect.figure(), effect.alt)
    rows = {"table": table, "name": f"effect-{module}", "methods": ("msff",), "variants": effect.variants}
    display(Markdown(effect.sentence()))
    show_figure(effect.results, "rhd", *drawn, **rows)
    display(caption(table), shown(table))


def about(run: Run) -> str:
    """Return data and profile of a run, for titles."""
    return f"{label_of(run.experiment.dataset)}, profile {run.experiment.profile}"


def about_dataset(workspace: Workspace, dataset: str) -> str:
    """Return a dataset and the profile, for titles."""
    return f"{label_of(dataset)}, profile {workspace.profile.name}"


def heading(run: Run) -> Markdown:
    """Return the title line of a run's page."""
    e = run.experiment
    return Markdown(f"**{network_name(e.method, e.variant)}**, seed {e.seed}, on the {about(run)}.")


def summary(workspace: Workspace, run: Run) -> pd.DataFrame:
    """Return the metrics of the run's stored predictions, one column per track."""
    truth = workspace.store.truth(run.experiment.dataset)
    tracks = {track: evaluate(truth, run.predictions, track).summary() for track in run.predictions.joints}
    return pd.DataFrame(tracks).astype(float).rename_axis("metric").dropna(how="all")


def facts(run: Run) -> pd.Series:
    """Return the run's provenance and cost; "none" for a row without a network."""
    record, method = run.record, run.experiment.method
    given = {} if method in BASELINES else record.test_time_inputs
    speeds = {"training images/s": record.images_per_s, "prediction images/s": record.predict_images_per_s}
    shown = {
        "run": record.run_id,
        "profile": record.experiment.profile,
        "config hash": record.config_hash,
        "commit": record.commit,
        "training images": f"{record.train_images:,}",
        "test images": f"{record.test_images:,}",
        "parameters": f"{record.parameters:,}" if record.parameters else "none",
        "GMAC per crop": round(record.macs / 1e9, 4) if record.macs else "none",
        "training, s": f"{record.train_seconds:,.1f}",
        **{name: round(speed, 1) if speed else "none" for name, speed in speeds.items()},
        **{f"given on {track}": inputs_from_annotation(words, method) for track, words in sorted(given.items())},
        "hardware": record.hardware,
        "torch": record.versions["torch"],
    }
    return pd.Series(shown, name="value")


def stored(workspace: Workspace, run: Run) -> str:
    """Return size, epochs and predictions of a run as lines that are the same on every machine.

    AssertionError if its stored predictions, rounded to half precision, do not give the error that it recorded.
    """
    truth = workspace.store.truth(run.experiment.dataset)
    metric = PRIMARY_METRIC[truth.layout]
    lines = [f"parameters {run.record.parameters or 0:,}, epochs {len(run.history)}"]
    for track, joints in run.predictions.joints.items():
        recorded = run.record.metrics[track][metric]
        found = evaluate(truth, run.predictions, track).summary()[metric]
        if not np.isclose(found, recorded, rtol=1e-3, atol=0):
            raise AssertionError(f"{track}: predictions give {metric} {found:.4f} mm, recorded is {recorded:.4f} mm")
        lines.append(f"{track}: predictions {joints.shape}, their {metric} is the recorded one within 0.1 %")
    return "\n".join(lines)


def data_sheet(workspace: Workspace, dataset: str, truth: bool = False) -> Image:
    """Return 64 whole images of a test part, or half of them with ground truth, as a JPEG."""
    samples = workspace.samples(dataset, "test").samples
    sheet = choose_sheet(dataset, workspace.data_root(dataset), "test", samples, 32 if truth else 64)
    shown = f"{sheet.caption}\nprofile {workspace.profile.name}".replace("\n", ", ")
    return Image(data=encoded(draw_sheet(sheet, truth), DPI, ".jpg", alt=shown), format="jpeg", alt=shown)


def data_statistics(workspace: Workspace, dataset: str) -> pd.DataFrame:
    """Return statistics of the training and test parts, beside published facts of the real set."""
    parts = {part: workspace.samples(dataset, part).samples for part in ("train", "test")}
    return comparison(dataset, parts, workspace.profile.name)


def plausibility_note(results: Results, layout: str) -> Markdown:
    """Return a sentence below a figure: the methods withheld from it on a layout ("rhd", "interhand"), and why."""
    faults = withheld_methods(results, layout)
    where = label_of(results.dataset(layout))
    if not faults:
        return Markdown(f"Every method stored for the {where} passes the plausibility check.")
    listed = "; ".join(f"**{label}**, {fault}" for label, fault in faults.items())
    return Markdown(f"Withheld from the figures of the {where}, because the predicted hands are implausible: {listed}.")
