"""`msff demo` and `msff predict`."""

from __future__ import annotations

import sys
from pathlib import Path

from msff.cli import common
from msff.errors import printable


def add_demo(commands) -> None:
    add = common.group(commands, "demo", "The demonstration network in results/demo, the default of `msff predict`.")
    train = add(
        "train", "Train it on both stand-ins of a profile, measure and store it; resumable.", _demo_train, resumes=True
    )
    common.add_profile(train)
    train.add_argument("--device", help="cpu or cuda (default: cuda if there is one)")


def _demo_train(args) -> None:
    from tqdm import tqdm

    from msff.demo.network import load_demo
    from msff.demo.training import train_demo

    workspace = common.open_workspace(args)
    with tqdm(desc="training", unit="step", disable=None) as bar:
        folder = train_demo(workspace, common.progress(bar))
    demo = load_demo(folder)
    print(f"{folder}: {demo.trained}. {demo.expected}")


def add_predict(commands) -> None:
    text = "Hand pose in photos or in a video with a trained network: pictures and JSON."
    predict = common.command(commands, "predict", text, _predict)
    predict.add_argument("input", type=Path, help="a photo, a folder of photos, or a video")
    predict.add_argument(
        "--checkpoint", type=Path,
        help="a run's checkpoint, written by `msff train` under data/checkpoints (default: the demonstration network)",
    )  # fmt: skip
    boxes = predict.add_mutually_exclusive_group()
    boxes.add_argument("--box", help="x,y,w,h of the hand or hands in px (default: the whole picture)")
    boxes.add_argument("--boxes", type=Path, help='for a folder: JSON of file name: [x, y, w, h], as {"a.jpg": [...]}')
    predict.add_argument(
        "--focal", type=common.focal, help="focal length in px (default: the longer side of the picture)"
    )
    predict.add_argument("--out", type=Path, help="folder for the written files (default: beside the input)")


def _predict(args) -> int:
    from msff.accelerator import own_device
    from msff.demo.network import demo_folder, load_demo, load_run
    from msff.demo.photos import is_box, predict_folder, predict_photo, read_boxes
    from msff.demo.videos import VIDEO_SUFFIXES, predict_video
    from msff.study.project import find_root

    box, folder = None, args.input.is_dir()
    if args.box is not None:
        box = tuple(map(common.number, args.box.split(",")))
        if not is_box(box):
            raise ValueError(f"--box takes x,y,w,h in px with positive w and h, got {args.box!r}")
    if folder and box:
        raise ValueError("--box is for one photo or video; for a folder name a JSON file with --boxes")
    if args.boxes and not folder:
        raise ValueError(f"--boxes is for a folder of photos, and {args.input} is not a folder: use --box x,y,w,h")
    if not args.input.exists():
        raise FileNotFoundError(f"{args.input} does not exist: name a photo, a folder of photos or a video")
    if not (folder or args.input.is_file()):
        raise ValueError(f"{args.input} is neither a file nor a folder: name a photo, a folder of photos or a video")
    if args.out and args.out.exists() and not args.out.is_dir():
        raise NotADirectoryError(f"{args.out} is not a folder: name a folder with --out, which is created if needed")
    boxes = read_boxes(args.boxes) if args.boxes else {}
    predictor = load_run(args.checkpoint) if args.checkpoint else load_demo(demo_folder(find_root()), own_device())
    print(*predictor.statements)
    failed: list[str] = []
    if folder:
        written, failed = predict_folder(args.input, predictor, boxes, args.focal, args.out)
    else:
        one = predict_video if args.input.suffix.lower() in VIDEO_SUFFIXES else predict_photo
        written = one(args.input, predictor, box, args.focal, args.out)
    for path in written:
        print(printable(path))
    for message in failed:
        print(f"msff: {printable(message)}", file=sys.stderr)
    return 1 if failed else 0
