"""`msff bench`: speed and memory."""

from __future__ import annotations

import argparse
import json
import os

from msff.accelerator import has_cuda, own_device
from msff.cli import common


def add_bench(commands) -> None:
    add = common.group(commands, "bench", "Measure speed and memory, beside a plain reference.")
    for name, text, run in (
        ("train", "Measure a full training step of a network, in its most expensive phase.", _bench_network),
        ("infer", "Measure the forward pass of a network, and the decoding and lifting of a volume.", _bench_network),
        ("data", "Measure augmented crops of a profile's training images.", _bench_data),
        ("render", "Measure the stand-in's renderer.", _bench_render),
    ):
        parser = add(name, text, run, as_json=True)
        network = name in ("train", "infer")
        parser.set_defaults(bench=name)
        own = "the profile's, else 16" if network else "16"
        parser.add_argument("--batch", type=common.count, default=None if network else 16,
                            help=f"images in a step (default: {own})")  # fmt: skip
        parser.add_argument("--device", help="cpu or cuda (default: cuda if available)")
        parser.add_argument("--seconds", type=common.duration, default=10.0, help="how long to measure")
        parser.add_argument("--threads", type=common.count, help="torch threads on the CPU")
        if name == "data":
            common.add_profile(parser, "smoke")
        if name == "render":
            parser.add_argument("--size", type=common.count, default=256, help="frame size in px")
        if network:
            _add_bench_network(parser)


def _add_bench_network(parser) -> None:
    parser.add_argument("--method", default="msff", help="any method with a network (default: msff)")
    parser.add_argument("--variant", help="default: the one in the tables, for chen the one without masks")
    parser.add_argument("--size", type=common.count, help="crop size in px of the paper's network (default: 256)")
    parser.add_argument("--profile", help="measure this profile's network, with its images if they are on disk")
    parser.add_argument(
        "--precision", choices=("float32", "bf16"),
        help="of the fast implementation (default: the profile's, else bf16 where the device multiplies it natively)",
    )  # fmt: skip
    parser.add_argument(
        "--compile", action=argparse.BooleanOptionalAction,
        help="compile the fast implementation (default: as the profile, else on CUDA)",
    )  # fmt: skip


def _bench_device(args) -> str:
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device not in (None, "cpu") and not (args.device.startswith("cuda") and has_cuda()):
        raise ValueError(f"--device takes cpu, or cuda where CUDA works; got {args.device!r}")
    return own_device(args.device)


def _bench_network(args) -> None:
    from msff.bench.networks import bench_network, network_case, training_frames

    case = network_case(
        args.method, args.variant, device=_bench_device(args), size=args.size, batch=args.batch,
        profile=args.profile, precision=args.precision, compiled=args.compile,
    )  # fmt: skip
    frames = training_frames(case) if args.bench == "train" and args.profile else None
    _show_bench(bench_network(args.bench, case, args.seconds, frames), args.json)


def _bench_data(args) -> None:
    from msff.bench.crops import bench_data, study_frames
    from msff.settings.training import AugmentConfig

    args.device = _bench_device(args)
    workspace = common.open_workspace(args)
    frames = study_frames(workspace, workspace.profile.data.datasets[0], "images", AugmentConfig())
    report = bench_data(frames, args.batch, args.device, args.seconds) | {"profile": workspace.profile.name}
    _show_bench(report, args.json)


def _bench_render(args) -> None:
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else torch's profiler writes its own log to stderr
    from msff.bench.render import bench_render

    _show_bench(bench_render(args.size, args.batch, _bench_device(args), args.seconds), args.json)


def _show_bench(report: dict, as_json: bool) -> None:
    from msff.report.benchmarks import bench_text

    print(json.dumps(report, indent=1) if as_json else bench_text(report))
