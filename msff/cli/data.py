"""`msff data`: render the stand-in, draw and verify a dataset."""

from __future__ import annotations

import json
import os
from pathlib import Path

from msff.cli import common
from msff.errors import printable


def add_data(commands) -> None:
    add = common.group(commands, "data", "Render the stand-in, draw and verify a dataset.")
    make = add("make", "Render a stand-in dataset in its official on-disk format.", _data_make, resumes=True)
    make.add_argument("dataset", choices=("standin-rhd", "standin-interhand"))
    make.add_argument("--root", type=Path, required=True, help="folder to write")
    make.add_argument("--train", type=int, required=True, help="training images")
    make.add_argument("--test", type=int, required=True, help="test images")
    make.add_argument("--seed", type=int, default=0)
    make.add_argument("--size", type=int, help="frame width in px, 96 to 1024 (default: the official one, 320 or 512)")
    make.add_argument("--device", default="cpu", help="device that renders: cpu, or cuda if CUDA works (default: cpu)")
    sheet = add("sheet", "Draw a contact sheet of a dataset on disk.", _data_sheet)
    sheet.add_argument("dataset", help="rhd, interhand26m, standin-rhd, standin-interhand or realworld")
    sheet.add_argument("--root", type=Path, required=True, help="folder of the dataset")
    sheet.add_argument("--split", default="test", help="train, test, or val if there is one (default: test)")
    sheet.add_argument("--count", type=int, default=64, help="images (default: 64)")
    sheet.add_argument("--seed", type=int, default=0, help="seed of the choice of images")
    sheet.add_argument("--truth", action="store_true", help="with joints, bones, box, and RHD's mask and depth")
    sheet.add_argument("--out", type=Path, help=".png or .jpg to write (default: <dataset>-<split>[-truth].png)")
    verify = add("verify", "Recognise a dataset folder and check it.", _data_verify, as_json=True)
    verify.add_argument("path", type=Path)
    verify.add_argument("--full", action="store_true", help="decode every image, not a sample")


def _data_sheet(args) -> None:
    from msff.report.sheets import read_sheet, write_sheet

    out = args.out or Path(f"{args.dataset}-{args.split}{'-truth' if args.truth else ''}.png")
    sheet = read_sheet(args.dataset, args.root, args.split, args.count, args.seed)
    path, caption = write_sheet(sheet, out, args.truth), sheet.caption.replace("\n", "; ")
    print(f"{path}: {caption}")


def _data_make(args) -> None:
    from msff.standin.writers import MANIFEST, make

    before = os.path.isfile(args.root / MANIFEST)
    path = make(args.dataset, args.root, args.train, args.test, args.seed, args.size, device=args.device)
    done = "already there from the same request, left unchanged; `msff data verify` checks it" if before else "rendered"
    print(f"{args.dataset}: {args.train} training and {args.test} test images in {path}: {done}")


def _data_verify(args) -> int:
    from msff.data.verify import verify

    report = verify(args.path, full=args.full, progress=args.full and not args.json)
    print(json.dumps(report.to_dict(), indent=1) if args.json else printable(report))
    return 0 if report.ok else 1
