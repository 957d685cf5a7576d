"""A benchmark's report as text, and stored reports as a table."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

PAPERS_OWN = "bench"  # stands for a profile where the paper's network is measured
_HEAD = ("variant", "phase", "profile", "data", "images", "precision", "compile")
_FIGURES = {
    "images_per_s": "images/s", "step_s": "median step, s", "steps": "steps", "peak_mib": "peak memory, MiB",
    "gmac_per_s": "GMAC/s", "percent_of_peak": "of the matrix peak, %", "images_per_s_with_data": "images/s with data",
}  # fmt: skip


def bench_text(report: dict) -> str:
    """Return what was measured and where, then the figures of both implementations side by side."""
    facts = [f"{key} {report[key]}" for key in _HEAD if key in report]
    where = [report["hardware"], report["device"], f"{report['threads']} threads", f"torch {_torch(report)}"]
    columns = {"fast": report} | {name: report[name] for name in ("reference", "ratio") if name in report}
    figures = pd.DataFrame(columns, index=[key for key in _FIGURES if key in report]).rename(index=_FIGURES)
    parts = [", ".join([_what(report), f"{report['size']} px", f"batch {report['batch']}", *facts]), ", ".join(where)]
    parts += ["", _text(figures.astype(float))]
    if report["bench"] == "render":
        stages = pd.DataFrame(report["stages"]).T.astype(float)
        title = f"Time of each stage ({report['stage_clock']}), without that of a stage inside it:"
        parts += ["", title, _text(stages, "not marked")]
    elif "stages" in report:
        shares = {name: column["stages"] for name, column in columns.items() if "stages" in column}
        parts += ["", "Share of a step, %:", _text(pd.DataFrame(shares))]
    if "peak_gmac_per_s" in report:
        peaks = ", ".join(f"{precision} {value:.0f}" for precision, value in report["peak_gmac_per_s"].items())
        costs = f"{report['parameters'] / 1e6:.2f} million parameters; GMAC per image: forward "
        costs += f"{report['gmac_forward']:.3f}, whole step {report['gmac_per_image']:.3f}"
        parts += ["", f"matrix products reach, GMAC/s: {peaks}", costs]
    return "\n".join(parts)


def _text(table: pd.DataFrame, missing: str = "") -> str:
    return table.to_string(float_format="{:.4g}".format, na_rep=missing)


def bench_rows(reports: Iterable[dict]) -> pd.DataFrame:
    """Return one row per report: what was measured, its rate and, if compared, the reference's rate and the ratios."""

    def of(report: dict, *keys: str, form: str) -> str:
        for key in keys:
            report = report.get(key, {})
        return form.format(report) if report != {} else ""

    rows = [
        {
            "measured": _what(r),
            "of": ", ".join([
                f"{r['size']} px", f"batch {r['batch']}", *([_whose(r["profile"])] if "profile" in r else []),
                *([r["precision"]] if "precision" in r else []), f"{r['threads']} thread{'s' * (r['threads'] > 1)}",
            ]),
            "images/s": _rate(r["images_per_s"]),
            "reference": _rate(r["reference"]["images_per_s"]) if "reference" in r else "",
            "ratio": of(r, "ratio", "images_per_s", form="{:.2f}"),
            "memory ratio": of(r, "ratio", "peak_mib", form="{:.2f}"),
            "of the matrix peak, %": of(r, "percent_of_peak", form="{:.0f}"),
            "data in a step, %": of(r, "stages", "data", form="{:.0f}"),
            "machine": f"{r['hardware']}, torch {_torch(r)}",
        }
        for r in reports
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    ratios = [" / ".join(filter(None, pair)) for pair in zip(table["ratio"], table.pop("memory ratio"), strict=True)]
    return table.assign(ratio=ratios).rename(columns={"ratio": "ratio of rates / of peaks"})


def _rate(images_per_s: float) -> str:
    return f"{images_per_s:.1f}" if images_per_s < 100 else f"{images_per_s:,.0f}"


def _what(report: dict) -> str:
    return " ".join(report[key] for key in ("bench", "method") if key in report)


def _whose(profile: str) -> str:
    return "the paper's network" if profile == PAPERS_OWN else f"profile `{profile}`"


def _torch(report: dict) -> str:
    return report["versions"]["torch"]
