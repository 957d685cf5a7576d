"""Draw scenes of one or two hands: pose, identity, viewpoint, contact, look and camera."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from msff.skeleton import JOINTS
from msff.standin import anatomy as an
from msff.standin.anatomy import Identity, draw_identity
from msff.standin.background import draw_background
from msff.standin.pose import POSE_DRAWS, contact_shift, draw_pose, pose_hand, rotation, self_penetration
from msff.standin.renderer import Camera, Hands, RenderedBatch, render_scenes
from msff.standin.shading import NOISE_TILE

CANDIDATES = 6  # poses drawn per hand; the first that does not penetrate itself is kept
_SELF_OVERLAP_MM = 2.0  # soft flesh: what two parts of one hand may share


def draw_hands(rng: np.random.Generator, present: tuple[bool, bool], spread: float = 1.0) -> dict[str, np.ndarray]:
    """Random numbers of one scene's hands. ``spread`` scales how far viewpoints stray from upright."""
    back = rng.random() < 0.5  # the back of the hand towards the viewer, or the palm
    facing = np.where(rng.random(2) < 0.8, back, rng.random(2) < 0.5)
    roll, pitch, yaw = rng.normal(0, 26 * spread, 2), rng.normal(0, 22 * spread, 2), rng.normal(0, 24 * spread, 2)
    tilt = np.stack([roll, pitch.clip(-50, 50), yaw], 1)  # (2, 3) degrees
    mode = rng.choice(4, p=(0.3, 0.25, 0.25, 0.2))  # apart, touching, one over the other, crossed
    cross = rng.choice((-1.0, 1.0)) * rng.uniform(25, 55)
    if mode == 3:
        tilt[:, 0] = 0.4 * tilt[:, 0] + np.array([cross, cross])
    if mode >= 2:  # hands that lie over each other are about parallel, else an elbow meets a fingertip
        tilt[1, 1] = tilt[0, 1] + rng.normal(0, 6)
    side = rng.choice((-1.0, 1.0))
    if mode < 2:
        direction = np.array([side, rng.normal(0, 0.25), rng.normal(0, 0.25)])
        offset, gap = np.array([0, rng.normal(0, 25), rng.normal(0, 15)]), (rng.uniform(8, 45) if mode == 0 else -1.0)
    else:
        direction = np.array([rng.normal(0, 0.15), rng.normal(0, 0.15), side])
        offset, gap = np.array([rng.normal(0, 28), rng.normal(0, 28), 0.0]), -1.0
    return {
        "present": np.array(present), "pose": rng.random((2, CANDIDATES, POSE_DRAWS)), "facing": facing.astype(float),
        "tilt": tilt, "direction": direction / np.linalg.norm(direction), "offset": offset, "gap": np.array(gap),
    }  # fmt: skip


