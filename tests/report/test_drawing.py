"""The style of every figure: it is the project's alone."""

import matplotlib as mpl
from matplotlib import pyplot as plt

from msff.report.drawing import save, style

mpl.use("Agg")
FOREIGN = {"figure.figsize": (1, 1), "font.family": "serif", "lines.linewidth": 9, "savefig.bbox": "tight"}


def test_a_figure_has_the_same_pixels_under_somebody_else_s_matplotlibrc(tmp_path):
    """One in the working folder comes before every other."""
    pictures = []
    for name, settings in (("own", {}), ("foreign", FOREIGN)):
        with mpl.rc_context(settings):
            with style():
                figure = plt.figure()
                figure.add_subplot().plot([1, 2], label="a line")
            pictures.append(save(figure, tmp_path / f"{name}.png").read_bytes())
            assert all(list(mpl.rcParams[key]) == list(settings[key]) for key in settings if key == "figure.figsize")
    assert pictures[0] == pictures[1]
