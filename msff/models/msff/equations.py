"""The printed equations, transcribed literally: numpy, loops, one sample, no speed.

They share no code with the networks and exist to check them. Arrays are (C, H, W) maps and (C,) vectors; names are the
paper's. Of an equation that is missing from the public text, the docstring gives the reading.
"""

from __future__ import annotations

import math

import numpy as np

from msff.skeleton import JOINTS, JOINTS_PER_HAND

# Sec. B, channel conversion


def eq3_aggregate(f: np.ndarray) -> np.ndarray:
    """Eq. (3): A_c = 1 / (H W) sum_h sum_w F_chw. (C, H, W) -> (C,)."""
    channels, height, width = f.shape
    a = np.zeros(channels)
    for c in range(channels):
        for h in range(height):
            for w in range(width):
                a[c] += f[c, h, w]
        a[c] /= height * width
    return a


def eq4_printed(a: np.ndarray, w1: np.ndarray, w2: np.ndarray) -> np.ndarray:
    """Eq. (4) as typeset: W = sigmoid(W1 A + W2 A). (C,), (C, C), (C, C) -> (C,)."""
    first, second = _matvec(w1, a), _matvec(w2, a)
    return np.array([_sigmoid(p + q) for p, q in zip(first, second, strict=True)])


def eq4_se(a: np.ndarray, w1: np.ndarray, w2: np.ndarray) -> np.ndarray:
    """Eq. (4) as meant: W = sigmoid(W2 ReLU(W1 A)). (C,), (K, C), (C, K) -> (C,)."""
    hidden = np.array([max(value, 0.0) for value in _matvec(w1, a)])
    return np.array([_sigmoid(value) for value in _matvec(w2, hidden)])


