"""`msff train` and `msff study`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

from msff.cli import common


def add_train(commands) -> None:
    train = common.command(
        commands, "train", "Train and evaluate one run; nothing to do if it is stored.", _train, resumes=True
    )
    train.set_defaults(shared=True)  # by torchrun's processes
    common.add_profile(train)
    train.add_argument("--dataset", help="default: the profile's first")
    train.add_argument("--method", default="msff")
    train.add_argument("--variant", help="default: the one that stands for the method in the tables")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    train.add_argument("--force", action="store_true", help="train again even if the run is stored")
    train.add_argument("--json", action="store_true", help="print the run's record as JSON")


def _train(args) -> None:
    from tqdm import tqdm

    from msff.models.registry import method_of
    from msff.study.runner import ensure_run

    workspace = common.open_workspace(args)
    dataset = args.dataset or workspace.profile.data.datasets[0]
    variant = args.variant or method_of(args.method).headline
    run_id = f"{dataset}/{args.method}/{variant}/seed{args.seed}"
    with tqdm(desc=run_id, unit="step", disable=None if workspace.engine.is_first else True) as bar:
        run = ensure_run(workspace, run_id, force=args.force, progress=common.progress(bar))
    if not workspace.engine.is_first:  # of torchrun's processes
        return
    if args.json:
        print((run.path / "run.json").read_text(encoding="utf-8"))
        return
    print(f"{run.experiment.run_id} in {run.path}")
    for track, metrics in run.record.metrics.items():
        shown = ", ".join(f"{key} {value:.2f}" for key, value in metrics.items() if value is not None)
        print(f"{track}: {shown}")


def add_study(commands) -> None:
    add = common.group(commands, "study", "Plan, run and check the study of a profile; build the book.")
    plan = add("plan", "List what is done and what the rest will take.", _plan, as_json=True)
    status = add("status", "List the trainings: stored, running, waiting, hours left.", _status, as_json=True)
    run = add("run", "Render, train, execute the pages, write the tables: what is missing.", _run, resumes=True)
    run.add_argument("--own", action="store_true", help="also retrain the runs that came with the project")
    run.add_argument("--force", action="store_true", help="retrain everything")
    train = add("train", "The same without pages: train what is missing, by priority.", _train_all, resumes=True)
    for parser in (run, train):
        parser.add_argument("--jobs", type=common.count, help="runs at a time (default: a core each, up to 4; CUDA: 1)")
        parser.add_argument(
            "--budget", type=common.budget, metavar="SECONDS",
            help="start no run that is expected to end later than this from now",
        )  # fmt: skip
        parser.add_argument("--dask", metavar="ADDRESS", help="of a Dask scheduler whose workers train")
        parser.add_argument(
            "--trusted-network", action="store_true", help="allow --dask tcp:// beyond this machine, without TLS"
        )
        parser.add_argument("--out", type=Path, metavar="DIR", help="pack the runs that this call makes there")
        parser.add_argument(
            "--limit", type=common.mebibytes, default=16.0, metavar="MIB", help="of an archive (default: 16)"
        )
    pages = add("pages", "Execute the pages that are out of date, without training.", _pages, resumes=True)
    pages.add_argument("--results", action="store_true", help="only the pages about all runs, which need no images")
    ingest = add("ingest", "Check archives that --out wrote, and add their runs.", _ingest, resumes=True)
    ingest.add_argument("archives", type=Path, nargs="+", metavar="ARCHIVE")
    ingest.add_argument("--replace", action="store_true", help="also where another run of the experiment is here")
    tables = add("tables", "Write the tables of the runs that are stored.", _tables)
    tune = add("tune", "Try learning rates on held-out training images; resumable.", _tune, resumes=True)
    tune.add_argument("--method", action="append", metavar="ROW", help="only this method or method/variant (repeat)")
    photos = add("photos", "Predict the real photographs with the weights that are here.", _photos, resumes=True)
    check = add("check", "Compare the runs with the shipped reference.", _check, as_json=True)
    check.add_argument("--update-reference", action="store_true", help="make today's runs the reference")
    book = add("book", "Build the book from results/<profile>.", _book)
    book.add_argument("--pdf", action="store_true", help="also print the whole book to book/_build/msff.pdf (Chromium)")
    refresh = add("refresh", "Update the checked outputs of notebooks/ from smoke.", _refresh)
    for parser in (plan, status, run, train, pages, tables, tune, photos, check, book):
        common.add_profile(parser)
    common.add_profile(refresh, "smoke")


def _plan(args) -> None:
    from tqdm import tqdm

    from msff.study.status import plan

    steps = plan(common.open_project(args))
    common.print_rows(steps, args.json)
    if args.json:
        return
    rest = [step for step in steps if not step.done]
    left = tqdm.format_interval(sum(step.expected_s for step in rest))
    print(f"The rest: {len(rest)} of {len(steps)} steps, about {left} one after the other")


def _status(args) -> None:
    from msff.study.cluster.state import read_state
    from msff.study.status import STORED, summary, trainings

    project = common.open_project(args)
    rows = trainings(project)
    if args.json:
        common.print_rows(rows, as_json=True)
        return
    print(summary(rows, project.profile.name))
    common.print_rows([row for row in rows if row.state != STORED])
    if (cluster := read_state(project)) and cluster["workers"]:
        hours = sum(row.hours_left for row in rows) / max(1, cluster["slots"])
        print(f"{len(cluster['workers'])} workers at {cluster['address']}: about {hours:.2f} hours")


def _run(args) -> None:
    from msff.report.tables import write_tables
    from msff.study.execution import execute_pages
    from msff.study.pages import all_pages
    from msff.study.queue import missing_runs

    workspace = common.open_workspace(args)
    _make_runs(args, workspace, own=args.own, force=args.force)
    if left := missing_runs(workspace, args.own):
        print(f"{len(left)} runs are left; the pages are executed when all are stored.")
        return
    execute_pages(workspace, all_pages(workspace))
    write_tables(workspace.store)


def _train_all(args) -> None:
    from msff.report.tables import write_tables

    workspace = common.open_workspace(args)
    if _make_runs(args, workspace):
        write_tables(workspace.store)


def _make_runs(args, workspace, **which) -> list:
    from msff.study.archive import PACKING_S, packing
    from msff.study.cluster.state import scheduler_address
    from msff.study.queue import run_all

    budget = args.budget
    if args.out and budget is not None:
        budget = max(0.0, budget - PACKING_S)
    address = None if args.dask is None else scheduler_address(args.dask, args.trusted_network)
    with packing(workspace, args.out, args.limit) if args.out else nullcontext():
        return run_all(workspace, jobs=args.jobs, budget_s=budget, dask=address, **which)


def _pages(args) -> None:
    from msff.report.tables import write_tables
    from msff.study.execution import execute_pages
    from msff.study.pages import all_pages, result_pages

    workspace = common.open_workspace(args)
    execute_pages(workspace, result_pages(workspace) if args.results else all_pages(workspace))
    write_tables(workspace.store)


def _ingest(args) -> int:
    from msff.report.tables import write_tables
    from msff.study.archive import ADDED, KEPT, KNOWN, ArchiveError, ingest
    from msff.study.project import find_root

    failed = False
    for path in args.archives:
        try:
            project, outcome = ingest(path, find_root(), args.replace)
        except ArchiveError as error:
            failed = True
            print(f"msff: {error}", file=sys.stderr)
            continue
        print(
            f"{path}, profile {project.profile.name}:", *(f"  {run}: {what}" for run, what in outcome.items()), sep="\n"
        )
        failed |= not {*outcome.values()} <= {ADDED, KNOWN, KEPT}
        if ADDED in outcome.values():
            write_tables(project.store)
    return 1 if failed else 0


def _tables(args) -> None:
    from msff.report.tables import write_tables

    store = common.open_project(args).store
    if not store.runs():
        raise ValueError(f"profile {store.profile} has no runs yet: `msff train` or `msff study run` makes them")
    for path in write_tables(store):
        print(path)


def _tune(args) -> None:
    from msff.study.tuning import ROWS, tune

    print(tune(common.open_workspace(args), args.method or ROWS).to_string(index=False, float_format="%.4g"))


def _photos(args) -> None:
    from msff.report.tables import write_tables
    from msff.study.photos import LANDMARKS, predict_missing, store_landmark_errors

    workspace = common.open_workspace(args)
    landmarks = workspace.root / "results" / "mediapipe" / LANDMARKS
    if landmarks.exists():
        print(store_landmark_errors(workspace, landmarks))
    if predict_missing(workspace):
        write_tables(workspace.store)


def _check(args) -> int:
    from msff.study.reference import compare, update_reference

    project = common.open_project(args)
    if args.update_reference:
        update_reference(project)
    table = compare(project)
    if args.json:
        print(table.to_json(orient="records", indent=1))
    else:
        print(f"Reproduced against reference, profile {project.profile.name} (error in mm):")
        print(table.to_string(index=False, float_format="%.2f"))
    return 1 if (table.verdict == "outside").any() else 0


def _refresh(args) -> None:
    from msff.study.execution import refresh

    moved = refresh(common.open_project(args))
    print(*moved, f"{len(moved)} checked outputs have changed", sep="\n")


def _book(args) -> None:
    from msff.report.book.build import build
    from msff.study.project import find_root

    page = build(args.profile or common.default_profile(), find_root())
    print(f"The book: {page}")
    if args.pdf:
        from msff.report.book.pdf import write_pdf

        print(f"As PDF: {write_pdf(page.parent, page.parents[1] / 'msff.pdf')}")
