"""The metrics once more, as plain loops over numpy arrays: one sample, one joint, one line at a time.

Written from the definitions in the README beside this file and not from ``msff.evaluation``, of which it imports
nothing. Slow on purpose. Joint order: thumb, index, middle, ring, little, each tip to base, then the wrist; right hand
0-20, left hand 21-41.
"""

import math

import numpy as np

WRIST, MIDDLE_BASE, MIDDLE_PIP = 20, 11, 10
TIPS, BASES = (0, 4, 8, 12, 16), (3, 7, 11, 15, 19)


def distance(a, b):
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


# Averages of {joint: [errors]}


def joint_means(errors):
    means = [sum(e) / len(e) for e in errors.values() if e]
    return sum(means) / len(means) if means else None


def pooled(errors):
    everything = [x for e in errors.values() for x in e]
    return sum(everything) / len(everything) if everything else None


def median(values):
    values = sorted(values)
    n = len(values)
    return None if n == 0 else values[n // 2] if n % 2 else (values[n // 2 - 1] + values[n // 2]) / 2


def pooled_median(errors):
    return median([x for e in errors.values() for x in e])


def joint_median(errors):
    medians = [median(e) for e in errors.values() if e]
    return sum(medians) / len(medians) if medians else None


def auc(errors, first):
    thresholds = [50 * i / 19 for i in range(20)][first:]
    areas = []
    for e in errors.values():
        if not e:
            continue
        share = [sum(x <= t for x in e) / len(e) for t in thresholds]
        area = sum((share[i] + share[i + 1]) / 2 * (thresholds[i + 1] - thresholds[i]) for i in range(len(share) - 1))
        areas.append(area / (thresholds[-1] - thresholds[0]))
    return sum(areas) / len(areas) if areas else None


def aggregates(name, errors):
    return {
        name: joint_means(errors), f"{name}_pooled": pooled(errors), f"{name}_median": pooled_median(errors),
        f"{name}_joint_median": joint_median(errors), f"{name}_auc_0_50": auc(errors, 0),
        f"{name}_auc_20_50": auc(errors, 8),
    }  # fmt: skip


# RHD: one hand


def similarity(pred, true):
    """Kabsch-Umeyama on (K, 3) points: the aligned prediction."""
    mp, mt = pred.mean(0), true.mean(0)
    u, d, vt = np.linalg.svd((true - mt).T @ (pred - mp))
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ flip @ vt
    scale = np.trace(np.diag(d) @ flip) / ((pred - mp) ** 2).sum()
    return np.array([scale * rotation @ (p - mp) + mt for p in pred])


def rhd_sample(pred, true, valid, visible):
    """Metric -> {joint: error} of one hand: (21, 3), (21, 3), (21,), (21,)."""
    out = {}
    bone = [distance(h[MIDDLE_BASE], h[MIDDLE_PIP]) for h in (true, pred)]
    bone_known = valid[MIDDLE_BASE] and valid[MIDDLE_PIP]
    out["wrist21"] = {j: distance(pred[j] - pred[WRIST], true[j] - true[WRIST]) for j in range(21) if valid[j]}
    out["wrist20"] = {j: e for j, e in out["wrist21"].items() if j != WRIST}
    out["wrist21_vis"] = {j: e for j, e in out["wrist21"].items() if visible[j]}
    out["wrist20_vis"] = {j: e for j, e in out["wrist20"].items() if visible[j]}
    out["wrist20_occluded"] = {j: e for j, e in out["wrist20"].items() if not visible[j]}
    out["wrist20_fingertip"] = {j: e for j, e in out["wrist20"].items() if j in TIPS}
    out["wrist20_base"] = {j: e for j, e in out["wrist20"].items() if j in BASES}
    scaled = (pred - pred[WRIST]) * bone[0] / bone[1]
    out["wrist20_scaled"] = (
        {j: distance(scaled[j], true[j] - true[WRIST]) for j in range(20) if valid[j]} if bone_known else {}
    )
    out |= palm_sample(pred, true, valid, visible, bone, bone_known)
    known = [j for j in range(21) if valid[j]]
    out["pa21"] = {}
    if len(known) >= 3:
        aligned = similarity(pred[known], true[known])
        out["pa21"] = {j: distance(aligned[k], true[j]) for k, j in enumerate(known)}
    return out


def palm_sample(pred, true, valid, visible, bone, bone_known):
    """The conventions whose point 20 is the palm centre."""
    palms = [(h[WRIST] + h[MIDDLE_BASE]) / 2 for h in (pred, true)]
    points = [[*h[:20], palm] for h, palm in zip((pred, true), palms, strict=True)]
    known, seen = (
        [*valid[:20], valid[WRIST] and valid[MIDDLE_BASE]],
        [*visible[:20], visible[WRIST] or visible[MIDDLE_BASE]],
    )
    plain, scaled, raw = {}, {}, {}
    for j in range(21):
        if not known[j]:
            continue
        target = points[1][j] - palms[1]
        plain[j] = distance(points[0][j] - palms[0], target)
        raw[j] = distance(points[0][j] - palms[1], target)
        if bone_known:
            scaled[j] = distance((points[0][j] - palms[0]) * bone[0] / bone[1], target)
    out = {"palm21": plain, "palm21_scaled": scaled, "palm21_true_root": raw}
    for name, errors in (("palm21_vis", plain), ("palm21_vis_scaled", scaled), ("palm21_vis_true_root", raw)):
        out[name] = {j: e for j, e in errors.items() if seen[j]}
    return out


def collect(samples, names):
    """[{metric: {joint: error}}] -> {metric: {joint: [errors]}}."""
    gathered = {name: {} for name in names}
    for sample in samples:
        for name, errors in sample.items():
            for joint, error in errors.items():
                gathered[name].setdefault(joint, []).append(error)
    return gathered


def rhd(data):
    """Every metric of the RHD layout from the arrays of rhd.npz."""
    samples, right_side, told_side = [], [], []
    for i in range(len(data["pred"])):
        side = 0 if data["present"][i][0] else 1
        hand = slice(21 * side, 21 * side + 21)
        true, valid, visible = data["true"][i][hand], data["valid"][i][hand].copy(), data["visible"][i][hand]
        valid &= valid[WRIST]  # without its wrist no joint counts
        one = rhd_sample(data["pred"][i][hand], true, valid, visible)
        p = data["side_probability"][i]
        one["wrist21_pred_side"] = one["wrist20_pred_side"] = {}
        if np.isfinite(p).all():
            said = data["pred"][i][:21] if p[0] >= p[1] else data["pred"][i][21:]
            errors = {j: distance(said[j] - said[WRIST], true[j] - true[WRIST]) for j in range(21) if valid[j]}
            one["wrist21_pred_side"] = errors
            one["wrist20_pred_side"] = {j: e for j, e in errors.items() if j != WRIST}
            if data["side_valid"][i]:
                told_side.append(i)
                right_side.append(p[side] > 0.5 and p[1 - side] < 0.5)
        samples.append(one)
    gathered = collect(samples, samples[0])
    numbers = {name: joint_means(errors) for name, errors in gathered.items()}
    for name in ("wrist20", "wrist20_vis", "palm21_vis"):
        numbers |= aggregates(name, gathered[name])
    return numbers | common(data, right_side, told_side)


# InterHand2.6M: one or two hands


def interhand(data):
    """Every metric of the InterHand2.6M layout from the arrays of interhand.npz."""
    kinds = {"single": {}, "interacting": {}, "all": {}}
    mrrpe, mrrpe_own, right_side, told_side = [], [], [], []
    for i in range(len(data["pred"])):
        present, pred, true = data["present"][i], data["pred"][i], data["true"][i]
        kind = "interacting" if present.all() else "single"
        wrists = [data["valid"][i][20] and present[0], data["valid"][i][41] and present[1]]
        for side in (0, 1):
            for j in range(21 * side, 21 * side + 21):
                if data["valid"][i][j] and wrists[side]:
                    w = 20 + 21 * side
                    error = distance(pred[j] - pred[w], true[j] - true[w])
                    kinds[kind].setdefault(j, []).append(error)
                    kinds["all"].setdefault(j, []).append(error)
        if kind == "interacting" and all(wrists) and np.isfinite(data["relative"][i]):
            mrrpe.append(relative_root(pred, true, pred[20][2] + data["relative"][i]))
            own = (pred[41][2] - data["root_depth"][i][1]) - (pred[20][2] - data["root_depth"][i][0])
            mrrpe_own.append(relative_root(pred, true, pred[20][2] + data["relative"][i] + own))
        p = data["side_probability"][i]
        if np.isfinite(p).all() and data["side_valid"][i]:
            told_side.append(i)
            right_side.append(all((p[s] > 0.5) if present[s] else (p[s] < 0.5) for s in (0, 1)))
    numbers = {}
    for kind, errors in kinds.items():
        numbers |= aggregates(f"mpjpe_{kind}", errors)
        for part, joints in (("no_wrist", range(20)), ("fingertip", TIPS), ("base", BASES)):
            numbers[f"mpjpe_{kind}_{part}"] = joint_means({j: e for j, e in errors.items() if j % 21 in joints})
    numbers["mrrpe"], numbers["mrrpe_own_offset"] = (sum(m) / len(m) if m else None for m in (mrrpe, mrrpe_own))
    return numbers | common(data, right_side, told_side)


def relative_root(pred, true, depth):
    left = pred[41] * depth / pred[41][2]  # on the ray of its pixel
    return distance(left - pred[20], true[41] - true[20])


# Both


def common(data, right_side, told_side):
    """Handedness, and the depth of the wrists."""
    precisions = []
    for side in (0, 1):
        scores = [(float(data["side_probability"][i][side]), bool(data["present"][i][side])) for i in told_side]
        total = sum(hit for _, hit in scores)
        if not total:
            continue
        area, recall = 0.0, 0.0
        for threshold in sorted({s for s, _ in scores}, reverse=True):
            taken = [hit for s, hit in scores if s >= threshold]
            area += (sum(taken) / total - recall) * sum(taken) / len(taken)
            recall = sum(taken) / total
        precisions.append(area)
    depth = {s: [] for s in (0, 1)}
    for i in range(len(data["pred"])):
        for side in (0, 1):
            w = 20 + 21 * side
            if data["valid"][i][w] and data["present"][i][side]:
                depth[side].append(abs(float(data["pred"][i][w][2]) - float(data["true"][i][w][2])))
    return {
        "handedness_accuracy": sum(right_side) / len(right_side) if right_side else None,
        "handedness_ap": sum(precisions) / len(precisions) if precisions else None,
        "root_depth": joint_means(depth),
    }
