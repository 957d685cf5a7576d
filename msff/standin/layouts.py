"""What the two datasets show: scenes of RHD's and of InterHand2.6M's kind, each a function of (seed, split, index)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from msff.skeleton import JOINTS_PER_HAND, WRIST
from msff.standin.anatomy import SKIN_TONES_SRGB, Identity, draw_identity
from msff.standin.contact import COARSE_MM, filling, spheres
from msff.standin.draws import Draws, row
from msff.standin.pose import rotation
from msff.standin.renderer import Appearance, Camera, Hands, RenderedBatch, joint_radius_mm, render_scenes, stage
from msff.standin.scene import (
    FOREARM,
    HandDraws,
    compose,
    draw_appearance,
    draw_hands,
    frame_hands,
    one_or_two,
    reach_out,
)
from msff.standin.version import GENERATOR_VERSION

SPLITS = {"training": 0, "train": 0, "evaluation": 1, "test": 1}
RHD_SIZE, INTERHAND_WIDTH, INTERHAND_HEIGHT = 320, 512, 334
PEOPLE = {0: 64, 1: 24}  # persons of the RHD layout per split; the real set has 16 and 4
CAMERAS, CAMERAS_PER_FRAME, FRAMES_PER_SEQUENCE, SEQUENCES_PER_CAPTURE = 8, 3, 2, 4
GREY_CAMERAS = (6, 7)
_SPREAD = 0.42  # of viewpoints about upright: gives the mean pose an error like that of the real sets
_MIN_VIEWS = 2  # an annotator triangulates a joint from at least two of the rig's views


def _key(kind: int, seed: int, split: str, *key: int) -> tuple[int, ...]:
    return (GENERATOR_VERSION, kind, seed, SPLITS[split], *key)


def _persons(seed: int, split: str, indices: list[int]) -> list[int]:
    """The person of each image of the RHD layout."""
    return [int(row(*_key(0, seed, split, i))[0] * PEOPLE[SPLITS[split]]) for i in indices]


def rhd_scenes(seed: int, split: str, indices: list[int], size: int, device: torch.device | str = "cpu"):
    """Frames of a person at arm's length, one or two hands, ``size`` px square."""
    with stage("draws"):
        people = _persons(seed, split, indices)
        scene = Draws.of_keys([_key(1, seed, split, i) for i in indices], device)
        person = Draws.of_keys([_key(2, seed, split, n) for n in people], device)
        identity = draw_identity(person.take(32), FOREARM)
        tone = torch.tensor([float(n % len(SKIN_TONES_SRGB)) for n in people], dtype=torch.float64, device=device)
        hand_draws = draw_hands(scene, one_or_two(scene, 0.55), _SPREAD)
        place = torch.stack([scene.uniform(-0.9, 0.9), scene.uniform(-0.4, 0.9)], 1)
        distance, zoom = scene.uniform(330, 560), scene.uniform(0.97, 1.08)
        appearance = draw_appearance(person, scene, scene, scene, tone)
    hands = compose(hand_draws, identity)
    camera = frame_hands(hands, distance, place, 283 * zoom * size / RHD_SIZE, size, size)
    return render_scenes(reach_out(hands, camera, size, size), camera, appearance, size, size)


