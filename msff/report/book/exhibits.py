"""What staging does to the figures and source lines of executed notebooks, see `msff.report.display`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from msff.report.display import SOURCE_MIME, described

EXECUTED = "/book/_executed"
"""Where pages are staged, as links see it."""


def stage_exhibits(folder: Path) -> None:
    """Rewrite the notebooks of a staged folder in place: alternatives of pictures, source lines, CSV files.

    Call it once the pages of runs are there, to which the source lines link.
    """
    for path in sorted(folder.rglob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = [part for cell in notebook["cells"] for part in _staged(cell, folder)]
        text = json.dumps(dict(notebook, cells=cells), indent=1, ensure_ascii=False)
        path.write_text(f"{text}\n", encoding="utf-8")


def _staged(cell: dict, folder: Path) -> list[dict]:
    """Return the cell with its picture's alternative, and the source lines among its outputs as cells after it."""
    if cell["cell_type"] != "code":
        return [cell]
    sources = [out["data"][SOURCE_MIME] for out in cell["outputs"] if SOURCE_MIME in out.get("data", {})]
    rest = [out for out in cell["outputs"] if SOURCE_MIME not in out.get("data", {})]
    alts = [out["metadata"].get("image/png", {}).get("alt") for out in rest if "image/png" in out.get("data", {})]
    metadata = cell["metadata"]
    if any(alts):  # one option per cell: all its pictures share it
        metadata = metadata | {"mystnb": metadata.get("mystnb", {}) | {"image": {"alt": " ".join(filter(None, alts))}}}
    lines = []
    for i, content in enumerate(sources):
        lines.append({"cell_type": "markdown", "id": f"{cell['id']}-source{i}", "metadata": {},
                      "source": source_markdown(content, _write_csv(content, folder), _page_of(folder))})  # fmt: skip
    return [dict(cell, outputs=rest, metadata=metadata), *lines]


def _write_csv(content: dict, folder: Path) -> str:
    """Write the numbers of a source line and return the link to them; "" if it has none."""
    if not content["csv"]:
        return ""
    path = folder / "csv" / content["profile"] / f"{content['name']}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content["csv"], encoding="utf-8")
    return f"{EXECUTED}/{path.relative_to(folder).as_posix()}"


def _page_of(folder: Path) -> Callable[[str, str], str]:
    """Return a function from profile and run id to the link to the run's page, "" if the book has none."""

    def page(profile: str, run_id: str) -> str:
        stem = run_id.replace("/", "--")
        for name in (f"larger/{profile}/runs/{stem}.md", f"runs/{stem}.md"):
            path = folder / name
            if path.exists() and f"Results of profile `{profile}`" in path.read_text(encoding="utf-8"):
                return f"{EXECUTED}/{name}"
        return ""

    return page


def source_markdown(content: dict, csv: str, page: Callable[[str, str], str]) -> str:
    """Return the source line in MyST: the runs in words, the CSV link, and folded the runs with hash and commit.

    ``content`` is that of `Source`, ``csv`` the path of the numbers or "", ``page`` a run's page by profile and run id.
    """
    profile, runs = content["profile"], content["runs"]
    parts = [f"**Source:** {described(profile, runs)}", f"made by `{content['drawn_by']}`"]
    parts += [f"{{download}}`{content['name']}.csv <{csv}>`"] if csv else []
    line = f"::::{{container}} msff-source\n{' · '.join(parts)}"
    if runs:
        rows = []
        for run in runs:
            link = page(profile, run["id"])
            named = f"[{run['id']}]({link})" if link else f"`{run['id']}`"
            rows.append(f"| {named} | `{run['config_hash']}` | `{run['commit'][:7]}` |")
        table = "\n".join(["| run | configuration | commit |", "|---|---|---|", *rows])
        line += f"\n\n:::{{dropdown}} Runs and configuration hashes\n{table}\n:::"
    return f"{line}\n::::\n"
