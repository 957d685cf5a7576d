"""The questions of the page *What the study says* and the sentences of the abstract, as data for `summary`."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import NamedTuple

from msff.evaluation.inference_statistics import BETTER, OPEN, SMALLER, WORSE
from msff.models.registry import network_name
from msff.report.comparisons import READING_WORDS, reading
from msff.report.contrasts import (
    ALONE,
    BARE_LEAD,
    GAUSSIAN_BARE_LEAD,
    GAUSSIAN_LEAD,
    GAUSSIAN_TOGETHER,
    GRM_FINGERTIPS,
    LEAD,
    LOM_OCCLUSION,
    MAIN,
    MODULES,
    NO_GRM_LEAD,
    NORM_GRM,
    NORM_LEAD,
    NORM_TOGETHER,
    OCCLUSION,
    OTHERS,
    OWN_TARGET_LEAD,
    TOGETHER,
    WHOLE,
    module_effects,
)
from msff.report.rows import LABELS

Sentence = tuple[str, ...]
"""Wordings that quote what is in braces; the first whose quotes all have a value is shown."""


class Question(NamedTuple):
    heading: str
    words: Mapping[str, str]  # verdict -> clause of the bold answer on its {subjects}, see `clause`; it may quote
    line: str  # of the table for each subject, in place of {}
    subjects: Mapping[str, str]  # -> the contrast, or another text, that gives its verdict
    adds: Mapping[str, str]  # further lines of the table -> what they quote
    pages: Mapping[str, str]  # words of the link -> page with runs and tables

    @property
    def lines(self) -> dict[str, str]:
        """Return every line of the table with the name of what it quotes."""
        return {self.line.format(subject): name for subject, name in self.subjects.items()} | self.adds


_BARE = network_name("msff", "bare")
MAIN_EFFECTS = {name: module_effects(module)[MAIN].name for module, name in MODULES.items()}
SCRATCH = "cpu-scratch "
"""Before the name of a contrast: of slim networks without ImageNet weights."""
MEASURE_WORDS = {
    "T1": "T1 (true wrist depth)", "pa21": "PA21 (after the best rotation, scaling and shift)",
    "palm21": "palm21 (from the palm)",
}  # fmt: skip
ON = {
    BETTER: "MS-FF is better on {subjects}", WORSE: "MS-FF is worse on {subjects}",
    SMALLER: f"the difference is {SMALLER} on {{subjects}}", OPEN: "the order is open on {subjects}",
}  # fmt: skip
_PAGE = "/book/_executed/{}.ipynb".format

QUESTIONS = (
    Question(
        "Does MS-FF beat InterNet, and through which of its parts?",
        {BETTER: "{subjects} beat{s} InterNet", WORSE: "{subjects} {is} worse than InterNet",
         SMALLER: f"for {{subjects}}, the difference is {SMALLER}", OPEN: "for {subjects}, the order is open"},
        "{} - InterNet",
        {"MS-FF": LEAD, _BARE: BARE_LEAD, f"{network_name('msff', 'no-grm')} (post hoc)": NO_GRM_LEAD,
         f"{network_name('msff', 'grm-norm')} (post hoc)": NORM_LEAD},
        {"the three modules together": TOGETHER,
         f"{GAUSSIAN_TOGETHER} (post hoc)": GAUSSIAN_TOGETHER,
         "without modules, the scale 1/32 alone - four scales": "one scale - four"},
        {"Table 1": _PAGE("09-table1"), "the contrasts": _PAGE("12-verdict")},
    ),
    Question(
        "Which modules help?",
        {BETTER: "{subjects} help{s}", WORSE: "{subjects} harm{s}",
         SMALLER: f"{{subjects}} {{has}} an effect {SMALLER}", OPEN: "the effect of {subjects} is open"},
        "{}, main effect",
        MAIN_EFFECTS,
        {f"{name} {k}": module_effects(m)[k].name for k in (WHOLE, ALONE) for m, name in MODULES.items()},
        {"the ablation": _PAGE("08-ablation")},
    ),
    Question(
        "Do fingertips or hidden joints gain?",
        {BETTER: "a lower error with {subjects}", WORSE: "a higher error with {subjects}",
         SMALLER: f"a change {SMALLER} from {{subjects}}", OPEN: "open for {subjects}"},
        "{}",
        {"MS-FF against InterNet (hidden - visible joints)": OCCLUSION,
         "global regression (fingertips)": GRM_FINGERTIPS,
         "local optimisation (hidden - visible joints)": LOM_OCCLUSION},
        {},
        {"where the errors are": _PAGE("14-contexts")},
    ),
    Question(
        "Does another measure change the order?",
        ON,
        "MS-FF - InterNet, {}",
        {words: f"{LEAD}, {measure}" for measure, words in MEASURE_WORDS.items()},
        {f"the three modules together, {words}": f"{TOGETHER}, {measure}" for measure, words in MEASURE_WORDS.items()},
        {"by another metric": _PAGE("15-robustness"), "the metrics": "/book/metrics.md"},
    ),
    Question(
        "Does the order depend on learning rate, pre-training, target or training time?",
        {"moved": "the learning rate alone moves the difference by {rates}",
         BETTER: "{subjects} favour MS-FF", WORSE: "{subjects} favour InterNet",
         SMALLER: f"the influence of {{subjects}} is {SMALLER}", OPEN: "the influence of {subjects} is open"},
        "change of MS-FF - InterNet by {}",
        {"the learning rate, on held-out images": "rates", "ImageNet weights": f"{LEAD}, change by pre-training",
         "Gaussian volumes (post hoc)": f"{LEAD}, change by Gaussian volumes"},
        {
            "MS-FF - InterNet on held-out images, the lowest, one training each": "rate low",
            "MS-FF - InterNet on held-out images, the highest": "rate high",
            "MS-FF - InterNet on held-out images, each at its best rate": "rate best",
            "MS-FF - InterNet on held-out images, the same with Gaussian volumes": "rate best, Gaussian",
            "MS-FF - InterNet, both at MS-FF's best rate": f"{LEAD}, both at MS-FF's learning rate",
            "MS-FF - InterNet, both at InterNet's best rate": f"{LEAD}, both at InterNet's learning rate",
            "MS-FF - InterNet, from scratch": f"{LEAD}, from scratch",
            "MS-FF - InterNet, slim networks from scratch (`cpu-scratch`)": f"{SCRATCH}{LEAD}",
            "MS-FF - InterNet, both with Gaussian volumes (post hoc)": GAUSSIAN_LEAD,
            "MS-FF - InterNet, each with its better target (post hoc)": OWN_TARGET_LEAD,
            "MS-FF without modules - InterNet, with Gaussians (post hoc)": GAUSSIAN_BARE_LEAD,
            f"{NORM_LEAD}, with Gaussians (post hoc)": f"{NORM_LEAD}, Gaussian volumes",
            "MS-FF - InterNet, twice the epochs": f"{LEAD}, twice the epochs",
            "MS-FF - InterNet, from scratch, twice the steps": f"{LEAD}, from scratch with twice the steps",
        },
        {"by another learning rate": _PAGE("15-robustness")},
    ),
    Question(
        "Does another reading of the text change the result?",
        {BETTER: "a lower error with {subjects}", WORSE: "a higher error with {subjects}",
         SMALLER: f"a change {SMALLER} with {{subjects}}", OPEN: "open with {subjects}"},
        "{}",
        {words: reading(variant).name for variant, words in READING_WORDS.items()},
        {
            NORM_LEAD: NORM_LEAD,
            "global regression, both networks with batch norm": NORM_GRM,
            "the three modules together, both networks with batch norm": NORM_TOGETHER,
        },
        {"what else could explain it": _PAGE("08-ablation")},
    ),
    Question(
        "Does it hold for two hands?",
        ON,
        "MS-FF - InterNet, {}",
        {"interacting hands": f"{LEAD}, interacting", "single hands": f"{LEAD}, single hands"},
        {
            "MS-FF - InterNet, slim, from scratch (`cpu-scratch`), interacting hands": f"{SCRATCH}{LEAD}, interacting",
            "MS-FF - InterNet, slim, from scratch (`cpu-scratch`), single hands": f"{SCRATCH}{LEAD}, single hands",
            f"{BARE_LEAD}, interacting hands": f"{BARE_LEAD}, interacting",
            f"{BARE_LEAD}, single hands": f"{BARE_LEAD}, single hands",
            "MS-FF - PoseNet(2017), interacting hands": "MS-FF - PoseNet(2017), interacting",
        },
        {"Fig. 5": _PAGE("10-fig5"), "Fig. 6": _PAGE("11-fig6")},
    ),
    Question(
        "Does MS-FF beat the other methods of Table 1?",
        {BETTER: "MS-FF beats {subjects}", WORSE: "MS-FF is worse than {subjects}",
         SMALLER: f"against {{subjects}}, the difference is {SMALLER}", OPEN: "against {subjects}, the order is open"},
        "MS-FF - {}",
        {LABELS[method]: f"MS-FF - {LABELS[method]}" for method in OTHERS},
        {},
        {"Table 1": _PAGE("09-table1")},
    ),
    Question(
        "Does it hold on real photographs, by mean error alone?",
        {"same": "the order of {subjects} is the same there",
         "opposite": "the order of {subjects} is the opposite there"},
        "order of {} by mean error, without a test",
        {"MS-FF and InterNet": "photos order", "the two with Gaussian volumes": "photos order, Gaussian"},
        {
            "error of MS-FF": "photos MS-FF",
            "error of MS-FF with batch norm (post hoc)": "photos MS-FF with batch norm",
            "error of InterNet": "photos InterNet(2020)",
            "error of MS-FF with Gaussian volumes (post hoc)": "photos MS-FF with Gaussian volumes",
            "error of InterNet with Gaussian volumes (post hoc)": "photos InterNet(2020) with Gaussian volumes",
            "error of MediaPipe Hands, trained on photographs": "photos MediaPipe Hands",
        },
        {"from rendered hands to photos": "/book/photos.md"},
    ),
)  # fmt: skip
"""In the order of the page."""

_NORM = "with batch norm in its pyramid (post hoc)"
_GAUSSIAN = "with Gaussian volumes (post hoc)"  # and tuned after a pair of runs at other rates was known
Judged = tuple[tuple[Mapping[str, str], str], ...]
"""Clauses by the verdict on a contrast, each with the contrast."""
ANSWER: Judged = (
    ({BETTER: "together the modules help", WORSE: "together the modules harm",
      SMALLER: f"the joint effect is {SMALLER}", OPEN: "the joint effect is open"}, TOGETHER),
    ({BETTER: "MS-FF beats InterNet", WORSE: "MS-FF is worse than InterNet",
      SMALLER: f"MS-FF minus InterNet is {SMALLER}", OPEN: "MS-FF against InterNet is open"}, LEAD),
    ({BETTER: f"{_NORM} it beats InterNet", WORSE: f"{_NORM} it is worse than InterNet",
      SMALLER: f"{_NORM} the difference is {SMALLER}", OPEN: f"{_NORM} the order is open"}, NORM_LEAD),
    ({BETTER: f"{_GAUSSIAN} MS-FF beats InterNet", WORSE: f"{_GAUSSIAN} MS-FF is worse than InterNet",
      SMALLER: f"{_GAUSSIAN} the difference is {SMALLER}", OPEN: f"{_GAUSSIAN} the order is open"}, GAUSSIAN_LEAD),
    ({BETTER: "with the better target for each it beats InterNet",
      WORSE: "with the better target for each it is worse than InterNet",
      SMALLER: f"with the better target for each the difference is {SMALLER}",
      OPEN: "with the better target for each the order is open"}, OWN_TARGET_LEAD),
    ({BETTER: "with Gaussian volumes the modules help together",
      WORSE: "with Gaussian volumes the modules harm together",
      SMALLER: f"with Gaussian volumes the joint effect is {SMALLER}",
      OPEN: "with Gaussian volumes the joint effect is open"}, GAUSSIAN_TOGETHER),
)  # fmt: skip
"""The short answer to whether the modules help."""

DOES: Mapping[str, str] = {
    BETTER: "{subjects} help{s}", WORSE: "{subjects} harm{s}", SMALLER: f"{{subjects}} {{has}} an effect {SMALLER}",
}  # fmt: skip
"""What the short answer says first of the modules whose main effect has this verdict; `clause` fills it in."""

OPENING: Sentence = tuple(
    "MS-FF estimates 3D hands from photos; its authors credit three modules, without code, seeds or ablation. We "
    f"rebuilt and trained it beside InterNet{tuned} on {data}."
    for tuned, data in ((", {tuned},", "{stand-in}"), ("", "{stand-in}"), ("", "{data}"))
)
"""How the abstract begins, which has at most 150 words. Its verdicts follow, then what qualifies them."""
IN_BOLD: Judged = (
    ({BETTER: "MS-FF beats InterNet by {size}", WORSE: "MS-FF trails InterNet by {size}",
      SMALLER: "MS-FF's difference from InterNet is small ({value})", OPEN: "MS-FF against InterNet is open ({value})"},
     LEAD),
    ({BETTER: "with batch norm (post hoc) better by {size}", WORSE: "with batch norm (post hoc) worse by {size}",
      SMALLER: "with batch norm (post hoc): small ({value})", OPEN: "with batch norm (post hoc): open ({value})"},
     NORM_LEAD),
    ({BETTER: f"{_GAUSSIAN} better by {{size}}", WORSE: f"{_GAUSSIAN} worse by {{size}}",
      SMALLER: f"{_GAUSSIAN}: small ({{value}})", OPEN: f"{_GAUSSIAN}: open ({{value}})"},
     GAUSSIAN_LEAD),
    ({BETTER: "each with its better target: better by {size}", WORSE: "each with its better target: worse by {size}",
      SMALLER: "each with its better target: small ({value})", OPEN: "each with its better target: open ({value})"},
     OWN_TARGET_LEAD),
)  # fmt: skip
OF_MODULES: Judged = tuple(
    ({BETTER: f"{name} helps ({{value}})", WORSE: f"{name} harms ({{value}})",
      SMALLER: f"{name} changes little ({{value}})", OPEN: f"{name}: open ({{value}})"}, effect)
    for name, effect in MAIN_EFFECTS.items()
)  # fmt: skip
OF_ALL_THREE: Judged = (
    ({BETTER: "Together they help ({value})", WORSE: "Together they harm ({value})",
      SMALLER: "Their joint effect is small ({value})", OPEN: "Their joint effect is open ({value})"}, TOGETHER),
    ({BETTER: "without them, MS-FF beats InterNet ({value})", WORSE: "without them, MS-FF is worse ({value})",
      SMALLER: "without them, the difference is small ({value})", OPEN: "without them, the order is open ({value})"},
     BARE_LEAD),
    ({BETTER: "with Gaussian volumes they help ({value})", WORSE: "with Gaussian volumes they harm ({value})",
      SMALLER: "with Gaussian volumes: small ({value})", OPEN: "with Gaussian volumes: open ({value})"},
     GAUSSIAN_TOGETHER),
)  # fmt: skip
SINGLE_MODULES: Sentence = (
    "Alone, channel conversion changes the error by {channel conversion alone}, global regression by {global "
    "regression alone}, local optimisation by {local optimisation alone} mm.",
    "The effects of single modules are open, since runs are missing.",
)
"""In place of ``OF_MODULES`` where no main effect is known."""
QUALIFIED: tuple[Sentence, ...] = (
    ("Shared learning rates give {either order} ({rate low} to {rate high}).",
     "The learning rate moves the difference from {rate low} to {rate high}."),
    ("On {photos} photographs: MS-FF {photos MS-FF}, with batch norm {photos MS-FF with batch norm}, InterNet "
     "{photos InterNet(2020)}.",
     "On {photos} photographs: MS-FF {photos MS-FF}, InterNet {photos InterNet(2020)}."),
    ("Brackets: 95 %; small: below the paper's relative lead, {margin}.",
     "Profile {profile}."),
    ("{untested}",),
)  # fmt: skip


def quotes(words: str) -> list[str]:
    """Return the names in a sentence's braces."""
    return [name for _, name, _, _ in Formatter().parse(words) if name]
