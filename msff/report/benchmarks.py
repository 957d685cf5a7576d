"""A benchmark's report as text, and stored reports as a table."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

PAPERS_OWN = "bench"  # stands for a profile where the paper's network is measured


def bench_text(report: dict) -> str:
    """Return what was measured and where, then the figures of both implementations side by side."""
    facts = [f"{key} {value}" for key, value in report.items() if isinstance(value, (str, int))]
    columns = {"fast": report} | {name: report[name] for name in ("reference", "ratio") if name in report}
    figures = {name: {k: v for k, v in column.items() if isinstance(v, float)} for name, column in columns.items()}
    parts = [f"{', '.join(facts)}, torch {_torch(report)}", _text(pd.DataFrame(figures))]
    if report["bench"] == "render":
        parts += ["Each stage, without a stage inside it:", _text(pd.DataFrame(report["stages"]).T.astype(float))]
    elif "stages" in report:
        parts += ["Share of a step, %:", pd.Series(report["stages"]).to_string(float_format="{:.4g}".format)]
    return "\n\n".join(parts)


def _text(table: pd.DataFrame) -> str:
    return table.to_string(float_format="{:.4g}".format, na_rep="")


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
