"""Which hand is it? Accuracy as InterNet's code prints it, and average precision as its paper calls the number."""

from __future__ import annotations

import torch
from torch import Tensor


def handedness_correct(side_probability: Tensor, side_present: Tensor) -> Tensor:
    """True where both thresholds at 0.5 give exactly the hands that are there. (N, 2), (N, 2) bool -> (N,) bool.

    As in InterNet's code a probability of exactly 0.5 says neither yes nor no.
    """
    return torch.where(side_present, side_probability > 0.5, side_probability < 0.5).all(1)


def average_precision(score: Tensor, present: Tensor) -> float | None:
    """Mean precision at the recall steps of the ranking by score, without interpolation. (N,), (N,) bool -> [0, 1].

    AP = sum_k (R_k - R_{k-1}) P_k over the distinct scores, highest first; equal scores enter together, so that the
    order of the samples does not matter. None without a sample that is present.
    """
    if not present.any():
        return None
    values, group = score.unique(return_inverse=True)  # ascending
    count, hits = torch.zeros_like(values), torch.zeros_like(values)
    count.index_add_(0, group, torch.ones_like(score))
    hits.index_add_(0, group, present.to(score.dtype))
    count, hits = count.flip(0).cumsum(0), hits.flip(0).cumsum(0)  # at least that score
    recall, precision = hits / hits[-1], hits / count
    return float((recall.diff(prepend=recall.new_zeros(1)) * precision).sum())


def handedness_ap(side_probability: Tensor, side_present: Tensor, known: Tensor) -> float | None:
    """Plain mean over right and left of ``average_precision`` of "this hand is in the image".

    (N, 2), (N, 2) bool, (N,) bool: the samples whose hands are annotated and predicted. A hand that is never there
    is left out; None if that is so of both.
    """
    sides = [average_precision(side_probability[known, s], side_present[known, s]) for s in range(2)]
    found = [ap for ap in sides if ap is not None]
    return sum(found) / len(found) if found else None
