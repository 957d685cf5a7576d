"""Markdown that the book includes: made from the results store, the profiles and the deviations, never typed."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from msff.choices import OpenChoice
from msff.data.datasets import DATASETS
from msff.evaluation.tracks import PAPER_PROTOCOLS, PAPER_TRACK, RANKING_TRACK
from msff.models.registry import FACTORIAL, METHODS, network_name
from msff.report.benchmarks import bench_rows
from msff.report.book import answers, methods
from msff.report.book.faults import faults_table, survived_table
from msff.report.book.front import abstract_fragment, front_fragment, report_fragment
from msff.report.book.staged_notebook import RunLinks
from msff.report.book.summary import summary_fragment
from msff.report.costs import totals
from msff.report.formatting import captioned, markdown, staged_figure, unbroken, with_digits, with_interval
from msff.report.open_choices import MSFF_CHOICES
from msff.report.photos import photo_errors, photo_section
from msff.report.published import DATASET_NAMES
from msff.report.results import Results, larger_stores, stores_with_runs
from msff.report.rule_figure import rule_table
from msff.settings.training import TrainingConfig
from msff.study.grid import experiments
from msff.study.profiles import PROFILES, TABLE1, Profile, get_profile
from msff.study.project import Project
from msff.study.reference import compare, headline
from msff.study.store import Run, Store


def all_fragments(store: Store, pages: RunLinks, best: Results) -> dict[str, str]:
    """Return name -> Markdown of every file that a chapter includes.

    ``pages`` has the links to the generated pages of runs; ``best`` has the runs that the front page shows.
    """
    stores, others = stores_with_runs(store), store.root.with_name  # the folders beside this store
    photos = photo_errors(stores, others("mediapipe"))
    profiles = [PROFILES["paper"], *(p for p in PROFILES.values() if p.name != "paper")]
    texts = {
        "banner": banner(store),
        "front": unbroken(front_fragment(best, photos)),
        "abstract": unbroken(abstract_fragment(best, photos)),
        "summary": f"{banner(best.store)}\n\n{unbroken(summary_fragment(best, photos))}",
        "report": unbroken(report_fragment(best, photos)),
        "deviations": open_choices_table(MSFF_CHOICES),
        "choices": "\n\n".join(f"**{name}**\n\n{markdown(t)}" for name, t in methods.choices_tables().items()),
        "profiles": profiles_table(PROFILES.values()),
        "departures": departures_table(PROFILES),
        "demo": demo_fragment(store.root.with_name("demo")),
        "recipes": in_two(methods.recipes_table(profiles)),
        "runs": runs_table(store, pages.get(store.profile, {})),
        "check": check_table(store),
        "larger": larger(store),
        "survived": survived_table(others("faults") / "survived.csv"),
        "bench": bench(others("bench")),
        "faults": faults_table(others("mutants")),
        "photos": unbroken(photo_section(photos, best.profile)),
        "table-plausibility": unbroken((store.tables / "plausibility.md").read_text(encoding="utf-8")),
        "rule": captioned(rule_table()),
        "downloads": downloads(store),
    }
    trained = [s for s in stores if s.profile != "smoke"]  # which only tests that the study runs
    tables = {
        "trunks": methods.trunks_table(),
        "methods": methods.methods_table(),
        "given": methods.given_table(),
        "variants": methods.variants_table(),
        "native-recipes": methods.native_recipes_table(),
        "retrainings": answers.retrainings_table(),
        "paper-scale": answers.paper_scale_table(others("bench")),
        "root-depth": answers.root_depth_table(stores),
        "trainings": answers.trainings_table(trained),
        "cost": totals(trained),
        "generator": answers.generator_table(),
    }
    nothing = "No run is stored for this table yet."
    return texts | {name: markdown(table) if len(table) else nothing for name, table in tables.items()}


def banner(store: Store, beside: Store | None = None) -> str:
    """Return an admonition that names profile and data of a page and warns if the images are rendered.

    ``beside`` is the store of the other pages: if it is another one, the text says so.
    """
    profile, runs = get_profile(store.profile), store.runs()
    specs = [DATASETS[name] for name in profile.data.datasets]
    size = f"profile `{profile.name}`: {profile.network.crop_size} px crops"
    if runs:
        seeds = len({run.experiment.seed for run in runs})
        size += f", up to {seeds} seeds" if seeds > 1 else ", 1 seed"
        size += f", trained on {'; '.join(sorted({run.record.hardware for run in runs}))}"
    slim = ""
    if profile.loss.volume == "integral":
        slim = (
            " The networks are slimmer than the papers' and learn with another loss: "
            "{ref}`what the profile changes <what-the-profiles-change>`."
        )
    if beside and beside.profile != store.profile:
        slim += f" **The other pages of the evidence show `{beside.profile}`, which lacks the runs for this one.**"
        if get_profile(beside.profile).network.backbone.pretrained and not profile.network.backbone.pretrained:
            slim += " The networks shown here started without ImageNet weights."
    title, classes = "Real data", "msff-banner"
    text = f"Results of {size}, on {' and '.join(spec.label for spec in specs)}."
    if any(spec.is_standin for spec in specs):
        title, classes = "Stand-in data", "msff-banner msff-standin"
        text = (
            f"Results of {size}. All training and test images are rendered hands, in the format of "
            f"{' and '.join(DATASET_NAMES[spec.layout] for spec in specs)}. Errors on them cannot be compared with "
            f"published errors on RHD or InterHand2.6M.{slim}"
        )
    return f":::{{admonition}} {title}\n:class: {classes}\n{text}\n:::"


def larger(store: Store) -> str:
    """Return a list of links to the pages of larger profiles that have runs."""
    found = (other.profile for other in larger_stores(store))
    lines = [f"* [`{name}`](/book/_executed/larger/{name}.md), {PROFILES[name].purpose}" for name in found]
    return "\n".join(lines) or "No larger profile has been run and stored."


def profile_page(store: Store, pages: Mapping[str, str]) -> str:
    """Return a page about a stored profile: banner, tables to download and links to the pages of its runs."""
    grid = experiments(PROFILES[store.profile])
    stored = len({run.experiment for run in store.runs()} & set(grid))
    return (
        f"# Profile `{store.profile}`\n\n{banner(store)}\n\n{stored} of its {len(grid)} runs are stored. "
        f"{downloads(store)}\n\n{runs_table(store, pages)}\n"
    )


def downloads(store: Store) -> str:
    """Return a line with every stored table of a profile as a CSV file to download."""
    folder = f"/book/_executed/csv/{store.profile}/tables"
    names = sorted(path.stem for path in store.tables.glob("*.csv"))
    links = ", ".join(f"{{download}}`{name} <{folder}/{name}.csv>`" for name in names)
    return f"Tables as CSV in full precision: {links or 'none yet'}."


def bench(folder: Path) -> str:
    """Return the table of the stored benchmarks."""
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))]
    if not reports:
        return f"No benchmark is stored in `results/{folder.name}`."
    rows = bench_rows(reports)
    machines = sorted(set(rows.machine))
    table = markdown(rows if len(machines) > 1 else rows.drop(columns="machine"))
    return f"{table}\n\nMeasured on: {'; '.join(machines)}."


def open_choices_table(choices: Iterable[OpenChoice]) -> str:
    """Return a table per config or module with a row for each choice that the paper leaves open."""
    parts: dict[str, list[tuple]] = {}
    for c in choices:
        owner, _, field = c.name.rpartition(".")
        row = (c.tag, f"`{field}`", f"`{c.value}`", _with_symbols(c.source), _with_symbols(c.reason))
        parts.setdefault(owner.removesuffix("Config") or "Evaluation", []).append(row)
    columns = ["", "field", "default", "the paper says", "reason"]
    tables = [f"**{name}**\n\n{markdown(pd.DataFrame(rows, columns=columns))}" for name, rows in parts.items()]
    return "\n\n".join(tables)


def _with_symbols(text: str) -> str:
    """Return the text with its maps, such as V_k and G_{k+1}, as mathematics."""
    return re.sub(r"\b([A-Z]_(?:\{[^}]+\}|\w\b))", r"$\1$", text)


def profiles_table(profiles: Iterable[Profile]) -> str:
    """Return the table of profiles: purpose, data, budget, runs."""
    rows = []
    for p in profiles:
        runs = experiments(p)
        methods = {e.method for e in runs}
        labels = [METHODS[m].label for m in TABLE1 if m in methods]
        combinations = {e.variant for e in runs if e.method == "msff" and e.variant in FACTORIAL}
        specs = [DATASETS[name] for name in dict.fromkeys(e.dataset for e in runs)]
        data = " and ".join(DATASET_NAMES[s.layout] for s in specs)
        if all(s.is_standin for s in specs):
            data = f"stand-in{'s' * (len(specs) > 1)} of {data}"
        rows.append((
            f"`{p.name}`", p.purpose, data, p.budget,
            "all seven" if len(labels) == len(TABLE1) else ", ".join(labels),
            f"{len(combinations)} of {len(FACTORIAL)}",
            ", ".join(map(str, Counter(e.seed for e in runs).values())),
        ))  # fmt: skip
    columns = ["profile", "for", "data", "budget", "rows of Table 1", "combinations of modules", "runs by seed"]
    return markdown(pd.DataFrame(rows, columns=columns))


def departures_table(profiles: dict[str, Profile]) -> str:
    """Return every setting but grids and schedules in which a profile departs from ``paper``, in two tables."""
    skipped = ("name", "purpose", "budget", "grid", "pilot")
    flat = {name: _flat(dataclasses.asdict(p)) for name, p in profiles.items()}
    paper, rows = flat.pop("paper"), []
    for key in dict.fromkeys(k for f in (paper, *flat.values()) for k in f if k.partition(".")[0] not in skipped):
        own, values = paper.get(key, "-"), [f.get(key, "-") for f in flat.values()]
        if any(value != own for value in values):
            rows.append((f"`{key}`", _value(own), *("same" if v == own else _value(v) for v in values)))
    return in_two(pd.DataFrame(rows, columns=["setting", "`paper`", *(f"`{name}`" for name in flat)]))


def _flat(config: dict, prefix: str = "") -> dict[str, object]:
    """Return {"a.b": 1} for {"a": {"b": 1}}, without the fields of any ``TrainingConfig``."""
    training, flat = {f.name for f in dataclasses.fields(TrainingConfig)}, {}
    for key, value in config.items():
        if not isinstance(value, dict):
            flat[prefix + key] = value
        elif value.keys() != training:
            flat |= _flat(value, f"{prefix}{key}.")
    return flat


def _value(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return ", ".join(map(_value, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def demo_fragment(folder: Path) -> str:
    """Return a figure and the measured errors of the demonstration network in ``folder``, a row per test set."""
    index = folder / "demo.json"
    if not index.exists():
        return "No demonstration network is stored."
    rows = []
    for found in json.loads(index.read_text(encoding="utf-8"))["measured"].values():
        tracks = found["tracks"]
        metric = next(name for name in ("wrist20", "mpjpe_all") if name in tracks["T2"]["network"])
        row = {"test images": f"{found['label']} ({found['images']:,})"}
        for words, track, by, name in (
            ("MS-FF, mm", "T2", "network", metric), ("true distance", "T1", "network", metric),
            ("aligned (PA21)", "T2", "network", "pa21"), ("mean pose", "T2", "mean_pose", metric),
        ):  # fmt: skip
            error = tracks[track][by].get(name) if track in tracks else None
            row[words] = error and with_interval(*map(error.get, ("value", "low", "high")), digits=1)
        rows.append(row)
    alt = "Six rendered test images with the true and the predicted skeletons of their hands"
    caption = (
        "The demonstration network on rendered test images, of one hand (left) and of two (right), at the 10th, 50th "
        "and 90th percentile of its mean joint error. Above: ground truth; below: prediction."
    )
    return f"{staged_figure('demo', alt, caption)}\n\n{markdown(pd.DataFrame(rows).fillna(''))}"


def runs_table(store: Store, pages: Mapping[str, str]) -> str:
    """Return the stored runs of the profile's grid, each with the link to its page, headline error and hash."""
    grid = experiments(get_profile(store.profile))
    rows = []
    for run in filter(None, map(store.get, grid)):
        e, name = run.experiment, run.experiment.run_id
        shown = f"[{name}]({pages[name]})" if name in pages else name
        rows.append((shown, network_name(e.method, e.variant), _error(run), f"`{run.record.config_hash}`"))
    table = markdown(pd.DataFrame(rows, columns=["run", "network", f"error on {RANKING_TRACK}, mm", "config hash"]))
    left = len(grid) - len(rows)
    return f"{table}\n\n{left} more runs of the grid have not run yet." if left else table


def _error(run: Run) -> str:
    """Return the headline error; for a paper's own recipe the error in that paper's metric."""
    if RANKING_TRACK in run.record.metrics:
        return f"{headline(run):.2f}"
    metric = PAPER_PROTOCOLS[run.experiment.method].own_metric
    value = run.record.metrics.get(PAPER_TRACK, {}).get(metric)
    return f"its metric on {PAPER_TRACK} is not known" if value is None else f"{value:.2f} ({PAPER_TRACK}, {metric})"


def check_table(store: Store) -> str:
    """Return the comparison of the store's runs with the reference."""
    if not store.reference():
        return f"No reference is shipped for profile `{store.profile}`, so there is nothing to compare with."
    table = compare(Project(store.profile, store.root.parents[1])).rename(columns=lambda c: c.replace("_mm", ", mm"))
    return markdown(with_digits(table, {column: 2 for column in table if column.endswith(", mm")}))


def in_two(table: pd.DataFrame) -> str:
    """Return two Markdown tables, each with the first two columns and half of the others."""
    first, others = list(table.columns[:2]), list(table.columns[2:])
    middle = -(-len(others) // 2)
    return "\n\n".join(markdown(table[[*first, *half]]) for half in (others[:middle], others[middle:]))