def compose(draws: dict[str, Tensor], identity: Identity) -> Hands:
    """Pose both hands, turn them to the viewer and bring them together. Draws (B, ...) -> stage frame, centred."""
    candidates = draw_pose(draws["pose"])  # (B, 2, C, 25)
    overlap = self_penetration(pose_hand(candidates, _expand(identity, 2, CANDIDATES)).spheres)  # (B, 2, C)
    order = torch.arange(CANDIDATES, dtype=overlap.dtype) * 1e-3
    best = (overlap.clamp(min=_SELF_OVERLAP_MM) + order).argmin(-1)  # (B, 2)
    angles = candidates.gather(2, best[..., None, None].expand(-1, -1, 1, an.ANGLES))[:, :, 0]  # (B, 2, 25)
    posed = pose_hand(angles, _expand(identity, 2))
    turn = _view_rotation(draws["tilt"], draws["facing"])  # (B, 2, 3, 3)
    mirror = torch.diag(turn.new_tensor([-1.0, 1.0, 1.0]))
    turn = torch.stack([mirror @ turn[:, 0], turn[:, 1]], 1)
    middle = (turn @ posed.joints.mean(-2)[..., None])[..., 0]  # (B, 2, 3)
    spheres = posed.spheres[..., :3] @ turn.transpose(-1, -2) - middle[..., None, :]
    spheres = torch.cat([spheres, posed.spheres[..., 3:]], -1)
    moving = torch.cat([spheres[:, 1, :, :3] + draws["offset"][:, None], spheres[:, 1, :, 3:]], -1)
    along = contact_shift(moving, spheres[:, 0], draws["direction"])
    along = torch.where(torch.isfinite(along), along, torch.zeros_like(along)) + draws["gap"]
    left = draws["offset"] + along[:, None] * draws["direction"]
    shift = torch.stack([torch.zeros_like(left), left], 1) - middle
    hands = Hands(posed, turn, shift, draws["present"].bool(), identity.scale)
    present = hands.present.repeat_interleave(JOINTS // 2, 1)[..., None]
    centre = (hands.joints_mm() * present).sum(1) / present.sum(1)  # (B, 3)
    return Hands(posed, turn, shift - centre[:, None], hands.present, identity.scale)


def _expand(identity: Identity, *shape: int) -> Identity:
    """(B, ...) -> (B, *shape, ...)."""
    parts = []
    for f in fields(identity):
        value = getattr(identity, f.name)
        batch, extra = value.shape[:1], value.shape[1:]
        parts.append(value.view(*batch, *(1 for _ in shape), *extra).expand(*batch, *shape, *extra))
    return Identity(*parts)


def _view_rotation(tilt: Tensor, facing: Tensor) -> Tensor:
    """Left hand to stage: fingers up, back (facing 1) or palm (0) to the viewer, then tilted. (B, 2, 3) degrees."""
    upright = torch.diag(tilt.new_tensor([1.0, -1.0, -1.0]))
    about = rotation("y", 180 * (1 - facing) + tilt[..., 2])
    return rotation("z", tilt[..., 0]) @ rotation("x", tilt[..., 1]) @ about @ upright


def draw_look(rng: np.random.Generator, person: np.random.Generator, tone: int, studio: bool) -> dict[str, np.ndarray]:
    """Appearance of one scene: the person's own (``person``) and this moment's (``rng``)."""
    tint = 1 + person.normal(0, 0.025, 3)
    redness, varnish = person.uniform(0.3, 1.0), person.random() < 0.12
    nail = np.array([*person.random(3), 0.9 * varnish])
    sleeve = np.array([*person.random(6) * 0.85 + 0.05, 1 / person.uniform(6, 30), person.random() < 0.4])
    start = person.uniform(28, 150) if person.random() < 0.6 else np.inf
    light = rng.normal(0, 1, 3) * [0.8, 0.5, 0.25] + [0, -0.6, -0.9]
    warm = rng.uniform(-0.12, 0.12)
    power = rng.uniform(0.55, 0.95) if studio else rng.uniform(0.45, 1.5)
    ambient = rng.uniform(0.35, 0.55) if studio else rng.uniform(0.18, 0.5)
    colour = np.array([1 + warm, 1.0, 1 - warm])
    exposure = 0.72 + 0.06 * tone  # a camera meters for the skin it sees
    tone_here = np.array(float(tone) + person.uniform(-0.3, 0.3)).clip(0, 7)
    fill = np.array([-light[0], 0.3, -0.6])
    return {
        "tone": tone_here, "tint": tint, "redness": np.array(redness),
        "nail": nail, "sleeve_from_mm": np.array(start), "sleeve": sleeve, "texture_shift": person.random(3) * 48,
        "light": light / np.linalg.norm(light), "light_colour": exposure * power * colour,
        "fill": fill / np.linalg.norm(fill), "fill_colour": rng.uniform(0.05, 0.25) * colour[::-1],
        "ambient": exposure * ambient * (1 + rng.uniform(-0.06, 0.06, 3)),
        "gloss": np.array(person.uniform(0.02, 0.09)),
    }  # fmt: skip


def draw_sensor(rng: np.random.Generator, grey: bool = False) -> dict[str, np.ndarray]:
    """Blur, gain, noise and colour of one exposure."""
    return {
        "sensor": np.array([rng.uniform(0.3, 0.75), rng.uniform(0.9, 1.12), rng.uniform(0.003, 0.02), float(grey)]),
        "noise_at": rng.integers(0, NOISE_TILE, 2),
    }


def stack(draws: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """Per-scene draws -> (B, ...) float64 tensors."""
    return {k: torch.from_numpy(np.stack([np.asarray(d[k], dtype=np.float64) for d in draws])) for k in draws[0]}


def frame_hands(hands: Hands, distance_mm: Tensor, place: Tensor, focal_px: Tensor, height: int, width: int,
                fill: float = 0.92) -> Camera:  # fmt: skip
    """A camera before the stage with all joints in the frame. (B,) distance, (B, 2) place in [-1, 1]^2, (B,) focal."""
    joints = hands.joints_mm()
    reach = joints.abs().amax(1)  # (B, 3)
    half = torch.tensor([width, height], dtype=joints.dtype) / 2
    needed = (focal_px[:, None] * reach[:, :2] / (fill * half)).amax(1) + reach[:, 2]
    z = torch.maximum(distance_mm, needed)
    room = (fill * half - focal_px[:, None] * reach[:, :2] / (z - reach[:, 2])[:, None]).clamp(min=0)
    shift = torch.cat([place * room * (z / focal_px)[:, None], z[:, None]], 1)
    intrinsics = torch.zeros(len(z), 3, 3, dtype=joints.dtype)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal_px
    intrinsics[:, :2, 2], intrinsics[:, 2, 2] = half, 1
    return Camera(torch.eye(3, dtype=joints.dtype).expand(len(z), 3, 3), shift, intrinsics)


def person_rng(*key: int) -> np.random.Generator:
    """A generator that depends on ``key`` alone."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))


def identity_of(people: list[np.random.Generator], forearm: float) -> Identity:
    """(B,) identities, one per person."""
    return draw_identity(torch.from_numpy(np.stack([p.random(32) for p in people])), forearm)


def render(generator: torch.Generator, count: int, size: int, device: torch.device | str = "cpu") -> RenderedBatch:
    """``count`` hand-filling crops of ``size`` px, single and interacting in equal share, in memory.

    Scenes depend on the generator's next draw alone.
    """
    if count < 1 or size < 16:
        raise ValueError(f"count must be at least 1 and size at least 16 px, got count={count}, size={size}")
    base = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
    draws, people = [], []
    for i in range(count):
        rng, person = person_rng(base, i, 0), person_rng(base, i, 1)
        people.append(person_rng(base, i, 2))
        present = (True, True) if rng.random() < 0.5 else ((True, False), (False, True))[rng.integers(2)]
        tone = int(rng.integers(8))
        skin_colour = np.array(an.SKIN_TONES_SRGB[tone])
        draws.append(
            draw_hands(rng, present) | draw_look(rng, person, tone, False) | draw_background(rng, False, skin_colour)
            | draw_sensor(rng) | {"place": rng.uniform(-1, 1, 2), "zoom": np.array(rng.uniform(1.02, 1.5)),
                                  "view_deg": np.array(rng.uniform(25, 62))}
        )  # fmt: skip
    d = stack(draws)
    hands = compose(d, identity_of(people, 1.45))
    focal = size / 2 / torch.tan(torch.deg2rad(d["view_deg"]) / 2)
    nearest = frame_hands(hands, torch.zeros(count, dtype=torch.float64), d["place"], focal, size, size).shift[:, 2]
    camera = frame_hands(hands, nearest * d["zoom"], d["place"], focal, size, size)
    return render_scenes(hands, camera, d, size, size, device=device)
