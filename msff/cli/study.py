"""`msff train` and `msff study`."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

from msff.cli import common


def add_train(commands) -> None:
    train = common.command(
        commands, "train", "Train and evaluate one run of the study; nothing if it is stored already.", _train
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


def _train(args) -> int:
    from msff.models.registry import method_of

    study = common.open_study(args)
    dataset = args.dataset or study.profile.data.datasets[0]
    variant = args.variant or method_of(args.method).headline
    run = study.ensure_run(f"{dataset}/{args.method}/{variant}/seed{args.seed}", force=args.force)
    if not study.engine.is_first:  # of the processes that torchrun started
        return 0
    if args.json:
        print(json.dumps(run.record, indent=1))
        return 0
    print(f"{run.experiment.run_id} in {run.path}")
    for track, metrics in run.record["metrics"].items():
        shown = ", ".join(f"{key} {value:.2f}" for key, value in metrics.items() if value is not None)
        print(f"{track}: {shown}")
    return 0


def add_study(commands) -> None:
    group = common.group(commands, "study", "Plan, run and check the study of a profile; build the book.")
    plan = common.command(
        group, "plan", "List the runs in their order, what is done and what the rest will take.", _plan, as_json=True
    )
    run = common.command(
        group, "run", "Render, train, execute the notebooks, write the tables: whatever is missing.", _run
    )
    run.add_argument("--own", action="store_true", help="also retrain the runs that only came with the project")
    ways = run.add_mutually_exclusive_group()
    ways.add_argument("--force", action="store_true", help="retrain everything")
    ways.add_argument(
        "--budget", type=common.budget, metavar="SECONDS",
        help="begin only what is expected to end within so many seconds from now, the worthiest first",
    )  # fmt: skip
    run.add_argument("--jobs", type=int, help="notebooks side by side (default: one per core up to 4, 1 with CUDA)")
    _add_archive(run)
    queue = common.command(
        group, "train", "Train the missing runs, the most wanted first, some side by side; no pages.", _queue
    )
    queue.add_argument("--jobs", type=common.count, default=2, help="runs side by side (default: 2)")
    queue.add_argument(
        "--budget", type=common.budget, metavar="SECONDS", help="start no run that would end later than this from now"
    )
    _add_archive(queue)
    pages = common.command(
        group, "pages", "Execute the pages about all runs from what is stored: no training, no data needed.", _pages
    )
    ingest = common.command(group, "ingest", "Check archives that `run --out` wrote, and merge their runs.", _ingest)
    ingest.add_argument("archives", type=Path, nargs="+", metavar="ARCHIVE")
    ingest.add_argument("--replace", action="store_true", help="also where another run of the experiment is here")
    tables = common.command(
        group, "tables", "Write the tables of the runs that are stored, the whole study or not.", _tables
    )
    tune = common.command(
        group, "tune", "Try rates on held-out training images; the table is kept with the runs.", _tune
    )
    tune.add_argument(
        "--method", action="append", metavar="ROW", help="only this method or method/variant; may be repeated"
    )
    status = common.command(group, "status", "What is stored, running and next, with hours.", _status, as_json=True)
    photos = common.command(group, "photos", "Predict the real photos with the runs whose weights are here.", _photos)
    check = common.command(group, "check", "Compare the runs with the shipped reference.", _check, as_json=True)
    check.add_argument("--update-reference", action="store_true", help="make today's runs the reference")
    book = common.command(group, "book", "Build the book from results/<profile>.", _book)
    refresh = common.command(
        group, "refresh", "Take the checked outputs of notebooks/ from an executed smoke study.", _refresh
    )
    for parser in (plan, run, queue, pages, tables, tune, status, photos, check, book):
        common.add_profile(parser)
    common.add_profile(refresh, "smoke")


def _add_archive(parser) -> None:
    """The options --out and --limit."""
    parser.add_argument("--out", type=Path, metavar="DIR", help="pack what this call finishes into an archive there")
    parser.add_argument(
        "--limit", type=common.mebibytes, default=16.0, metavar="MIB", help="of an archive (default: 16)"
    )


def _plan(args) -> int:
    from msff.study.execute import plan_table
    from msff.study.progress import clock

    table = plan_table(common.open_study(args))
    measured = f", as measured on {table.attrs['elsewhere']}" if table.attrs["elsewhere"] else ""
    if args.json:
        print(table.to_json(orient="records", indent=1))
        return 0
    rest = table[~table.done]
    print(table.to_string(index=False))
    expected = f"about {clock(rest.expected_s.sum())} one after the other{measured}"
    print(f"The rest: {len(rest)} of {len(table)} steps, {expected}")
    return 0


def _run(args) -> int:
    from msff.report.tables import write_tables
    from msff.study.archive import PACKING_S, packing
    from msff.study.execute import run_study
    from msff.study.slices import run_slice

    study, whole, reserve = common.open_study(args), True, PACKING_S if args.out else 0.0
    with packing(study, args.out, args.limit) if args.out else nullcontext() as pack_now:
        if args.budget is None:
            run_study(study, own=args.own, force=args.force, jobs=args.jobs)
        else:
            options = {"started": args.started, "own": args.own, "jobs": args.jobs, "on_page": pack_now}
            whole = run_slice(study, args.budget - reserve, **options).whole
    if whole:
        write_tables(study.store)
    return 0


def _pages(args) -> int:
    from msff.report.tables import write_tables
    from msff.study.execute import execute_results

    study = common.open_study(args)
    execute_results(study)
    write_tables(study.store)
    return 0


def _ingest(args) -> int:
    from msff.report.tables import write_tables
    from msff.study.archive import ArchiveError, read
    from msff.study.experiment import Study
    from msff.study.ingest import merge

    failed = False
    for path in args.archives:
        try:
            archive = read(path)
            study = Study(archive.profile)
            result = merge(study, archive, args.replace)
        except ArchiveError as error:
            failed = True
            print(f"msff: {error}", file=sys.stderr)
            continue
        failed |= bool(result.refused)
        print(f"{path}, profile {archive.profile}:", *result.lines(), sep="\n")
        if result.merged or result.photos:
            write_tables(study.store)
    return 1 if failed else 0


def _tables(args) -> int:
    from msff.report.tables import write_tables

    study = common.open_study(args)
    if not study.store.runs():
        raise ValueError(f"profile {study.profile.name} has no runs yet: `msff train` or `msff study run` makes them")
    for path in write_tables(study.store):
        print(path)
    return 0


def _tune(args) -> int:
    from msff.report.drawing import save
    from msff.report.figures import rate_figure
    from msff.study.tuning import ROWS, described, tune

    study = common.open_study(args)
    table = tune(study, args.method or ROWS)
    print(table.to_string(index=False, float_format="%.4g"))
    save(rate_figure(table, described(study.profile)), study.store.figures / "rates.png")
    return 0


def _queue(args) -> int:
    from msff.report.tables import write_tables
    from msff.study.archive import PACKING_S, packing
    from msff.study.queue import run_queue

    study, budget = common.open_study(args), args.budget
    if args.out and budget is not None:
        budget = max(0.0, budget - PACKING_S)
    with packing(study, args.out, args.limit) if args.out else nullcontext():
        done = run_queue(study, args.jobs, budget)
    if done:
        write_tables(study.store)
    return 0


def _status(args) -> int:
    from msff.study.queue import RUNNING, STORED, WAITING, queue_table

    study = common.open_study(args)
    table = queue_table(study)
    if args.json:
        print(table.to_json(orient="records", indent=1))
        return 0
    todo = table[table.state != STORED]
    counts = ", ".join(f"{(table.state == state).sum()} {state}" for state in (STORED, RUNNING, WAITING))
    print(f"Profile {study.profile.name}, {len(table)} trainings: {counts}; {todo.hours_left.sum():.1f} core hours.")
    if len(todo):
        print(todo.to_string(index=False, float_format="%.2f"))
    return 0


def _photos(args) -> int:
    from msff.report.tables import write_tables
    from msff.study.photos import predict_missing

    study = common.open_study(args)
    if predict_missing(study):
        write_tables(study.store)
    return 0


def _check(args) -> int:
    from msff.study.reference import compare, update_reference

    study = common.open_study(args)
    if args.update_reference:
        update_reference(study)
    table = compare(study)
    if args.json:
        print(table.to_json(orient="records", indent=1))
    else:
        print(f"Reproduced against reference, profile {study.profile.name} (error in mm):")
        print(table.to_string(index=False, float_format="%.2f"))
    return 1 if (table.verdict == "outside").any() else 0


def _refresh(args) -> int:
    from msff.study.notebooks import refresh

    for path in refresh(common.open_study(args)):
        print(path)
    return 0


def _book(args) -> int:
    from msff.report.book.build import build
    from msff.study.data import find_root

    page = build(args.profile or common.default_profile(), find_root())
    print(f"The book: {page}")
    return 0
