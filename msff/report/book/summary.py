"""The page *What the study says*, the abstract and the report's results, from the stored tables.

`msff.report.book.questions` has the questions and the sentences. A sentence is shown once all that it quotes is known.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from msff.data.datasets import DATASETS
from msff.evaluation.inference_statistics import OPEN
from msff.models.registry import network_name
from msff.report.book import questions
from msff.report.book.questions import SCRATCH, quotes
from msff.report.claims import decide_both
from msff.report.comparisons import ALTERNATIVES
from msff.report.contrasts import GAUSSIAN_LEAD, LEAD, OTHERS, by_predicted_handedness, find_all, row_of, versus
from msff.report.findings import ONE_SEED, Finding, find
from msff.report.formatting import WAITING, contained, markdown, staged_figure
from msff.report.front_figure import data_words, forest_alt, forest_figure
from msff.report.results import Results
from msff.report.robustness import MEASURES, TUNED_GAUSSIAN, rate_table
from msff.report.rows import RANKING_METRIC
from msff.report.verdict_cards import HOLM
from msff.study.durations import Durations
from msff.study.grid import in_order
from msff.study.pages import evidence_stores
from msff.study.profiles import get_profile
from msff.study.project import Project

NOT_SHOWN = "**Not shown: the runs are missing.**"


@dataclass(frozen=True)
class Facts:
    """Texts by the name that a sentence or a line quotes, and verdicts by the name of what they decide."""

    texts: Mapping[str, str]
    verdicts: Mapping[str, str]

    def fill(self, sentence: questions.Sentence) -> str:
        """Return the first wording that quotes only what is known; "" without one."""
        known = (words for words in sentence if self.texts.keys() >= set(quotes(words)))
        return next((words.format_map(self.texts) for words in known), "")

    def by_verdict(self, subjects: Mapping[str, str]) -> dict[str, list[str]]:
        """Return the subjects by the verdict on their contrasts."""
        groups: dict[str, list[str]] = {}
        for subject, name in subjects.items():
            if name in self.verdicts:
                groups.setdefault(self.verdicts[name], []).append(subject)
        return groups

    def judged(self, clauses: questions.Judged) -> list[str]:
        """Return the clauses on contrasts with a verdict, which may quote their {value} and {size}."""
        known = [(words[self.verdicts[name]], name) for words, name in clauses if name in self.verdicts]
        return [words.format(value=self.texts[name], size=self.texts[f"size of {name}"]) for words, name in known]

    def clause(self, words: str, subjects: Sequence[str]) -> str:
        """Return a clause that names its {subjects} as "a, b and c", with verbs in {s}, {is} and {has}."""
        many = len(subjects) > 1
        listed = " and ".join(filter(None, (", ".join(subjects[:-1]), subjects[-1])))
        forms = {"s": "" if many else "s", "is": "are" if many else "is", "has": "have" if many else "has"}
        return words.format_map({**self.texts, **forms, "subjects": listed})


_ORDERS = {"photos order": (LEAD, "full"), "photos order, Gaussian": (GAUSSIAN_LEAD, "gaussian")}
"""Whether two networks have on photographs the order that a contrast on rendered hands gives them: fact -> contrast and
the variant of both."""


def gather(results: Results, contrasts: pd.DataFrame, photos: pd.DataFrame, brief: bool = False) -> Facts:
    """Return what sentences quote from `contrasts_table` and `photo_errors`, shorter if ``brief``, for the abstract."""
    known = contrasts[contrasts["estimate_mm"].notna()].set_index("contrast", drop=False)
    texts = {row.contrast: quoted(row, brief) for row in known.itertuples()}
    texts |= {f"size of {row.contrast}": _size(row) for row in known.itertuples()}
    verdicts = dict(known["verdict"])
    texts |= {"profile": f"`{results.profile}`", "data": data_words(results)} | _rates(results, brief)
    if DATASETS[results.dataset("rhd")].is_standin:
        texts["stand-in"] = "rendered hands"
        texts["untested"] = "RHD is untested."
    if get_profile(results.profile).rates:
        texts["tuned"] = "both tuned"
    if "rates" in texts:
        verdicts["rates"] = "moved"
    own = photos[photos["profile"].isin((results.profile, "")) & (photos["metric"] == RANKING_METRIC)]
    own = own[~own["trained_on"].str.contains("InterHand")].set_index("method")
    for row in own.itertuples():
        texts[f"photos {row.Index}"] = f"{row.value:.1f}" + ("" if brief else f" mm [{row.low:.1f}, {row.high:.1f}]")
    if LEAD in known.index:
        texts["margin"] = f"{known['margin_mm'][LEAD]:.2f} mm"
    for name, (contrast, variant) in _ORDERS.items():
        msff, internet = network_name("msff", variant), network_name("internet", variant)
        if contrast in known.index and {msff, internet} <= set(own.index):
            texts["photos"] = str(own["photos"].iloc[0])
            same = (own["value"][msff] > own["value"][internet]) == (known["estimate_mm"][contrast] > 0)
            texts[name] = verdicts[name] = "same" if same else "opposite"
    return Facts(texts, verdicts)


def quoted(row, brief: bool) -> str:
    """Return a contrast as "+1.49 mm [+0.94, +2.05] (worse)", with ``brief`` as "+1.49 [+0.94, +2.05]"."""
    one = ONE_SEED in row.reason
    if brief:
        bounds = f" [{row.low:+.2f}, {row.high:+.2f}{_one_seed(row)}]"
        return f"{row.estimate_mm:+.2f}" + ((", one seed" if one else "") if np.isnan(row.low) else bounds)
    interval = "" if np.isnan(row.low) else f" [{row.low:+.2f}, {row.high:+.2f}]"
    verdict, why = row.verdict, ""
    if np.isnan(row.low):
        verdict = "one seed" if one else row.reason
    elif adjusted := HOLM.search(row.reason):
        why = f": {adjusted[0]}"
    elif verdict == OPEN and row.low < 0 < row.high:
        why = ": either sign remains possible"
    elif "by less than the margin" in row.reason:
        why = ", but by less than the margin"
    return f"{row.estimate_mm:+.2f} mm{interval} ({verdict}{why})"


def _size(row) -> str:
    """Return a contrast without its sign, as "1.49 mm [0.94, 2.05]", with "one seed" if it has no second."""
    low, high = sorted((abs(row.low), abs(row.high)))
    return f"{abs(row.estimate_mm):.2f} mm" + ("" if np.isnan(row.low) else f" [{low:.2f}, {high:.2f}{_one_seed(row)}]")


def _one_seed(row) -> str:
    """Return a note for an interval that rests on one seed and the spread of the other networks."""
    return ", one seed" if row.reason.startswith("seed ") else ""


def _rates(results: Results, brief: bool) -> dict[str, str]:
    """Return how the learning rate moves MS-FF - InterNet on held-out images, and the difference at the best rates.

    Empty where no rate was tuned.
    """
    tables = {"": rate_table(results.store), ", Gaussian": rate_table(results.store, TUNED_GAUSSIAN)}
    tables = {target: table.dropna(subset=LEAD) for target, table in tables.items()}
    best = {  # the last line
        f"rate best{target}": f"{table[LEAD].iloc[-1]:+.2f} mm" for target, table in tables.items() if len(table)
    }
    table = tables[""].iloc[:-1].sort_values(LEAD)
    if len(table) < 2:
        return best
    ends = table.iloc[[0, -1]]
    either = {"either order": "either order"} if ends[LEAD].prod() < 0 else {}
    low, high = (
        f"{lead:+.2f}" if brief else f"{lead:+.2f} mm at rate {rate}"
        for lead, rate in zip(ends[LEAD], ends["learning_rate"], strict=True)
    )
    return best | either | {"rate low": low, "rate high": high, "rates": f"{np.ptp(ends[LEAD]):.2f} mm"}


def findings_of(results: Results) -> dict[str, Finding]:
    """Return every finding that the page may quote by the name of its contrast, the registered ones first.

    Against a single-hand method the verdict must also hold by predicted handedness.
    """
    found = dict(find_all(results))
    for contrast in (versus("msff", method) for method in OTHERS):
        both = found[contrast.name], found[by_predicted_handedness(contrast).name]
        verdict, reason = decide_both(*both)
        found[contrast.name] = replace(both[0], verdict=verdict, reason=reason)
    others = [contrast for *_, contrast in ALTERNATIVES if contrast.name not in found]
    return found | {contrast.name: find(results, contrast) for contrast in others}


def rows_of(results: Results, findings: Mapping[str, Finding]) -> pd.DataFrame:
    """Return the rows of the findings, and those that the page quotes from networks without ImageNet weights."""
    rows = [row_of(finding) for finding in findings.values()]
    asked = {name.removeprefix(SCRATCH) for name in _quoted_names() if name.startswith(SCRATCH)}
    for store in evidence_stores(results.store):
        if store.profile == SCRATCH.strip() != results.profile and store.runs():
            scratch = Results(store)
            others = [row_of(find(scratch, findings[name].contrast)) for name in asked]
            rows += [row | {"contrast": f"{SCRATCH}{row['contrast']}"} for row in others]
    return pd.DataFrame(rows)


def _quoted_names() -> list[str]:
    return [name for question in questions.QUESTIONS for name in question.lines.values()]


# The texts


def abstract(facts: Facts) -> str:
    """Return the abstract of ``brief`` facts, at most 150 words."""
    return f"{facts.fill(questions.OPENING)} {results_in_words(facts)}"


def results_in_words(facts: Facts) -> str:
    """Return the results of the abstract: the verdicts with their numbers, and what qualifies them."""
    in_bold = bold(facts.judged(questions.IN_BOLD)) or NOT_SHOWN
    modules = ", ".join(facts.judged(questions.OF_MODULES))
    modules = _sentence(modules) or facts.fill(questions.SINGLE_MODULES)
    together = _sentence("; ".join(facts.judged(questions.OF_ALL_THREE)))
    return " ".join(filter(None, (in_bold, modules, together, *map(facts.fill, questions.QUALIFIED))))


def _sentence(words: str) -> str:
    """Return the words with a capital letter and a full stop; "" without words."""
    return words and f"{words[0].upper()}{words[1:]}."


def short_answer(facts: Facts) -> str:
    """Return the verdicts on the modules and on MS-FF against InterNet as one bold sentence."""
    modules = facts.by_verdict(questions.MAIN_EFFECTS)
    does = questions.DOES
    single = [facts.clause(does[verdict], names) for verdict, names in modules.items() if verdict in does]
    return bold([*single, *facts.judged(questions.ANSWER)]) or NOT_SHOWN


def summary_fragment(results: Results, photos: pd.DataFrame) -> str:
    """Return the figure, and each question with its answer and its numbers, as Markdown."""
    findings = findings_of(results)
    facts = gather(results, rows_of(results, findings), photos)
    caption = (
        "Differences between mean errors, with 95 % intervals over seeds and images. Blue: better; orange: worse. "
        "Grey: the margin, the paper's own lead as a share of the reference's error. Above the line: registered "
        f"before their runs. Test images: {data_words(results)}, profile `{results.profile}`."
    )
    figure = staged_figure("summary", forest_alt(summary_findings(findings).values()), caption, "462px")
    answers = [answered(facts, findings, question) for question in questions.QUESTIONS]
    return "\n\n".join([figure, *answers, missing_section(Project(results.profile, results.store.root.parents[1]))])


def missing_section(project: Project) -> str:
    """Return the trainings that the grid lacks, block by block in the order of the queue, with their core hours."""
    profile, durations = project.profile, Durations(project)
    rows, counted = [], set()
    for block in profile.grid:
        block_alone = in_order(replace(profile, grid=(block,)))
        missing = [e for e in block_alone if e not in counted and project.store.get(e) is None]
        if missing:
            networks = "; ".join(dict.fromkeys(network_name(e.method, e.variant) for e in missing))
            rows.append((block.purpose, len(missing), sum(map(durations.seconds, missing)) / 3600, networks))
            counted.update(missing)
    if not rows:
        return ""
    rows.append(("together", *(sum(row[i] for row in rows) for i in (1, 2)), ""))
    table = pd.DataFrame(rows, columns=["comparison", "trainings", "core hours", "networks"])
    table["core hours"] = table["core hours"].map("{:.1f}".format)
    return (
        "## What is missing\n\nIn order of priority; the hours are estimated from stored runs.\n\n"
        f"{contained(markdown(table), 'msff-lines')}\n\n"
        f"`.venv/bin/msff study train --profile {profile.name}` makes them, and resumes after an interruption."
    )


def answered(facts: Facts, findings: Mapping[str, Finding], question: questions.Question) -> str:
    """Return a question with its bold answer, its links, a line per number, and the names of what waits for runs."""
    lines = [
        (label, facts.texts.get(name) or (_short(findings[name].reason) if name in findings else "no run yet"))
        for label, name in question.lines.items()
        if name in facts.texts or not name.startswith(SCRATCH)
    ]
    links = " and ".join(f"[{words}]({page})" for words, page in question.pages.items())
    known = [(label, text) for label, text in lines if not text.startswith(WAITING)]
    table = markdown(pd.DataFrame(known, columns=["contrast", "mm, 95 % interval and verdict"]))
    waiting = "; ".join(label for label, text in lines if text.startswith(WAITING))
    groups = facts.by_verdict(question.subjects)
    answer = bold(facts.clause(question.words[verdict], subjects) for verdict, subjects in groups.items())
    answer = answer or "Open, since runs are missing."
    parts = [f"## {question.heading}", f"{answer} See {links}.".strip()]
    parts += [contained(table, "msff-lines")] if known else []
    return "\n\n".join([*parts, *([f"Not measured yet, since runs are missing: {waiting}."] if waiting else [])])


def _short(reason: str) -> str:
    """Return why a contrast has no number, without the end of a long list of runs; `contrasts.csv` has it whole."""
    return textwrap.shorten(reason, 64, placeholder=" ...")


def bold(clauses: Iterable[str]) -> str:
    """Return the clauses as one bold sentence; "" without any."""
    text = "; ".join(clauses)
    return text and f"**{_sentence(text)}**"


def summary_findings(findings: Mapping[str, Finding]) -> dict[str, Finding]:
    """Return the registered findings, then those with an estimate that the page quotes, by the registered measure."""
    others = tuple(filter(None, MEASURES.values()))  # which *How firm is the verdict?* draws
    quoted = (name for name in _quoted_names() if name in findings and not name.endswith(others))
    known = [name for name in quoted if findings[name].known]
    registered = [name for name, finding in findings.items() if finding.contrast.registered]
    return {name: findings[name] for name in (*registered, *known)}


def summary_figure(results: Results) -> Figure:
    """Draw what the page quotes as a forest plot, the registered contrasts first, by the names of its tables."""
    labels = {name: label for question in reversed(questions.QUESTIONS) for label, name in question.lines.items()}
    found = {labels.get(name, name): finding for name, finding in summary_findings(findings_of(results)).items()}
    return forest_figure(found, f"{data_words(results)}, profile {results.profile}")
