"""A benchmark's report as text."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

PAPERS_OWN = "bench"  # stands for a profile where the paper's network is measured
_ROWS = (
    ("images_per_s", "images/s", "{:.2f}"),
    ("step_s", "median step, s", "{:.4f}"),
    ("steps", "steps", "{}"),
    ("peak_mib", "peak memory, MiB", "{:.0f}"),
    ("gmac_per_s", "GMAC/s", "{:.1f}"),
    ("percent_of_peak", "of the matrix peak, %", "{:.1f}"),
    ("images_per_s_with_data", "images/s with data", "{:.2f}"),
)
_HEAD = ("variant", "phase", "profile", "data", "images", "precision", "compile")


def bench_text(report: dict) -> str:
    """What was measured on what, then the figures beside each other."""
    return "\n".join(_render(report) if report["bench"] == "render" else _compared(report))


def bench_rows(reports: Iterable[dict]) -> pd.DataFrame:
    """One row per report: what was measured, its rate, and where it was compared the reference's and the ratios."""

    def of(report: dict, *keys: str, form: str) -> str:
        for key in keys:
            report = report.get(key, {})
        return form.format(report) if report != {} else ""

    rows = [
        {
            "measured": " ".join(str(r[key]) for key in ("bench", "method") if key in r),
            "of": f"{r['size']} px, batch {r['batch']}" + (f", {_whose(r['profile'])}" if "profile" in r else ""),
            "precision": r.get("precision", ""),
            "images/s": f"{r['images_per_s']:.1f}",
            "reference": of(r, "reference", "images_per_s", form="{:.1f}"),
            "ratio": of(r, "ratio", "images_per_s", form="{:.2f}"),
            "memory ratio": of(r, "ratio", "peak_mib", form="{:.2f}"),
            "of the matrix peak, %": of(r, "percent_of_peak", form="{:.0f}"),
            "data in a step, %": of(r, "stages", "data", form="{:.1f}"),
            "threads": r["threads"],
            "machine": f"{r['hardware']}, torch {r['versions']['torch']}",
        }
        for r in reports
    ]
    return pd.DataFrame(rows)


def _whose(profile: str) -> str:
    return "the paper's network" if profile == PAPERS_OWN else f"profile `{profile}`"


def _head(report: dict) -> list[str]:
    what = " ".join(str(report[key]) for key in ("bench", "method") if key in report)
    facts = [f"{key} {report[key]}" for key in _HEAD if key in report]
    where = (
        f"{report['hardware']}, {report['device']}, {report['threads']} threads, torch {report['versions']['torch']}"
    )
    return [", ".join([what, f"{report['size']} px", f"batch {report['batch']}", *facts]), where]


def _compared(report: dict) -> list[str]:
    reference, ratio = report["reference"], report["ratio"]
    lines = [*_head(report), "", f"{'':24}{'fast':>12}{'reference':>12}{'ratio':>8}"]
    for key, label, form in _ROWS:
        if key in report:
            other = form.format(reference[key]) if key in reference else ""
            times = f"{ratio[key]:.2f}" if key in ratio else ""
            lines.append(f"{label:24}{form.format(report[key]):>12}{other:>12}{times:>8}")
    if "stages" in report:
        lines += ["", f"{'share of a step, %':24}{'fast':>12}{'reference':>12}"]
        for stage, percent in sorted(report["stages"].items(), key=_order):
            other = reference["stages"].get(stage)
            lines.append(f"{stage:24}{percent:12.1f}" + ("" if other is None else f"{other:12.1f}"))
    if "peak_gmac_per_s" in report:
        peaks = ", ".join(f"{precision} {value:.0f}" for precision, value in report["peak_gmac_per_s"].items())
        lines += ["", f"matrix products reach, GMAC/s: {peaks}"]
        costs = f"{report['parameters'] / 1e6:.2f} million parameters; GMAC per image: forward "
        lines += [costs + f"{report['gmac_forward']:.3f}, whole step {report['gmac_per_image']:.3f}"]
    return lines


def _order(stage: tuple[str, float]) -> int:
    known = ("data", "forward", "decode", "lift", "loss", "backward", "optimiser")
    return known.index(stage[0])


def _render(report: dict) -> list[str]:
    lines = [*_head(report), ""]
    lines += [f"{label:24}{form.format(report[key]):>12}" for key, label, form in _ROWS if key in report]
    lines += ["", f"Time of each stage ({report['stage_clock']}), without that of a stage inside it:"]
    lines.append(f"{'stage':12}{'ms per image':>14}{'share':>9}")
    for name, values in report["stages"].items():
        ms, percent, host = values["ms_per_image"], values["percent"], values.get("host_percent")
        shown = f"{'not marked':>14}{'':>9}" if percent is None else f"{ms:14.3f}{percent:8.1f}%"
        lines.append(f"{name:12}{shown}" + ("" if host is None else f"   host {host:.1f}%"))
    return lines
