"""Draw scenes of one or two hands: pose, identity, viewpoint, contact, look and camera."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from msff.camera import project
from msff.skeleton import JOINTS
from msff.standin import anatomy as an
from msff.standin.anatomy import Identity
from msff.standin.background import draw_background
from msff.standin.contact import (
    COARSE_MM,
    FINE_MM,
    contact_shift,
    filling,
    self_penetration,
    skin_points,
    spheres,
    sunk,
)
from msff.standin.draws import Draws, constant
from msff.standin.look import draw_look
from msff.standin.mesh import skin
from msff.standin.pose import POSE_DRAWS, Posed, curled, draw_pose, interlace, pose_hand, rotation
from msff.standin.renderer import Appearance, Camera, Hands, RenderedBatch, render_scenes, stage
from msff.standin.sensor import draw_sensor
from msff.standin.vectors import unit

POSES = 6  # poses drawn per hand; the first that does not penetrate itself is kept
PLACES = 8  # ways to bring two hands together; the one that brings them closest is kept
PAIRS = ("apart", "touching", "over", "crossed", "interlaced")
PAIR_SHARES = (0.28, 0.22, 0.22, 0.14, 0.14)
APART, TOUCHING, OVER, CROSSED, INTERLACED = range(5)
_ROW_MM = 45.0  # how far one row of knuckles may be shifted along the other
_CURLS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.0)  # how far interlaced fingers close, tried in this order
_PRESSED_MM = 1.0
_REACHES = (1.0, 1.3, 1.7, 2.2, 3.0)  # how much longer a forearm may become to reach the border
_ELBOW_MM = 42.0  # half its width
_NEAR_MM = 30.0
FOREARM = 1.9  # of its natural length: an arm that ends in the picture would look cut off
_ANY_ROLL = 0.07  # share of scenes in which the arms may come from any side
_SELF_OVERLAP_MM = 2.0  # soft flesh: what two parts of one hand may share


@dataclass(frozen=True)
class HandDraws:
    """What chance decides about the hands of B scenes, in the stage frame (x right, y down, z away from the viewer)."""

    present: Tensor  # (B, 2) bool right, left
    pose: Tensor  # (B, 2, POSES, POSE_DRAWS) uniform
    pair: Tensor  # (B,) index into PAIRS
    turn: Tensor  # (B, 2, 3, 3) hand to stage; the right hand's is a reflection
    direction: Tensor  # (B, PLACES, 3) unit: the left hand comes to the right one from there
    offset_mm: Tensor  # (B, PLACES, 3) of the left hand beside that path
    gap_mm: Tensor  # (B,) left between the two; negative presses the flesh


def draw_hands(draws: Draws, present: Tensor, spread: float = 1.0) -> HandDraws:
    """Hands of B scenes, ``present`` (B, 2) bool. ``spread`` scales how far viewpoints stray from upright."""
    pose = draws.take(2, POSES, POSE_DRAWS)
    pair = draws.choice(PAIR_SHARES)
    back = draws.flag(0.5)  # the back of the hand towards the viewer, or the palm
    facing = torch.where(draws.flag(0.8, 2), back[:, None], draws.flag(0.5, 2))
    side, beside = draws.sign(), (pair <= TOUCHING)[:, None, None]
    tilt = _draw_tilt(draws, pair, side, spread)
    jitter, places = draws.normal(0, 1, PLACES, 3), draws.normal(0, 1, PLACES, 3)
    way = (pair > TOUCHING).long()  # hands beside each other meet along x, others along the view
    axis = constant(((1.0, 0.0, 0.0), (0.0, 0.0, 1.0)), pair.device)[way][:, None]  # (B, 1, 3)
    direction = side[:, None, None] * axis + torch.where(beside, 0.25, 0.15) * jitter * (1 - axis)
    spans = constant(((0.0, 25.0, 15.0), (28.0, 28.0, 0.0)), pair.device)[way][:, None]
    offset, gap = spans * places, torch.where(pair == APART, draws.uniform(8, 45), 0.0)
    turn = _mirrored(_view_rotation(tilt, facing))
    laced_turn, laced_direction, laced_offset = _interlaced(draws, spread)
    pair = torch.where(present.all(1), pair, APART)
    laced = (pair == INTERLACED)[:, None, None]
    # arms come from below, but for some that come from anywhere
    roll = rotation("z", torch.where(draws.flag(_ANY_ROLL), draws.normal(0, 120 * spread), draws.normal(0, 8 * spread)))
    return HandDraws(
        present, pose, pair, roll[:, None] @ torch.where(laced[..., None], laced_turn, turn),
        unit(torch.where(laced, laced_direction, direction)) @ roll.transpose(1, 2),
        torch.where(laced, laced_offset, offset) @ roll.transpose(1, 2), gap,
    )  # fmt: skip


def _draw_tilt(draws: Draws, pair: Tensor, side: Tensor, spread: float) -> Tensor:
    """(B, 2, 3) degrees of roll, pitch and yaw of each hand about upright; ``side`` (B,) where the left hand is."""
    roll, pitch, yaw = (deviation * spread * draws.normal(0, 1, 2) for deviation in (23, 20, 24))
    elbows = side * draws.uniform(0, 40 * spread)  # hands side by side meet between their elbows
    roll = torch.where((pair == TOUCHING)[:, None], roll + torch.stack([elbows, -elbows], 1), roll)
    cross, level = draws.sign() * draws.uniform(25, 55), draws.normal(0, 6)
    roll = torch.where((pair == CROSSED)[:, None], 0.4 * roll + cross[:, None], roll)
    pitch = pitch.clamp(-50, 50)
    # hands that lie over each other are about parallel, else an elbow meets a fingertip
    second = torch.where(pair >= OVER, pitch[:, 0] + level, pitch[:, 1])
    return torch.stack([roll, torch.stack([pitch[:, 0], second], 1), yaw], -1)


def _interlaced(draws: Draws, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    """Turns, directions and offsets of palms that face each other, the fingers of one between those of the other."""
    lean = draws.uniform(30, 70)  # of each hand's fingers towards the other hand
    noise = draws.normal(0, 5, 2, 3)
    zero = torch.zeros_like(lean)
    # left hand at the viewer's left, thumb to the viewer: x -> -z, y (fingers) -> leaning up, z (back) -> outwards
    base = torch.stack([zero, zero, -torch.ones_like(lean)], -1)
    rad = torch.deg2rad(lean)
    fingers = torch.stack([rad.sin(), -rad.cos(), zero], -1)
    left = torch.stack([base, fingers, torch.linalg.cross(base, fingers)], -1)  # (B, 3, 3)
    wobble = rotation("z", noise[..., 0]) @ rotation("x", noise[..., 1]) @ rotation("y", noise[..., 2])
    turn = _mirrored(wobble @ left[:, None])
    view = (
        rotation("z", 22 * spread * draws.normal(0, 1)) @ rotation("x", draws.uniform(-30, 30))
        @ rotation("y", draws.uniform(-45, 45))
    )  # fmt: skip
    direction = -view[..., 0]  # from the viewer's left
    up = draws.normal(0, 6, PLACES)
    rows = torch.linspace(-_ROW_MM, _ROW_MM, PLACES, dtype=lean.dtype, device=lean.device)
    along = rows + draws.normal(0, 3, PLACES)  # a search for the gaps
    offset = up[..., None] * view[:, None, :, 1] + along[..., None] * view[:, None, :, 2]  # (B, PLACES, 3)
    return view[:, None] @ turn, direction[:, None].expand(-1, PLACES, 3), offset


def _mirrored(turn: Tensor) -> Tensor:
    """The right hand's turn reflected in x. (B, 2, 3, 3)."""
    return turn * constant(((-1.0, 1.0, 1.0), (1.0, 1.0, 1.0)), turn.device)[:, :, None]


