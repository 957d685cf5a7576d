"""The sentences of the page *What the study says* and of the abstract, as data for `msff.report.book.summary`."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import NamedTuple

from msff.evaluation.inference_statistics import BETTER, OPEN, SMALLER, WORSE
from msff.report.contrasts import GRM_FINGERTIPS, LOM_OCCLUSION, MODULES, OCCLUSION, OTHERS, TOGETHER
from msff.report.rows import LABELS

Sentence = str | tuple[str, ...]
"""What it quotes is in braces. Of several wordings the first is shown whose quotes all have a value."""


class Lead(NamedTuple):
    """A clause of a bold answer: words by verdict, which may quote; and subject -> contrast."""

    words: Mapping[str, str]
    subjects: Mapping[str, str]


class Question(NamedTuple):
    heading: str
    leads: tuple[Lead, ...]
    sentences: tuple[Sentence, ...]
    pages: Mapping[str, str]  # words of the link -> page with runs and tables


LEAD, BARE = "MS-FF - InterNet", "bare - InterNet"
SCRATCH = "cpu-scratch "
"""Before the name of a contrast: of slim networks without ImageNet weights, quoted where runs are missing."""

READINGS = {
    "printed": "Eq. (4) as printed", "grm-relu-sum": "ReLU on the sum in global regression",
    "grm-norm": "batch norm in global regression", "grm-one-level": "one level alone in global regression",
    "lom-1123": "1, 1, 2 and 3 passes of local optimisation",
    "lom-whole": "a residual around all of local optimisation",
}  # fmt: skip
"""Variants that read the text otherwise, in words."""

QUESTIONS = (
    Question(
        "Does MS-FF beat InterNet, through its modules or its four scales?",
        (
            Lead({
                BETTER: "yes, on these images", WORSE: "no, MS-FF is worse here", OPEN: "not shown",
                SMALLER: "no, they differ by less than the paper's own lead",
            }, {"": LEAD}),
            Lead({
                BETTER: "its four scales alone beat InterNet", WORSE: "its four scales alone are worse than InterNet",
                SMALLER: "its four scales alone are level with InterNet",
                OPEN: "its four scales alone are not shown to beat InterNet",
            }, {"": BARE}),
            Lead({
                BETTER: "its modules help", WORSE: "its modules do harm", SMALLER: "its modules change little",
                OPEN: "its modules are not shown to help",
            }, {"": TOGETHER}),
        ),
        (
            ("MS-FF's error minus InterNet's, {tuned}, is {MS-FF - InterNet}.",
             "MS-FF's error minus InterNet's is {MS-FF - InterNet}."),
            "Without the three modules, on its four scales alone, MS-FF minus InterNet is {bare - InterNet}.",
            "The modules together change MS-FF's error by {the three modules together (full - bare)}.",
        ),
        {"Table 1": "/book/_executed/09-table1.ipynb", "the contrasts": "/book/_executed/12-verdict.ipynb"},
    ),
    Question(
        "Which modules help?",
        (Lead({
            BETTER: "helpful: {subjects}", WORSE: "harmful: {subjects}", SMALLER: "of little effect: {subjects}",
            OPEN: "not decided: {subjects}",
        }, {name: f"{name}, main effect" for name in MODULES.values()}),),
        (
            ("Averaged over all settings of the other two, channel conversion changes the error by "
             "{channel conversion, main effect}, global regression by {global regression, main effect} and local "
             "optimisation by {local optimisation, main effect}.",
             "Added alone to the network without modules, channel conversion changes the error by {channel conversion "
             "alone (ccm - bare)}, global regression by {global regression alone (grm - bare)} and local optimisation "
             "by {local optimisation alone (lom - bare)}.",
             "Added alone to the network without modules, channel conversion changes the error by {channel conversion "
             "alone (ccm - bare)}."),
            ("Added to the other two, channel conversion changes it by {channel conversion in the whole network (full "
             "- no-ccm)}, global regression by {global regression in the whole network (full - no-grm)} and local "
             "optimisation by {local optimisation in the whole network (full - no-lom)}.",
             "Added to the other two, global regression changes it by {global regression in the whole network (full - "
             "no-grm)} and local optimisation by {local optimisation in the whole network (full - no-lom)}."),
            "MS-FF without global regression, minus InterNet, is {no-grm - InterNet}; this comparison was added after "
            "its first run.",
        ),
        {"the ablation": "/book/_executed/08-ablation.ipynb"},
    ),
    Question(
        "Is there a gain at fingertips or hidden joints?",
        (Lead({
            BETTER: "a gain for {subjects}", WORSE: "a loss for {subjects}", SMALLER: "little change for {subjects}",
            OPEN: "no gain is shown for {subjects}",
        }, {
            "MS-FF at hidden joints": OCCLUSION, "global regression at fingertips": GRM_FINGERTIPS,
            "local optimisation at hidden joints": LOM_OCCLUSION,
        }),),
        (
            "From visible to hidden joints, MS-FF minus InterNet changes by "
            "{MS-FF - InterNet, hidden - visible joints}.",
            "Global regression changes the error at the fingertips by "
            "{global regression, main effect at the fingertips}.",
            "Local optimisation changes the error at hidden joints, beyond what it changes at visible ones, by "
            "{local optimisation, main effect on hidden - visible joints}.",
        ),
        {"where the errors are": "/book/_executed/14-contexts.ipynb"},
    ),
    Question(
        "Does another measure change the order?",
        (Lead({
            BETTER: "MS-FF is better on {subjects}", WORSE: "MS-FF is worse on {subjects}",
            SMALLER: "the two are level on {subjects}", OPEN: "not decided on {subjects}",
        }, {name: f"{LEAD}, {measure}" for name, measure in
            {"T1": "T1", "PA21": "pa21", "palm21": "palm21"}.items()}),),
        (
            "MS-FF minus InterNet is {MS-FF - InterNet, T1} with the true wrist depth (T1), {MS-FF - InterNet, pa21} "
            "after Procrustes alignment and {MS-FF - InterNet, palm21} from the palm.",
            "The modules together change the error by {the three modules together (full - bare), T1}, {the three "
            "modules together (full - bare), pa21} and {the three modules together (full - bare), palm21}; none of "
            "these six is adjusted for multiple comparisons.",
        ),
        {"by another metric": "/book/_executed/15-robustness.ipynb", "the metrics": "/book/metrics.md"},
    ),
    Question(
        "Does the order depend on learning rate, pre-training or training time?",
        (
            Lead({"moved": "the learning rate alone moves the difference by {rate range}"}, {"": "rates"}),
            Lead({
                BETTER: "ImageNet weights favour MS-FF", WORSE: "ImageNet weights favour InterNet",
                SMALLER: "ImageNet weights favour neither", OPEN: "no influence of ImageNet weights is shown",
            }, {"": "MS-FF - InterNet, change by pre-training"}),
        ),
        (
            "On held-out training images MS-FF minus InterNet is {rate low} and {rate high}, one training each; the "
            "paper gives one rate and no rule for choosing it.",
            "On test images MS-FF minus InterNet is {MS-FF - InterNet, both at MS-FF's learning rate} at MS-FF's best "
            "rate and {MS-FF - InterNet, both at InterNet's learning rate} at InterNet's.",
            ("ImageNet weights change MS-FF minus InterNet by {MS-FF - InterNet, change by pre-training}; from scratch "
             "it is {MS-FF - InterNet, from scratch}.",
             "For slim networks without ImageNet weights (profile `cpu-scratch`) MS-FF minus InterNet is "
             "{cpu-scratch MS-FF - InterNet}."),
            "With twice the epochs MS-FF minus InterNet is {MS-FF - InterNet, twice the epochs}, and from scratch with "
            "twice the steps {MS-FF - InterNet, from scratch with twice the steps}.",
        ),
        {"by another learning rate": "/book/_executed/15-robustness.ipynb"},
    ),
    Question(
        "Does another reading of the text change the result?",
        (Lead({
            BETTER: "a lower error with {subjects}", WORSE: "a higher error with {subjects}",
            SMALLER: "little change with {subjects}", OPEN: "not decided for {subjects}",
        }, {reading: f"{variant} - full" for variant, reading in READINGS.items()}),),
        tuple(f"With {reading} MS-FF's error changes by {{{v} - full}}." for v, reading in READINGS.items()),
        {"what else could explain it": "/book/_executed/08-ablation.ipynb"},
    ),
    Question(
        "What holds for two hands?",
        (Lead({
            BETTER: "MS-FF is better on {subjects}", WORSE: "MS-FF is worse on {subjects}",
            SMALLER: "the two are level on {subjects}", OPEN: "not decided on {subjects}",
        }, {f"{kind} hands": f"{LEAD}, {name}" for kind, name in
            {"interacting": "interacting", "single": "single hands"}.items()}),),
        (
            ("In InterHand2.6M's layout MS-FF minus InterNet is {MS-FF - InterNet, interacting} on interacting hands "
             "and {MS-FF - InterNet, single hands} on single ones.",
             "In InterHand2.6M's layout, for slim networks without ImageNet weights (profile `cpu-scratch`), MS-FF "
             "minus InterNet is {cpu-scratch MS-FF - InterNet, interacting} on interacting hands and {cpu-scratch "
             "MS-FF - InterNet, single hands} on single ones."),
            "MS-FF without its modules, minus InterNet, is {bare - InterNet, interacting} and {bare - InterNet, single "
            "hands}.",
            "MS-FF minus PoseNet(2017) is {MS-FF - PoseNet(2017), interacting} on interacting hands.",
        ),
        {"Fig. 5": "/book/_executed/10-fig5.ipynb", "Fig. 6": "/book/_executed/11-fig6.ipynb"},
    ),
    Question(
        "Does MS-FF beat the other methods of Table 1?",
        (Lead({
            BETTER: "better than {subjects}", WORSE: "worse than {subjects}", SMALLER: "level with {subjects}",
            OPEN: "not decided against {subjects}",
        }, {LABELS[method]: f"MS-FF - {LABELS[method]}" for method in OTHERS}),),
        tuple(f"MS-FF minus {LABELS[method]} is {{MS-FF - {LABELS[method]}}}." for method in OTHERS),
        {"Table 1": "/book/_executed/09-table1.ipynb"},
    ),
    Question(
        "What holds on real photographs?",
        (Lead({
            "same": "the order of MS-FF and InterNet is the same there",
            "other": "the order of MS-FF and InterNet is the opposite there",
        }, {"": "photos"}),),
        (
            "On {photos} photographs, networks that were trained on rendered hands alone have an error of "
            "{photos MS-FF} (MS-FF) and {photos InterNet(2020)} (InterNet); their difference was not tested.",
            "MediaPipe Hands, which was trained on photographs, has {photos MediaPipe Hands}.",
        ),
        {"from rendered hands to photos": "/book/photos.md"},
    ),
)  # fmt: skip
"""In the order of the page."""

ANSWER = (
    Lead({
        BETTER: "yes, here", WORSE: "no, they harm", SMALLER: "hardly", OPEN: "not shown",
    }, {"": TOGETHER}),
    Lead({
        BETTER: "MS-FF beats InterNet", WORSE: "MS-FF is worse than InterNet",
        SMALLER: "MS-FF is level with InterNet", OPEN: "MS-FF against InterNet is open",
    }, {"": LEAD}),
)  # fmt: skip
"""The short answer to whether the modules help."""

ABSTRACT: tuple[Sentence, ...] = (
    tuple(
        "MS-FF, which estimates hands from one photo, came without code, seeds or ablation. We rebuilt it from its "
        f"text and trained it beside InterNet on {data}."
        for data in ("{stand-in}", "{data}")
    ),
    ("In mm, MS-FF's error minus InterNet's, {tuned}, is {MS-FF - InterNet}.",
     "In mm, MS-FF's error minus InterNet's is {MS-FF - InterNet}."),
    ("Without its modules it is {bare - InterNet}; together they change it by "
     "{the three modules together (full - bare)}.",
     "The modules together change MS-FF's error by {the three modules together (full - bare)} mm."),
    ("Channel conversion changes it by {channel conversion, main effect}, global regression by {global regression, "
     "main effect}, local optimisation by {local optimisation, main effect}.",
     "Alone, channel conversion changes it by {channel conversion alone (ccm - bare)}, global regression by "
     "{global regression alone (grm - bare)}, local optimisation by {local optimisation alone (lom - bare)}.",
     "Single modules are undecided, since runs are missing."),
    "On held-out images the learning rate alone moves the difference from {rate low} to {rate high}.",
    "On {photos} real photographs MS-FF has {photos MS-FF}, InterNet {photos InterNet(2020)}.",
    ("Brackets: 95 %, seeds and images; small: below the paper's lead of {margin}.",
     "Profile {profile}."),
    "{untested}",
)  # fmt: skip
"""At most 150 words. The short answer is inserted after the first sentence."""


def wordings(sentence: Sentence) -> tuple[str, ...]:
    """Return the wordings of a sentence, the preferred one first."""
    return (sentence,) if isinstance(sentence, str) else sentence


def quotes(words: str) -> list[str]:
    """Return the names in a sentence's braces."""
    return [name for _, name, _, _ in Formatter().parse(words) if name]