def eq5_recalibrate(f: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Eq. (5): F'_chw = W_c F_chw. (C, H, W), (C,) -> (C, H, W)."""
    out = np.zeros_like(f, dtype=float)
    for c, h, w in np.ndindex(f.shape):
        out[c, h, w] = weights[c] * f[c, h, w]
    return out


def _matvec(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    out = np.zeros(matrix.shape[0])
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[1]):
            out[i] += matrix[i, j] * vector[j]
    return out


def _sigmoid(value: float) -> float:
    return 1.0 / (1.0 + math.exp(-value))


# Sec. C, global regression


def conv1x1(f: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
    """R_1, a convolution with a 1x1 kernel. (C, H, W), (K, C), (K,) -> (K, H, W)."""
    out = np.zeros((weight.shape[0], *f.shape[1:]))
    for h, w in np.ndindex(f.shape[1:]):
        out[:, h, w] = _matvec(weight, f[:, h, w])
        if bias is not None:
            out[:, h, w] += bias
    return out


def eq6_reduce(f: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Eq. (6), read as V_k = ReLU(R_1(F_k)). (C, H, W) -> (K, H, W)."""
    v = conv1x1(f, weight, bias)
    for index in np.ndindex(v.shape):
        v[index] = max(v[index], 0.0)
    return v


def eq8_to_10_bilinear(image: np.ndarray, x: float, y: float) -> float:
    """Eqs. (8)-(10): the value at (x, y) from the four adjacent points. (H, W) -> scalar.

    Read as the usual form with Q_11 = (x1, y1), Q_21 = (x2, y1), Q_12 = (x1, y2), Q_22 = (x2, y2): (8) and (9)
    interpolate along x at y1 and at y2, (10) between them along y. Beyond the outermost points the edge repeats.
    """
    height, width = image.shape
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    x1, y1 = min(int(x), max(width - 2, 0)), min(int(y), max(height - 2, 0))
    x2, y2 = x1 + 1, y1 + 1
    q = [[image[min(j, height - 1), min(i, width - 1)] for i in (x1, x2)] for j in (y1, y2)]
    r1 = (x2 - x) / (x2 - x1) * q[0][0] + (x - x1) / (x2 - x1) * q[0][1]  # Eq. (8)
    r2 = (x2 - x) / (x2 - x1) * q[1][0] + (x - x1) / (x2 - x1) * q[1][1]  # Eq. (9)
    return float((y2 - y) / (y2 - y1) * r1 + (y - y1) / (y2 - y1) * r2)  # Eq. (10)


def eq7_upsample(g: np.ndarray) -> np.ndarray:
    """Eq. (7), read as U_k = B(G_{k+1}): bilinear x2. (C, H, W) -> (C, 2H, 2W).

    Pixels are squares: the centre of new pixel i, i + 1/2, lies at (i + 1/2) / 2 in the old map, whose own centres
    are at half integers too (``align_corners=False``).
    """
    channels, height, width = g.shape
    out = np.zeros((channels, 2 * height, 2 * width))
    for c, h, w in np.ndindex(out.shape):
        out[c, h, w] = eq8_to_10_bilinear(g[c], (w + 0.5) / 2 - 0.5, (h + 0.5) / 2 - 0.5)
    return out


def eq11_fuse(v: list[np.ndarray]) -> list[np.ndarray]:
    """Eq. (11), read as G_k = V_k + U_k from coarse to fine, the coarsest being G_4 = V_4. Lists fine to coarse."""
    g = [v[-1]]
    for v_k in reversed(v[:-1]):
        g.insert(0, v_k + eq7_upsample(g[0]))
    return g


# Sec. D, local optimisation


def channel_shuffle(x: np.ndarray, groups: int = 2) -> np.ndarray:
    """Channel i of run r goes to place i * groups + r. (C, H, W) -> (C, H, W)."""
    run = x.shape[0] // groups
    out = np.empty_like(x)
    for r in range(groups):
        for i in range(run):
            out[i * groups + r] = x[r * run + i]
    return out


def conv3x3(f: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """3x3 cross-correlation with zero padding. (C, H, W), (K, C, 3, 3) -> (K, H, W)."""
    channels, height, width = f.shape
    out = np.zeros((weight.shape[0], height, width))
    for k, h, w in np.ndindex(out.shape):
        for c, i, j in np.ndindex(channels, 3, 3):
            if 0 <= h + i - 1 < height and 0 <= w + j - 1 < width:
                out[k, h, w] += weight[k, c, i, j] * f[c, h + i - 1, w + j - 1]
    return out


def batch_norm(
    f: np.ndarray, mean: np.ndarray, variance: np.ndarray, scale, shift, epsilon: float = 1e-5
) -> np.ndarray:
    """Batch norm in evaluation. (C, H, W) and four (C,) -> (C, H, W)."""
    out = np.zeros_like(f, dtype=float)
    for c, h, w in np.ndindex(f.shape):
        out[c, h, w] = (f[c, h, w] - mean[c]) / math.sqrt(variance[c] + epsilon) * scale[c] + shift[c]
    return out


def eq12_pass(g: np.ndarray, convolutions: list, norms: list, w1: np.ndarray, w2: np.ndarray) -> np.ndarray:
    """One pass L of Eq. (12) without its upsampling, as Fig. 4 is read. (C, H, W) -> (C, H, W).

    Split in halves; the second through 1x1, 3x3 and 1x1 convolutions, each with batch norm and ReLU; channel
    conversion; plus the half itself; concatenate; shuffle in two groups. ``convolutions``: (K, K), (K, K, 3, 3),
    (K, K); ``norms``: three tuples mean, variance, scale, shift.
    """
    half = g.shape[0] // 2
    kept, worked = g[:half], g[half:]
    f = worked
    for weight, norm in zip(convolutions, norms, strict=True):
        f = conv3x3(f, weight) if weight.ndim == 4 else conv1x1(f, weight)
        f = np.maximum(batch_norm(f, *norm), 0.0)
    f = eq5_recalibrate(f, eq4_se(eq3_aggregate(f), w1, w2))
    return channel_shuffle(np.concatenate([kept, worked + f]))


def eq13_level(g: np.ndarray, passes: list) -> np.ndarray:
    """Eq. (13), read as U(L(...U(L(G_k)))): 0, 1, 2 or 3 passes, each doubled in size. ``passes`` holds functions L."""
    for one_pass in passes:
        g = eq7_upsample(one_pass(g))
    return g


def eq14_concatenate(levels: list[np.ndarray]) -> np.ndarray:
    """Eq. (14): the four levels, now all at 1/4, joined along the channels. Four (C, H, W) -> (4C, H, W)."""
    return np.concatenate(levels, axis=0)


def eq15_volume(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, bins: int) -> np.ndarray:
    """Eq. (15), read as a 1x1 convolution whose channel j * bins + d is depth d of joint j. -> (J, D, H, W)."""
    flat = conv1x1(x, weight, bias)
    volume = np.zeros((flat.shape[0] // bins, bins, *x.shape[1:]))
    for j in range(volume.shape[0]):
        for d in range(bins):
            volume[j, d] = flat[j * bins + d]
    return volume


def gaussian(centre_bin: np.ndarray, bins: int, sigma_bin: float) -> np.ndarray:
    """Return the target of Eq. (15), a Gaussian of height 1 about (x, y, z). (3,) -> (D, H, W)."""
    volume = np.zeros((bins, bins, bins))
    x, y, z = (float(v) for v in centre_bin)
    for d, h, w in np.ndindex(volume.shape):
        volume[d, h, w] = math.exp(-((w - x) ** 2 + (h - y) ** 2 + (d - z) ** 2) / (2 * sigma_bin**2))
    return volume


# Sec. A, lifting


def eq1_2_lift(
    crop_px: np.ndarray,
    relative_depth_mm: np.ndarray,
    root_depth_mm: np.ndarray,
    affine: np.ndarray,
    intrinsics: np.ndarray,
) -> np.ndarray:
    """Eqs. (1)-(2), read as P^-1(A^-1(x, y), z + z_root): a joint's crop position and depth to the camera frame.

    (42, 2) px, (42,) mm behind the own wrist, (2,) mm of the right and left wrist, (2, 3) image -> crop, (3, 3)
    -> (42, 3) mm.
    """
    (a, b, tx), (c, d, ty) = affine
    determinant = a * d - b * c
    out = np.zeros((JOINTS, 3))
    for j in range(JOINTS):
        u, v = crop_px[j, 0] - tx, crop_px[j, 1] - ty
        x, y = (d * u - b * v) / determinant, (a * v - c * u) / determinant  # A^-1
        z = relative_depth_mm[j] + root_depth_mm[j // JOINTS_PER_HAND]
        y_mm = (y - intrinsics[1, 2]) / intrinsics[1, 1] * z  # P^-1
        x_mm = ((x - intrinsics[0, 2]) * z - intrinsics[0, 1] * y_mm) / intrinsics[0, 0]
        out[j] = x_mm, y_mm, z
    return out