def _view_rotation(tilt: Tensor, facing: Tensor) -> Tensor:
    """Left hand to stage: fingers up, back (facing) or palm to the viewer, then tilted. (B, 2, 3) degrees."""
    upright = constant(((1.0, 0.0, 0.0), (0.0, -1.0, 0.0), (0.0, 0.0, -1.0)), tilt.device)
    about = rotation("y", torch.where(facing, 0.0, 180.0) + tilt[..., 2])
    return rotation("z", tilt[..., 0]) @ rotation("x", tilt[..., 1]) @ about @ upright


def compose(draws: HandDraws, identity: Identity) -> Hands:
    """Pose both hands, turn them to the viewer and bring them together: stage frame, centred on the joints."""
    pair = _expand(identity, 2)
    with stage("pose"):
        angles = _pose(draws, identity)
        posed = pose_hand(angles, pair)
    with stage("contact"):
        shift = _meet(draws, posed)
        angles = _close(draws, identity, angles, shift)
        posed = pose_hand(angles, pair)
    hands = Hands(posed, draws.turn, shift, draws.present, identity.scale)
    present = draws.present.repeat_interleave(JOINTS // 2, 1)[..., None]
    centre = (hands.joints_mm() * present).sum(1) / present.sum(1)  # (B, 3)
    return Hands(posed, draws.turn, shift - centre[:, None], draws.present, identity.scale)


def _pose(draws: HandDraws, identity: Identity) -> Tensor:
    """(B, 2, 25) degrees: the first pose of each hand that does not penetrate itself."""
    candidates = draw_pose(draws.pose)  # (B, 2, C, 25)
    laced = interlace(candidates, draws.pose)
    candidates = torch.where((draws.pair == INTERLACED)[:, None, None, None], laced, candidates)
    overlap = self_penetration(pose_hand(candidates, _expand(identity, 2, POSES)))  # (B, 2, C)
    order = torch.arange(POSES, dtype=overlap.dtype, device=overlap.device) * 1e-3
    best = (overlap.clamp(min=_SELF_OVERLAP_MM) + order).argmin(-1)  # (B, 2)
    return candidates.gather(2, best[..., None, None].expand(-1, -1, 1, an.ANGLES))[:, :, 0]


def _close(draws: HandDraws, identity: Identity, angles: Tensor, shift: Tensor) -> Tensor:
    """Bend interlaced fingers until the other hand stops them. (B, 2, 25) degrees -> the same."""
    rows = (draws.pair == INTERLACED).nonzero()[:, 0]
    curl = constant(_CURLS, angles.device)
    closed = curled(angles[rows][:, None], curl[:, None])  # (R, L, 2, 25)
    same = Identity(*(getattr(identity, f.name)[rows] for f in fields(identity)))
    posed = pose_hand(closed, _expand(same, len(curl), 2))
    turn, shift = draws.turn[rows][:, None], shift[rows][:, None]  # (R, 1, 2, 3, 3)
    points, balls = _solid(posed, turn, shift, FINE_MM)
    depth = torch.maximum(sunk(points[:, :, 0], balls[:, :, 1]), sunk(points[:, :, 1], balls[:, :, 0]))  # (R, L)
    allowed = (depth <= depth[:, -1:].clamp(min=_PRESSED_MM)) & (depth > -_PRESSED_MM)  # still in each other's grip
    allowed[:, -1] = True
    first = allowed.int().argmax(1)
    return angles.index_copy(0, rows, closed[torch.arange(len(rows), device=rows.device), first])


def _solid(posed: Posed, turn: Tensor, shift: Tensor, tolerance_mm: float) -> tuple[Tensor, Tensor]:
    """Skin points (..., P, 3) and inner spheres (..., L, 4) of hands in the stage frame, float32 mm."""
    device = turn.device
    points, _ = skin(posed, skin_points(tolerance_mm, device))
    points = points @ turn.float().transpose(-1, -2) + shift[..., None, :].float()
    balls = spheres(posed, filling(tolerance_mm, device))
    centre = balls[..., :3] @ turn.transpose(-1, -2) + shift[..., None, :]
    return points, torch.cat([centre, balls[..., 3:]], -1).float()


def _meet(draws: HandDraws, posed: Posed) -> Tensor:
    """(B, 2, 3) mm shift of each hand: the left one comes from its direction until it touches the right one."""
    middle = (draws.turn @ posed.joints.mean(-2)[..., None])[..., 0]  # (B, 2, 3)
    two = draws.present.all(1).nonzero()[:, 0]  # (R,)
    chosen = Posed(*(getattr(posed, f.name)[two] for f in fields(Posed)))
    turn, away = draws.turn[two], -middle[two]
    direction, offset = draws.direction[two], draws.offset_mm[two]  # (R, PLACES, 3)
    # where the hands come closest is searched coarsely, how far they may come is then found finely
    place = _approach(*_solid(chosen, turn, away, COARSE_MM), direction, offset)
    place = torch.where(place.isfinite(), place, torch.inf).argmin(1)
    rows = torch.arange(len(two), device=two.device)
    direction, offset = direction[rows, place], offset[rows, place]  # (R, 3)
    along = _approach(*_solid(chosen, turn, away, FINE_MM), direction[:, None], offset[:, None])[:, 0]
    along = torch.where(along.isfinite(), along, 0.0)
    left = offset + (along.double() + draws.gap_mm[two])[:, None] * direction
    shift = torch.zeros_like(middle)
    shift[two, 1] = left
    return shift - middle


def _approach(points: Tensor, balls: Tensor, direction: Tensor, offset: Tensor) -> Tensor:
    """How far from its offset the left hand stops. (R, 2, P, 3), (R, 2, L, 4), (R, N, 3) twice -> (R, N) mm.

    -inf where it would pass by.
    """
    direction, offset = direction.float(), offset.float()
    mine = contact_shift(points[:, 1, None] + offset[..., None, :], balls[:, 0, None], direction)
    # the right hand's skin against the left hand's spheres is the same meeting seen from the other side
    theirs = contact_shift(points[:, 0, None] - offset[..., None, :], balls[:, 1, None], -direction)
    return torch.maximum(mine, theirs)


def _expand(identity: Identity, *shape: int) -> Identity:
    """(B, ...) -> (B, *shape, ...)."""
    parts = []
    for f in fields(identity):
        value = getattr(identity, f.name)
        batch, extra = value.shape[:1], value.shape[1:]
        parts.append(value.view(*batch, *(1 for _ in shape), *extra).expand(*batch, *shape, *extra))
    return Identity(*parts)


def draw_appearance(person: Draws, moment: Draws, wall: Draws, sensor: Draws, tone: Tensor, *, studio: bool = False,
                    grey: Tensor | None = None) -> Appearance:  # fmt: skip
    """Skin, light, background and exposure of B scenes; ``tone`` (B,) 0 very light .. 7 very dark."""
    skin_srgb = constant(an.SKIN_TONES_SRGB, tone.device)[tone.long()]
    grey = torch.zeros(len(tone), dtype=torch.bool, device=tone.device) if grey is None else grey
    look, background = draw_look(person, moment, tone, studio), draw_background(wall, skin_srgb, studio)
    return Appearance(look, background, draw_sensor(sensor, grey, still=studio))


def frame_hands(hands: Hands, distance_mm: Tensor, place: Tensor, focal_px: Tensor, height: int, width: int,
                fill: float = 0.92) -> Camera:  # fmt: skip
    """A camera before the stage with all joints in the frame. (B,) distance, (B, 2) place in [-1, 1]^2, (B,) focal."""
    joints = hands.joints_mm()
    reach = joints.abs().amax(1)  # (B, 3)
    half = constant((width / 2, height / 2), joints.device)
    needed = (focal_px[:, None] * reach[:, :2] / (fill * half)).amax(1) + reach[:, 2]
    z = torch.maximum(distance_mm, needed)
    room = (fill * half - focal_px[:, None] * reach[:, :2] / (z - reach[:, 2])[:, None]).clamp(min=0)
    shift = torch.cat([place * room * (z / focal_px)[:, None], z[:, None]], 1)
    intrinsics = joints.new_zeros(len(z), 3, 3)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal_px
    intrinsics[:, :2, 2], intrinsics[:, 2, 2] = half, 1
    return Camera(torch.eye(3, dtype=joints.dtype, device=joints.device).expand(len(z), 3, 3), shift, intrinsics)


def reach_out(hands: Hands, camera: Camera, height: int, width: int) -> Hands:
    """The same hands with forearms so long that their elbows leave the picture, where any length does."""
    stretch = hands.posed.stretch  # (B, 2, 19, 3)
    longer = constant(_REACHES, stretch.device)  # (L,)
    bone = -an.FOREARM_MM * stretch[:, :, an.FOREARM, 1, None] * hands.posed.rotation[:, :, an.FOREARM, :, 1]
    elbow = longer[:, None] * (hands.turn @ bone[..., None])[:, :, None, :, 0] + hands.shift[:, :, None]  # (B, 2, L, 3)
    elbow = elbow.flatten(1, 2) @ camera.rotation.transpose(1, 2) + camera.shift[:, None]
    pixel = project(elbow, camera.intrinsics).unflatten(1, (2, -1))  # (B, 2, L, 2)
    depth = elbow[..., 2].unflatten(1, (2, -1))
    thick = _ELBOW_MM * hands.scale[:, None, None] * camera.intrinsics[:, 0, 0, None, None] / depth.clamp(min=1)
    beyond = torch.maximum(-pixel, pixel - constant((width - 1.0, height - 1.0), pixel.device)).amax(-1)
    gone = (beyond > thick) | (depth < _NEAR_MM)
    gone[..., -1] = True
    factor = longer[gone.int().argmax(-1)]  # (B, 2) of the first that is gone
    stretch = stretch.clone()
    stretch[:, :, an.FOREARM, 1] *= factor
    return replace(hands, posed=replace(hands.posed, stretch=stretch))


def one_or_two(draws: Draws, both: float) -> Tensor:
    """(B, 2) bool right, left: two hands with probability ``both``, else either."""
    two, left = draws.flag(both), draws.flag(0.5)
    return torch.stack([two | ~left, two | left], 1)


def render(generator: torch.Generator, count: int, size: int, device: torch.device | str = "cpu") -> RenderedBatch:
    """``count`` hand-filling crops of ``size`` px, single and interacting in equal share, in memory.

    Scenes depend on the generator's next draws alone.
    """
    if count < 1 or size < 16:
        raise ValueError(f"count must be at least 1 and size at least 16 px, got count={count}, size={size}")
    with stage("draws"):
        scene, person = (Draws.of_generator(generator, count, device) for _ in range(2))
        identity = an.draw_identity(person.take(32), FOREARM)
        tone = person.choice((1,) * 8).double()
        hand_draws = draw_hands(scene, one_or_two(scene, 0.5), 0.6)
        place, zoom, view_deg = scene.uniform(-1, 1, 2), scene.uniform(1.02, 1.5), scene.uniform(25, 62)
        appearance = draw_appearance(person, scene, scene, scene, tone)
    hands = compose(hand_draws, identity)
    focal = size / 2 / torch.tan(torch.deg2rad(view_deg) / 2)
    nearest = frame_hands(hands, torch.zeros_like(focal), place, focal, size, size).shift[:, 2]
    camera = frame_hands(hands, nearest * zoom, place, focal, size, size)
    return render_scenes(reach_out(hands, camera, size, size), camera, appearance, size, size)
