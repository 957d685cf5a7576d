"""A benchmark's report as text, and stored reports as a table."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from msff.models.registry import METHODS

MEASURED = {"train": "training step", "infer": "prediction", "data": "crops", "render": "rendering"}
"""What each benchmark measures, by its name in the command."""
PAPERS_OWN = "bench"  # stands for a profile where the paper's network is measured


def bench_text(report: dict) -> str:
    """Return what was measured and where, then the figures of both implementations side by side."""
    facts = [f"{key} {value}" for key, value in report.items() if isinstance(value, (str, int))]
    columns = {"fast": report} | {name: report[name] for name in ("reference", "ratio") if name in report}
    figures = {name: {k: v for k, v in column.items() if isinstance(v, float)} for name, column in columns.items()}
    parts = [f"{', '.join(facts)}, torch {report['versions']['torch']}", _text(pd.DataFrame(figures))]
    if report["bench"] == "render":
        parts += ["Each stage, without a stage inside it:", _text(pd.DataFrame(report["stages"]).T.astype(float))]
    elif "stages" in report:
        parts += ["Share of a step, %:", pd.Series(report["stages"]).to_string(float_format="{:.4g}".format)]
    return "\n\n".join(parts)


def _text(table: pd.DataFrame) -> str:
    return table.to_string(float_format="{:.4g}".format, na_rep="")


def bench_rows(reports: Iterable[dict]) -> pd.DataFrame:
    """Return one row per report: what was measured, its rate and, if compared, the reference's rate and the ratios."""
    rows = []
    for r in reports:
        whose = "the paper's network" if r.get("profile") == PAPERS_OWN else f"profile `{r.get('profile')}`"
        of = [
            f"{r['size']} px", f"batch {r['batch']}", whose if "profile" in r else "", r.get("precision", ""),
            f"{r['threads']} thread{'s' * (r['threads'] > 1)}",
        ]  # fmt: skip
        ratios = [f"{r['ratio'][key]:.2f}" for key in ("images_per_s", "peak_mib") if key in r.get("ratio", ())]
        network = METHODS[r["method"]].label if "method" in r else ""
        rows.append({
            "measured": ", ".join(filter(None, (MEASURED[r["bench"]], network))),
            "of": ", ".join(filter(None, of)),
            "images/s": _rate(r["images_per_s"]),
            "reference": _rate(r["reference"]["images_per_s"]) if "reference" in r else "",
            "ratio of rates / of peaks": " / ".join(ratios),
            "of the matrix peak, %": f"{r['percent_of_peak']:.0f}" if "percent_of_peak" in r else "",
            "data in a step, %": f"{r['stages']['data']:.0f}" if "data" in r.get("stages", ()) else "",
            "machine": f"{r['hardware']}, torch {r['versions']['torch']}",
        })  # fmt: skip
    return pd.DataFrame(rows)


def _rate(images_per_s: float) -> str:
    return f"{images_per_s:.1f}" if images_per_s < 100 else f"{images_per_s:,.0f}"
