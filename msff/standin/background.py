"""Procedural backgrounds: soft clutter with skin-coloured distractors, or a dim studio."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from msff.standin import anatomy as an

SHAPES = 9


def draw_background(rng: np.random.Generator, studio: bool, skin: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters of one background. ``skin`` (3,) sRGB colour of the person."""
    base = rng.random(3) * 0.7 + 0.12
    grey, colour = rng.normal(0, 0.22, (1, 6, 8)), rng.normal(0, 0.22, (3, 6, 8)) * rng.random()
    low = np.clip(base[:, None, None] + grey + 0.5 * colour, 0.02, 0.98)
    amount = 0.2 + 0.8 * rng.random()
    shapes = np.zeros((SHAPES, 12), np.float32)
    shapes[:, 2:4] = 1  # unused shapes must not divide by zero
    count = rng.integers(2, SHAPES + 1)
    for i in range(count):
        colour = 0.2 + 0.6 * rng.random() + rng.uniform(-0.35, 0.35, 3) * rng.random()
        if rng.random() < 0.3:  # a distractor: another skin colour, or this person's own
            tone = np.array(an.SKIN_TONES_SRGB[rng.integers(8)])
            colour = (skin if rng.random() < 0.5 else tone) * (0.75 + 0.4 * rng.random())
        angle = rng.random() * np.pi
        kind = rng.integers(3)  # ellipse, box, capsule
        size = rng.random(2) * (0.22, 0.22) + 0.04 if kind < 2 else rng.random(2) * (0.25, 0.05) + (0.1, 0.025)
        stripes = rng.random() * 60 * (rng.random() < 0.25)
        colour = np.clip(colour, 0.02, 1)
        shapes[i] = [*(rng.random(2) * 1.2 - 0.1), *size, np.cos(angle), np.sin(angle), *colour, kind, stripes, 1]
    grade = np.array([0.55 * rng.random() + 0.15, 1.0]) if studio else np.array([0.65 + 0.4 * rng.random(), 1.0])
    if studio:
        low = 0.12 * low + 0.48 * low.mean(0, keepdims=True)
        base, amount = base.mean() * (0.9 + 0.2 * rng.random(3)) * 0.6, amount * 0.5
        shapes[:, 6:9] = 0.75 * shapes[:, 6:9].mean(1, keepdims=True) + 0.25 * shapes[:, 6:9]
        shapes[4:, 11] = 0
    return {"bg_low": low, "bg_base": base, "bg_amount": np.array(amount), "bg_shapes": shapes, "bg_grade": grade[0]}


def paint_background(parameters: dict[str, Tensor], height: int, width: int) -> Tensor:
    """(B, ...) drawn parameters -> (B, 3, H, W) sRGB in [0, 1].

    Painted at half resolution: backgrounds are out of focus.
    """
    low, base = parameters["bg_low"].float(), parameters["bg_base"].float()
    h, w = (height + 1) // 2, (width + 1) // 2
    soft = F.interpolate(low, (h, w), mode="bicubic", align_corners=True)
    amount = parameters["bg_amount"].float()[:, None, None, None]
    canvas = base[:, :, None, None] * (1 - amount) + soft * amount
    scale = max(h, w)
    y = torch.arange(h, device=low.device)[:, None] / scale
    x = torch.arange(w, device=low.device)[None, :] / scale
    for i in range(SHAPES):
        s = parameters["bg_shapes"][:, i].float()[:, :, None, None]  # (B, 12, 1, 1)
        if not bool((s[:, 11] > 0).any()):
            continue
        dx, dy = x - s[:, 0], y - s[:, 1]  # (B, h, w)
        u, v = s[:, 4] * dx + s[:, 5] * dy, s[:, 4] * dy - s[:, 5] * dx
        a, b = s[:, 2], s[:, 3]
        box = torch.maximum(u.abs() - a, v.abs() - b)
        ellipse = (((u / a) ** 2 + (v / b) ** 2).sqrt() - 1) * torch.minimum(a, b)
        capsule = torch.hypot((u.abs() - a).clamp(min=0), v) - b
        kind = s[:, 9]
        distance = torch.where(kind < 0.5, ellipse, torch.where(kind < 1.5, box, capsule))
        mask = (0.5 - distance * scale * 0.7).clamp(0, 1) * s[:, 11]
        shade = (0.85 + 0.3 * (0.5 - v / (2 * b)).clamp(0, 1)) * (1 + 0.25 * torch.sin(u * s[:, 10] * 6.28))
        canvas = canvas + mask[:, None] * (s[:, 6:9] * shade[:, None] - canvas)
    canvas = (canvas * parameters["bg_grade"].float()[:, None, None, None]).clamp(0, 1)
    return F.interpolate(canvas, (height, width), mode="bilinear", align_corners=True)
