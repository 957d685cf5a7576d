"""Write the golden files: ``python tests/golden/make.py``.

They are predictions with the numbers that the loops compute, and images of today's generator.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent
SETS = {"rhd": (5, 2, 0, 96), "interhand": (6, 4, 0, 128)}  # training and test images, seed, width in px


def hands(rng, count):
    """(N, 42, 3) mm: two open hands about 500 mm away, with noise."""
    finger, along = np.meshgrid(np.arange(5), np.arange(4), indexing="ij")
    one = np.zeros((21, 3))
    one[:20, 0], one[:20, 1] = (finger.ravel() - 2) * 20, -(90 - along.ravel() * 18)
    both = np.concatenate([one + [-60, 0, 0], one * [-1, 1, 1] + [60, 0, 0]])
    return both + rng.normal(0, 12, (count, 42, 3)) + [0, 0, 500] + rng.normal(0, 60, (count, 1, 3))


def draw(seed, layout, count):
    rng = np.random.default_rng(seed)
    true = hands(rng, count)
    present = np.zeros((count, 2), bool)
    present[np.arange(count), rng.integers(0, 2, count)] = True
    if layout == "interhand":
        present[rng.random(count) < 0.5] = True
    root_depth = true[:, [20, 41], 2] + rng.normal(0, 30, (count, 1))
    valid = rng.random((count, 42)) < 0.9
    valid[:, [20, 41]] = rng.random((count, 2)) < 0.93  # some hands without a wrist
    valid[:, 16] = False  # one joint that is never annotated on the right hand
    probability = np.clip(present + rng.normal(0, 0.45, (count, 2)), 0, 1).round(1)  # with ties, and exact halves
    probability[:2] = np.nan  # two samples without predicted handedness
    relative = true[:, 41, 2] - true[:, 20, 2] + rng.normal(0, 15, count)
    relative[2] = np.nan
    return {
        "true": true.astype(np.float32),
        "pred": (true * rng.normal(1, 0.08, (count, 1, 1)) + rng.normal(0, 14, (count, 42, 3))).astype(np.float32),
        "valid": valid, "visible": rng.random((count, 42)) < 0.6, "present": present,
        "side_valid": rng.random(count) < 0.9, "side_probability": probability.astype(np.float32),
        "relative": relative.astype(np.float32), "root_depth": root_depth.astype(np.float32),
    }  # fmt: skip


def as_double(data):
    return {name: a.astype(np.float64) if a.dtype == np.float32 else a for name, a in data.items()}


def rendered(root):
    """Three training images (3, H, W, 3) of a rendered set, in the order of their names."""
    paths = [*sorted(root.glob("training/color/*.png")), *sorted(root.glob("images/train/**/*.jpg"))]
    return np.stack([np.asarray(Image.open(path)) for path in paths[:3]])


def write_rendered():
    from msff.standin.writers import make

    with tempfile.TemporaryDirectory() as folder:
        sets = {name: make(f"standin-{name}", Path(folder) / name, *SETS[name], progress=False) for name in SETS}
        np.savez_compressed(FOLDER / "standin.npz", **{name: rendered(root) for name, root in sets.items()})


def main():
    import loops

    write_rendered()
    expected = {}
    for layout, seed, count in (("rhd", 1, 17), ("interhand", 2, 23)):
        data = draw(seed, layout, count)
        np.savez_compressed(FOLDER / f"{layout}.npz", **data)
        expected[layout] = getattr(loops, layout)(as_double(data))
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
