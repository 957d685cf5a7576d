"""The `msff` command: data, train, study, bench, demo, predict.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Parse, run, and turn the project's own errors into one line and an exit code."""
    parser = _parser()
    started = time.monotonic()
    args = parser.parse_args(arguments)
    args.started = started
    if not hasattr(args, "run"):
        args.help_parser.print_help()
        return 2
    return _guarded(args)


def _guarded(args) -> int:
    try:
        return args.run(args) or 0
    except KeyboardInterrupt:
        print("\nInterrupted. What was finished is kept; the same command goes on from there.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f" while writing {error.filename}" if error.filename else ""
            print(f"msff: no space left on the disk{where}. Free some and run the same command again.", file=sys.stderr)
            return 1
        if not isinstance(error, _foreseen()):
            raise
        print(f"msff: {error}", file=sys.stderr)
        return 1


def _foreseen() -> tuple[type[Exception], ...]:
    """Errors whose message is written for the user; any other is a defect and shows its traceback."""
    from msff.data.sample import DataError
    from msff.study.archive import ArchiveError
    from msff.study.book import BookError
    from msff.study.execute import StudyError
    from msff.study.runs import StoreError
    from msff.training.checkpoint import CheckpointError
    from msff.training.loop import TrainingError

    system = (ValueError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
    return (DataError, StoreError, StudyError, ArchiveError, BookError, CheckpointError, TrainingError, *system)


def _parser() -> argparse.ArgumentParser:
    from msff import __version__

    parser = argparse.ArgumentParser(prog="msff", description="The MS-FF reproduction study.")
    parser.add_argument("--version", action="version", version=f"msff {__version__}")
    parser.set_defaults(help_parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for add in (_add_data, _add_train, _add_study, _add_bench, _add_demo, _add_predict):
        add(commands)
    return parser


def _group(commands, name: str, text: str):
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(help_parser=parser)
    return parser.add_subparsers(title="commands", metavar="COMMAND")


def _command(commands, name: str, text: str, run, *, as_json: bool = False):
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_profile(parser, default: str | None = None) -> None:
    parser.add_argument(
        "--profile", default=default, help="smoke, cpu, cpu-long, gpu or paper (default: gpu with CUDA, else cpu)"
    )


def _study(args):
    from msff.study.experiment import Study

    return Study(args.profile or default_profile(), device=getattr(args, "device", None))


def default_profile() -> str:
    """``gpu`` where CUDA works, else ``cpu``."""
    import torch

    return "gpu" if torch.cuda.is_available() else "cpu"


def _show(value: dict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(value, indent=1))
        return
    for key, item in value.items():
        print(f"{key:16} {item:.4g}" if isinstance(item, float) else f"{key:16} {item}")


# data


def _add_data(commands) -> None:
    group = _group(commands, "data", "Make the stand-in, look at a dataset, check it.")
    make = _command(group, "make", "Render a stand-in dataset in its official on-disk format.", _data_make)
    make.add_argument("dataset", choices=("standin-rhd", "standin-interhand"))
    make.add_argument("--root", type=Path, required=True, help="folder to write")
    make.add_argument("--train", type=int, required=True, help="training images")
    make.add_argument("--test", type=int, required=True, help="test images")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--size", type=int, help="frame width in px, 96 to 1024 (default: the official one, 320 or 512)")
    make.add_argument("--device", default="cpu", help="that renders: cpu, or cuda where CUDA works (default: cpu)")
    _add_sheet(group)
    verify = _command(group, "verify", "Recognise a dataset folder and check it.", _data_verify, as_json=True)
    verify.add_argument("path", type=Path)
    verify.add_argument("--full", action="store_true", help="decode every image, not a sample; resumable")


def _add_sheet(group) -> None:
    from msff.data.datasets import DATASETS

    sheet = _command(group, "sheet", "Draw a contact sheet of a dataset on disk.", _data_sheet)
    sheet.add_argument("dataset", choices=tuple(DATASETS))
    sheet.add_argument("--root", type=Path, required=True, help="folder of the dataset")
    sheet.add_argument("--split", default="test", help="train, test, or val where there is one (default: test)")
    sheet.add_argument("--count", type=int, default=64, help="images (default: 64)")
    sheet.add_argument("--seed", type=int, default=0, help="of the choice of images")
    sheet.add_argument("--truth", action="store_true", help="with joints, bones, box, and RHD's mask and depth")
    sheet.add_argument("--out", type=Path, help=".png or .jpg to write (default: <dataset>-<split>[-truth].png)")


def _data_sheet(args) -> int:
    from msff.report.sheets import read_sheet, write_sheet

    out = args.out or Path(f"{args.dataset}-{args.split}{'-truth' if args.truth else ''}.png")
    sheet = read_sheet(args.dataset, args.root, args.split, args.count, args.seed)
    path, caption = write_sheet(sheet, out, args.truth), sheet.caption.replace("\n", "; ")
    print(f"{path}: {caption}")
    return 0


def _data_make(args) -> int:
    from msff.standin.writers import MANIFEST, make

    before = os.path.isfile(args.root / MANIFEST)
    path = make(
        args.dataset, args.root, args.train, args.test, seed=args.seed, size=args.size, device=args.device
    )  # fmt: skip
    done = "there already, whole and from the same request; left as they are" if before else "rendered"
    print(f"{args.dataset}: {args.train} training and {args.test} test images in {path}: {done}")
    return 0


def _data_verify(args) -> int:
    from msff.data.verify import verify

    report = verify(args.path, full=args.full, progress=args.full and not args.json)
    print(json.dumps(report.to_dict(), indent=1) if args.json else report)
    return 0 if report.ok else 1


# train


def _add_train(commands) -> None:
    train = _command(
        commands, "train", "Train and evaluate one run of the study; nothing if it is stored already.", _train
    )
    _add_profile(train)
    train.add_argument("--dataset", help="default: the profile's first")
    train.add_argument("--method", default="msff")
    train.add_argument("--variant", help="default: the one that stands for the method in the tables")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")
    train.add_argument("--force", action="store_true", help="train again even if the run is stored")
    train.add_argument("--json", action="store_true", help="print the run's record as JSON")


def _train(args) -> int:
    from msff.models.registry import method_of

    study = _study(args)
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


# study


def _add_study(commands) -> None:
    group = _group(commands, "study", "Plan, run and check the study of a profile; build the book.")
    plan = _command(
        group, "plan", "List the runs in their order, what is done and what the rest will take.", _plan, as_json=True
    )
    run = _command(group, "run", "Render, train, execute the notebooks, write the tables: whatever is missing.", _run)
    run.add_argument("--own", action="store_true", help="also retrain the runs that only came with the project")
    ways = run.add_mutually_exclusive_group()
    ways.add_argument("--force", action="store_true", help="retrain everything")
    ways.add_argument(
        "--budget", type=_budget, metavar="SECONDS",
        help="begin only what is expected to end within so many seconds from now, the worthiest first",
    )  # fmt: skip
    run.add_argument("--jobs", type=int, help="notebooks side by side (default: one per core up to 4, 1 with CUDA)")
    run.add_argument("--out", type=Path, metavar="DIR", help="pack what this call finishes into an archive there")
    run.add_argument("--limit", type=_mebibytes, default=16.0, metavar="MIB", help="of an archive (default: 16)")
    ingest = _command(group, "ingest", "Check archives that `run --out` wrote, and merge their runs.", _ingest)
    ingest.add_argument("archives", type=Path, nargs="+", metavar="ARCHIVE")
    ingest.add_argument("--replace", action="store_true", help="also where another run of the experiment is here")
    tables = _command(group, "tables", "Write the tables of the runs that are stored, the whole study or not.", _tables)
    tune = _command(group, "tune", "Try rates on held-out training images; the table is kept with the runs.", _tune)
    tune.add_argument("--method", action="append", help="try this one's alone; may be given several times")
    status = _command(group, "status", "One line: how much of the profile is done.", _status, as_json=True)
    photos = _command(group, "photos", "Predict the real photos with the runs whose weights are here.", _photos)
    check = _command(group, "check", "Compare the runs with the shipped reference.", _check, as_json=True)
    check.add_argument("--update-reference", action="store_true", help="make today's runs the reference")
    book = _command(group, "book", "Build the book from results/<profile>.", _book)
    refresh = _command(
        group, "refresh", "Take the checked outputs of notebooks/ from an executed smoke study.", _refresh
    )
    for parser in (plan, run, tables, tune, status, photos, check, book):
        _add_profile(parser)
    _add_profile(refresh, "smoke")


def _plan(args) -> int:
    from msff.study.execute import plan_table
    from msff.study.progress import clock

    table = plan_table(_study(args))
    if args.json:
        print(table.to_json(orient="records", indent=1))
        return 0
    rest = table[~table.done]
    print(table.to_string(index=False))
    print(f"The rest: {len(rest)} of {len(table)} steps, about {clock(rest.expected_s.sum())} one after the other")
    return 0


def _run(args) -> int:
    from msff.report.tables import write_tables
    from msff.study.archive import PACKING_S, packing
    from msff.study.execute import StudyError, run_study
    from msff.study.slices import run_slice
    from msff.training.engine import count_processes

    if count_processes() > 1:
        raise StudyError(
            "`msff study run` executes notebooks and does not share its work with torchrun's processes: train the runs "
            "with `torchrun ... -m msff.cli train ...`, then call `msff study run` without torchrun for the pages."
        )
    study, whole, reserve = _study(args), True, PACKING_S if args.out else 0.0
    with packing(study, args.out, args.limit) if args.out else nullcontext():
        if args.budget is None:
            run_study(study, own=args.own, force=args.force, jobs=args.jobs)
        else:
            whole = run_slice(study, args.budget - reserve, started=args.started, own=args.own, jobs=args.jobs).whole
    if whole:
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
        if result.merged:
            write_tables(study.store)
    return 1 if failed else 0


def _tables(args) -> int:
    from msff.report.tables import write_tables

    for path in write_tables(_study(args).store):
        print(path)
    return 0


def _tune(args) -> int:
    from msff.study.tuning import METHODS, tune

    print(tune(_study(args), args.method or METHODS).to_string(index=False, float_format="%.1f"))
    return 0


def _status(args) -> int:
    from msff.study.execute import plan_table

    study = _study(args)
    table = plan_table(study)
    todo = table[~table.done]
    value = {"profile": study.profile.name}
    value |= {f"{kind}s": int((table.kind == kind).sum()) for kind in ("helper", "notebook")}
    value["done"] = int(table.done.sum())
    value["expected_s_left"] = float(todo.expected_s.sum())
    _show(value, args.json)
    return 0


def _photos(args) -> int:
    from msff.report.tables import write_tables
    from msff.study.photos import predict_missing

    study = _study(args)
    if predict_missing(study):
        write_tables(study.store)
    return 0


def _check(args) -> int:
    from msff.study.check import compare, update_reference

    study = _study(args)
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

    for path in refresh(_study(args)):
        print(path)
    return 0


def _book(args) -> int:
    from msff.study.book import build
    from msff.study.experiment import find_root

    page = build(args.profile or default_profile(), find_root())
    print(f"The book: {page}")
    return 0


# bench


def _add_bench(commands) -> None:
    group = _group(commands, "bench", "Measure speed and memory, beside a plain reference.")
    for name, text, run in (
        ("train", "A full training step of a network, in its heaviest phase.", _bench_network),
        ("infer", "Forward pass of a network, and decoding and lifting where it gives a volume.", _bench_network),
        ("data", "Augmented crops of a profile's training images.", _bench_data),
        ("render", "The stand-in's renderer.", _bench_render),
    ):
        parser = _command(group, name, text, run, as_json=True)
        parser.set_defaults(bench=name)
        own = "the profile's, else 16" if name in ("train", "infer") else "16"
        parser.add_argument("--batch", type=_count, default=None if name in ("train", "infer") else 16,
                            help=f"images in a step (default: {own})")  # fmt: skip
        parser.add_argument("--device", default=None, help="cpu or cuda (default: cuda if there is one)")
        parser.add_argument("--seconds", type=_duration, default=10.0, help="how long to measure")
        parser.add_argument("--threads", type=_count, help="torch threads on the CPU")
        if name in ("train", "infer"):
            _add_bench_network(parser)
        if name == "data":
            _add_profile(parser, "smoke")
        if name == "render":
            parser.add_argument("--size", type=_count, default=256, help="frame size in px")


def _add_bench_network(parser) -> None:
    parser.add_argument("--method", default="msff", help="any that has a network (default: msff)")
    parser.add_argument("--variant", help="default: the one in the tables; of chen the one without masks")
    parser.add_argument("--size", type=_count, help="crop size in px of the paper's network (default: 256)")
    parser.add_argument("--profile", help="measure this profile's network, with its images if they are on the disk")
    parser.add_argument(
        "--precision", choices=("float32", "bf16"),
        help="of the fast way (default: the profile's, else bf16 where the device multiplies it natively)",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction,
        help="of the fast way (default: the profile's choice, else on CUDA)",
    )  # fmt: skip


def _count(text: str) -> int:
    """An argument that counts something."""
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 up, got {text!r}")
    return int(text)


def _duration(text: str) -> float:
    """An argument in seconds."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, got {text!r}")
    return value


def _budget(text: str) -> float:
    """An argument in seconds that may be none at all."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds from 0 up, got {text!r}")
    return value


def _mebibytes(text: str) -> float:
    """An argument in MiB."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a size in MiB above 0, got {text!r}")
    return value


def _number(text: str) -> float:
    """NaN for what is no number."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _bench_device(args) -> str:
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device not in (None, "cpu") and not (args.device.startswith("cuda") and torch.cuda.is_available()):
        raise ValueError(f"--device takes cpu, or cuda where CUDA works; got {args.device!r}")
    return args.device or ("cuda" if torch.cuda.is_available() else "cpu")


def _bench_network(args) -> int:
    from msff.study.bench import bench_network, network_case, training_frames

    case = network_case(
        args.method, args.variant, device=_bench_device(args), size=args.size, batch=args.batch,
        profile=args.profile, precision=args.precision, compiled=args.compile,
    )  # fmt: skip
    frames = training_frames(case) if args.bench == "train" and args.profile else None
    return _show_bench(bench_network(args.bench, case, args.seconds, frames), args.json)


def _bench_data(args) -> int:
    from msff.data.crops import AugmentConfig
    from msff.study.bench import bench_data, study_frames

    args.device = _bench_device(args)
    study = _study(args)
    frames = study_frames(study, study.profile.data.datasets[0], "images", AugmentConfig())
    report = bench_data(frames, args.batch, args.device, args.seconds) | {"profile": study.profile.name}
    return _show_bench(report, args.json)


def _bench_render(args) -> int:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else torch's profiler writes its own log to stderr
    from msff.study.bench_render import bench_render

    return _show_bench(bench_render(args.size, args.batch, _bench_device(args), args.seconds), args.json)


def _show_bench(report: dict, as_json: bool) -> int:
    from msff.study.bench_table import bench_text

    print(json.dumps(report, indent=1) if as_json else bench_text(report))
    return 0


# demo


def _add_demo(commands) -> None:
    group = _group(commands, "demo", "The demonstration network in results/demo, which `msff predict` uses.")
    train = _command(
        group, "train", "Train it on both stand-ins of a profile, measure and store it; resumable.", _demo_train
    )
    _add_profile(train)
    train.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")


def _demo_train(args) -> int:
    from tqdm import tqdm

    from msff.study.demo import load_demo
    from msff.study.demo_training import train_demo

    study = _study(args)
    with tqdm(desc="training", unit="step", disable=None) as bar:

        def show(epoch: int, epochs: int, step: int, steps: int, loss: float) -> None:
            bar.total = epochs * steps
            bar.set_postfix(epoch=f"{epoch}/{epochs}", loss=f"{loss:.3g}", refresh=False)
            bar.update((epoch - 1) * steps + step - bar.n)

        folder = train_demo(study, show)
    demo = load_demo(folder)
    print(f"{folder}: {demo.trained}. {demo.expected}")
    return 0


# predict


def _add_predict(commands) -> None:
    text = "Hand pose in photos or in a video with a trained network: pictures and JSON."
    predict = _command(commands, "predict", text, _predict)
    predict.add_argument("input", type=Path, help="a photo, a folder of photos, or a video")
    predict.add_argument(
        "--checkpoint", type=Path,
        help="of a run, written by `msff train` under data/checkpoints (default: the demonstration network)",
    )  # fmt: skip
    boxes = predict.add_mutually_exclusive_group()
    boxes.add_argument("--box", help="x,y,w,h of the hand or hands in px (default: the whole picture)")
    boxes.add_argument("--boxes", type=Path, help='of a folder: JSON of file name: [x, y, w, h], as {"a.jpg": [...]}')
    predict.add_argument("--focal", type=_focal, help="focal length in px (default: the longer side of the picture)")
    predict.add_argument("--out", type=Path, help="folder for what is written (default: beside the input)")


def _focal(text: str) -> float:
    """An argument in px above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a focal length in px above 0, got {text!r}")
    return value


def _predict(args) -> int:
    from msff.report.predict import predict_folder, predict_photo, read_boxes
    from msff.report.predict_video import VIDEO_SUFFIXES, predict_video
    from msff.report.predictor import demo_predictor, run_predictor

    box, folder = _box(args.box), args.input.is_dir()
    if folder and box:
        raise ValueError("--box is of one photo or video; for a folder name a JSON file with --boxes")
    if args.boxes and not folder:
        raise ValueError(f"--boxes is of a folder of photos, and {args.input} is none: use --box x,y,w,h")
    if not args.input.exists():
        raise FileNotFoundError(f"{args.input} does not exist: name a photo, a folder of photos or a video")
    if args.out and args.out.exists() and not args.out.is_dir():
        raise NotADirectoryError(f"{args.out} is no folder: --out names one, which is made if it is not there")
    boxes = read_boxes(args.boxes) if args.boxes else {}
    predictor = run_predictor(args.checkpoint) if args.checkpoint else demo_predictor()
    print(predictor.statement)
    failed: list[str] = []
    if folder:
        written, failed = predict_folder(args.input, predictor, boxes, args.focal, args.out)
    else:
        one = predict_video if args.input.suffix.lower() in VIDEO_SUFFIXES else predict_photo
        written = one(args.input, predictor, box, args.focal, args.out)
    for path in written:
        print(path)
    for message in failed:
        print(f"msff: {message}", file=sys.stderr)
    return 1 if failed else 0


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    """x,y,w,h; ValueError if it is something else."""
    from msff.report.predict import is_box

    if text is None:
        return None
    box = tuple(_number(part) for part in text.split(","))
    if not is_box(box):
        raise ValueError(f"--box takes x,y,w,h in px with positive w and h, got {text!r}")
    return box


if __name__ == "__main__":
    sys.exit(main())