@dataclass(frozen=True)
class StudioKey:
    """Where image ``index`` of a split lies in the InterHand2.6M hierarchy."""

    index: int
    capture: int
    sequence: int  # within the capture: even interacting, odd single
    frame: int  # within the split: names the frame
    slot: int  # which of the frame's cameras

    @staticmethod
    def of(index: int) -> StudioKey:
        frame, slot = divmod(index, CAMERAS_PER_FRAME)
        sequence = frame // FRAMES_PER_SEQUENCE
        return StudioKey(index, sequence // SEQUENCES_PER_CAPTURE, sequence % SEQUENCES_PER_CAPTURE, frame, slot)


@dataclass(frozen=True)
class Rig:
    """The calibrated cameras of one capture. World frame in mm."""

    rotation: Tensor  # (8, 3, 3) world to camera
    position: Tensor  # (8, 3) in the world
    focal: Tensor  # (8,) px at 512 px width
    principal: Tensor  # (8, 2) px at 512 px width
    stage_rotation: Tensor  # (3, 3) stage to world
    stage_shift: Tensor  # (3,)


@dataclass(frozen=True)
class StudioFrames:
    """Rendered studio images with what their annotations need beyond the images."""

    batch: RenderedBatch
    keys: list[StudioKey]
    cameras: list[int]
    world_mm: Tensor  # (B, 42, 3)
    joint_valid: Tensor  # (B, 42) bool


def rig_of(seed: int, split: str, capture: int) -> Rig:
    """Eight cameras about the stage's front, the same for every frame of a capture."""
    draws = Draws.of_keys([_key(3, seed, split, capture)])
    order = draws.take(CAMERAS)[0].argsort()
    azimuth = torch.linspace(-34, 34, CAMERAS, dtype=torch.float64)[order] + draws.normal(0, 3, CAMERAS)[0]
    elevation, roll = draws.normal(-6, 12, CAMERAS)[0], draws.normal(0, 5, CAMERAS)[0]
    distance, focal = draws.uniform(1000, 1180, CAMERAS)[0], draws.uniform(1150, 1300, CAMERAS)[0]
    principal = torch.tensor([256.0, 167.0], dtype=torch.float64) + draws.normal(0, 6, CAMERAS, 2)[0]
    turn = _turns(roll, elevation, azimuth)  # stage to camera
    stage_rotation = _turns(*draws.normal(0, 20, 3, 1)[0])[0]
    shift = draws.normal(0, 300, 3)[0]
    centre = -distance[:, None, None] * turn.transpose(1, 2)[..., 2:]  # (8, 3, 1) in the stage
    position = (stage_rotation @ centre)[..., 0] + shift
    return Rig(turn @ stage_rotation.T, position, focal, principal, stage_rotation, shift)


def _turns(roll: Tensor, elevation: Tensor, azimuth: Tensor) -> Tensor:
    return rotation("z", roll) @ rotation("x", elevation) @ rotation("y", azimuth)


@dataclass(frozen=True)
class _Studio:
    """The draws of B studio images."""

    hands: HandDraws
    identity: Identity
    appearance: Appearance
    offset_mm: Tensor  # (B, 3) of the hands from the stage's centre
    cameras: list[int]


def _studio(seed: int, split: str, keys: list[StudioKey], device: torch.device | str) -> _Studio:
    """Hands of the frame, person and light of the capture, wall of the camera, sensor of the image."""

    def draws(kind: int, *of: str) -> Draws:
        return Draws.of_keys([_key(kind, seed, split, *(getattr(k, name) for name in of)) for k in keys], device)

    frame, person, light = draws(4, "frame"), draws(5, "capture"), draws(6, "capture")
    two = [k.sequence % 2 == 0 for k in keys]
    left = [(k.sequence // 2 + k.capture) % 2 == 1 for k in keys]
    present = torch.tensor([[t or not one, t or one] for t, one in zip(two, left, strict=True)], device=device)
    hands = draw_hands(frame, present, _SPREAD)
    offset, order = frame.normal(0, 14, 3), frame.take(CAMERAS).argsort(1)
    cameras = [numbers[k.slot] for numbers, k in zip(order.tolist(), keys, strict=True)]
    walls = [_key(7, seed, split, k.capture, c) for k, c in zip(keys, cameras, strict=True)]
    wall, image = Draws.of_keys(walls, device), draws(8, "index")
    tone = torch.tensor([(k.capture * 3 + SPLITS[split]) % 8 for k in keys], dtype=torch.float64, device=device)
    identity = draw_identity(person.take(32), FOREARM)
    grey = torch.tensor([c in GREY_CAMERAS for c in cameras], device=device)
    appearance = draw_appearance(person, light, wall, image, tone, studio=True, grey=grey)
    return _Studio(hands, identity, appearance, offset, cameras)


def interhand_frames(seed: int, split: str, indices: list[int], width: int, height: int,
                     device: torch.device | str = "cpu") -> StudioFrames:  # fmt: skip
    """Studio images of calibrated cameras, single and interacting hands in equal share."""
    with stage("draws"):
        keys = [StudioKey.of(i) for i in indices]
        studio = _studio(seed, split, keys, device)
        rigs = {k.capture: rig_of(seed, split, k.capture) for k in keys}
        rig = [rigs[k.capture] for k in keys]
    hands = compose(studio.hands, studio.identity)
    to_world = torch.stack([r.stage_rotation for r in rig]).to(device)
    shift = torch.stack([r.stage_shift for r in rig]).to(device) + (to_world @ studio.offset_mm[..., None])[..., 0]
    world = hands.joints_mm() @ to_world.transpose(1, 2) + shift[:, None]
    present = hands.present.repeat_interleave(JOINTS_PER_HAND, 1)
    world = world * present[..., None]
    numbered = list(zip(rig, studio.cameras, strict=True))
    turn = torch.stack([r.rotation[n] for r, n in numbered]).to(device)
    position = torch.stack([r.position[n] for r, n in numbered]).to(device)
    intrinsics = torch.stack([rig_intrinsics(r, n, width, height) for r, n in numbered]).to(device)
    camera = Camera(turn @ to_world, (turn @ (shift - position)[..., None])[..., 0], intrinsics)
    look = studio.appearance.look  # the lights are fixed to the studio, so each camera sees them from elsewhere
    lights = {n: (camera.rotation.float() @ getattr(look, n)[..., None])[..., 0] for n in ("light", "fill")}
    appearance = replace(studio.appearance, look=replace(look, **lights))
    batch = render_scenes(reach_out(hands, camera, height, width), camera, appearance, height, width)
    eyes = torch.stack([r.position for r in rig]).to(device)
    valid = _annotated(hands, world, to_world, shift, eyes)
    return StudioFrames(batch, keys, studio.cameras, world, valid)


def _annotated(hands: Hands, world: Tensor, to_world: Tensor, shift: Tensor, eyes: Tensor) -> Tensor:
    """(B, 42) bool: joints that enough of the rig's cameras see, as an annotator would need; wrists always."""
    filling_balls = spheres(hands.posed, filling(COARSE_MM, world.device))  # (B, 2, K, 4)
    centre = filling_balls[..., :3] @ hands.turn.transpose(-1, -2) + hands.shift[..., None, :]
    centre = (centre @ to_world[:, None].transpose(-1, -2) + shift[:, None, None]).flatten(1, 2)
    radius = (filling_balls[..., 3] * hands.present[..., None]).flatten(1, 2)
    present = hands.present.repeat_interleave(JOINTS_PER_HAND, 1)
    valid = present & (_views(world, centre, radius, eyes, hands.scale) >= _MIN_VIEWS)
    for wrist in (WRIST, JOINTS_PER_HAND + WRIST):  # the real annotations nearly always have the wrist
        valid[:, wrist] = present[:, wrist]
    return valid


def rig_intrinsics(rig: Rig, number: int, width: int, height: int) -> Tensor:
    """(3, 3) px of a camera for images of ``width`` x ``height``."""
    scale = width / INTERHAND_WIDTH
    k = torch.zeros(3, 3, dtype=torch.float64)
    k[0, 0] = k[1, 1] = rig.focal[number] * scale
    k[:2, 2] = rig.principal[number] * torch.tensor([scale, height / INTERHAND_HEIGHT])
    k[2, 2] = 1
    return k


def _views(joints: Tensor, spheres: Tensor, radius: Tensor, eyes: Tensor, scale: Tensor) -> Tensor:
    """How many cameras see each joint past the spheres that fill the hands. (B, 42, 3), (B, S, 3 and 1), (B, E, 3)."""
    own = joint_radius_mm(scale.device).repeat(2) * scale[:, None]  # (B, 42)
    seen = torch.zeros(joints.shape[:2], dtype=torch.long, device=joints.device)
    for e in range(eyes.shape[1]):
        ray = eyes[:, e, None] - joints  # (B, 42, 3)
        length = ray.norm(dim=-1, keepdim=True)
        ray = ray / length
        offset = spheres[:, None] - joints[:, :, None]  # (B, 42, S, 3)
        along = (offset * ray[:, :, None]).sum(-1)
        across = ((offset**2).sum(-1) - along**2).clamp(min=0).sqrt()
        blocks = (along > 1.6 * own[..., None] + 0.3 * radius[:, None]) & (across < 0.9 * radius[:, None])
        seen += ~blocks.any(-1)
    return seen
