"""What the two datasets show: scenes of RHD's and of InterHand2.6M's kind, each a function of (seed, split, index)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from msff.skeleton import JOINTS_PER_HAND, WRIST
from msff.standin import anatomy as an
from msff.standin.background import draw_background
from msff.standin.pose import rotation
from msff.standin.renderer import Camera, RenderedBatch, joint_radius_mm, render_scenes
from msff.standin.scene import (
    compose,
    draw_hands,
    draw_look,
    draw_sensor,
    frame_hands,
    identity_of,
    person_rng,
    stack,
)
from msff.standin.version import GENERATOR_VERSION

SPLITS = {"training": 0, "train": 0, "evaluation": 1, "test": 1}
RHD_SIZE, INTERHAND_WIDTH, INTERHAND_HEIGHT = 320, 512, 334
_PEOPLE = {0: 64, 1: 24}  # persons of the RHD layout per split; the real set has 16 and 4
CAMERAS, CAMERAS_PER_FRAME, FRAMES_PER_SEQUENCE, SEQUENCES_PER_CAPTURE = 8, 3, 2, 4
GREY_CAMERAS = (6, 7)
_SPREAD = 0.55  # of viewpoints about upright: gives the mean pose an error like that of the real sets
_MIN_VIEWS = 2  # an annotator triangulates a joint from at least two of the rig's views


def _rng(kind: int, seed: int, split: str, *key: int) -> np.random.Generator:
    return person_rng(GENERATOR_VERSION, kind, seed, SPLITS[split], *key)


def rhd_scenes(seed: int, split: str, indices: list[int], size: int, device: torch.device | str = "cpu"):
    """Frames of a person at arm's length, one or two hands, ``size`` px square."""
    draws, people = [], []
    for index in indices:
        rng = _rng(0, seed, split, index)
        number = int(rng.integers(_PEOPLE[SPLITS[split]]))
        person, tone = _rng(1, seed, split, number, 0), number % 8
        people.append(_rng(1, seed, split, number, 1))
        both = rng.random() < 0.55
        present = (True, True) if both else ((True, False), (False, True))[rng.integers(2)]
        skin_colour = np.array(an.SKIN_TONES_SRGB[tone])
        draw = draw_hands(rng, present, _SPREAD) | draw_look(rng, person, tone, False)
        draw |= draw_background(rng, False, skin_colour) | draw_sensor(rng)
        draw |= {"place": rng.uniform((-0.9, -0.4), 0.9), "distance": np.array(rng.uniform(330, 560))}
        draws.append(draw | {"zoom": np.array(rng.uniform(0.97, 1.08))})
    d = stack(draws)
    hands = compose(d, identity_of(people, 1.9))
    camera = frame_hands(hands, d["distance"], d["place"], 283 * d["zoom"] * size / RHD_SIZE, size, size)
    return render_scenes(hands, camera, d, size, size, device=device)


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
    rng = _rng(2, seed, split, capture)
    azimuth = np.linspace(-34, 34, CAMERAS)[rng.permutation(CAMERAS)] + rng.normal(0, 3, CAMERAS)
    elevation, roll = rng.normal(-6, 12, CAMERAS), rng.normal(0, 5, CAMERAS)
    distance, focal = rng.uniform(1000, 1180, CAMERAS), rng.uniform(1150, 1300, CAMERAS)
    principal = np.array([256, 167]) + rng.normal(0, 6, (CAMERAS, 2))
    turn = _turns(roll, elevation, azimuth)  # stage to camera
    stage = _turns(*rng.normal(0, 20, (3, 1)))[0]
    shift = torch.from_numpy(rng.normal(0, 300, 3))
    centre = -turn.transpose(1, 2) @ torch.from_numpy(np.stack([0 * distance, 0 * distance, distance], 1))[..., None]
    position = (stage @ centre)[..., 0] + shift
    return Rig(turn @ stage.T, position, torch.from_numpy(focal), torch.from_numpy(principal), stage, shift)


def _turns(roll: np.ndarray, elevation: np.ndarray, azimuth: np.ndarray) -> Tensor:
    r, e, a = (torch.from_numpy(np.asarray(x, dtype=np.float64)) for x in (roll, elevation, azimuth))
    return rotation("z", r) @ rotation("x", e) @ rotation("y", a)


def _studio_draws(seed: int, split: str, key: StudioKey) -> tuple[dict, np.random.Generator, int]:
    """Draws of one image: hands of the frame, look of the capture, sensor of the camera. -> draws, person, camera."""
    frame, image = _rng(3, seed, split, key.frame), _rng(4, seed, split, key.index)
    tone = int((key.capture * 3 + SPLITS[split]) % 8)
    if key.sequence % 2 == 0:
        present = (True, True)
    else:
        present = ((True, False), (False, True))[(key.sequence // 2 + key.capture) % 2]
    draws = draw_hands(frame, present, _SPREAD)
    draws["offset_mm"] = frame.normal(0, 14, 3)
    camera = int(frame.permutation(CAMERAS)[key.slot])
    person, light = _rng(6, seed, split, key.capture, 0), _rng(6, seed, split, key.capture, 1)
    wall = _rng(7, seed, split, key.capture, camera)
    draws |= draw_look(light, person, tone, True) | draw_background(wall, True, np.array(an.SKIN_TONES_SRGB[tone]))
    draws |= draw_sensor(image, camera in GREY_CAMERAS)
    return draws, _rng(6, seed, split, key.capture, 2), camera


def interhand_frames(seed: int, split: str, indices: list[int], width: int, height: int,
                     device: torch.device | str = "cpu") -> StudioFrames:  # fmt: skip
    """Studio images of calibrated cameras, single and interacting hands in equal share."""
    keys = [StudioKey.of(i) for i in indices]
    drawn = [_studio_draws(seed, split, k) for k in keys]
    d, numbers = stack([x[0] for x in drawn]), [x[2] for x in drawn]
    hands = compose(d, identity_of([x[1] for x in drawn], 1.35))
    rigs = {k.capture: rig_of(seed, split, k.capture) for k in keys}
    rig = [rigs[k.capture] for k in keys]
    stage = torch.stack([r.stage_rotation for r in rig])
    stage_shift = torch.stack([r.stage_shift for r in rig]) + (stage @ d["offset_mm"][..., None])[..., 0]
    world = hands.joints_mm() @ stage.transpose(1, 2) + stage_shift[:, None]
    present = hands.present.repeat_interleave(JOINTS_PER_HAND, 1)
    world = world * present[..., None]
    turn = torch.stack([r.rotation[n] for r, n in zip(rig, numbers, strict=True)])
    position = torch.stack([r.position[n] for r, n in zip(rig, numbers, strict=True)])
    intrinsics = torch.stack([rig_intrinsics(r, n, width, height) for r, n in zip(rig, numbers, strict=True)])
    camera = Camera(turn @ stage, (turn @ (stage_shift - position)[..., None])[..., 0], intrinsics)
    for name in ("light", "fill"):  # fixed to the studio, so each camera sees it from elsewhere
        d[name] = (camera.rotation @ d[name][..., None])[..., 0]
    batch = render_scenes(hands, camera, d, height, width, device=device)
    filling = hands.posed.spheres  # (B, 2, K, 4)
    spheres = filling[..., :3] @ hands.turn.transpose(-1, -2) + hands.shift[..., None, :]
    spheres = (spheres @ stage[:, None].transpose(-1, -2) + stage_shift[:, None, None]).flatten(1, 2)
    radius = (filling[..., 3] * hands.present[..., None]).flatten(1, 2)
    eyes = torch.stack([r.position for r in rig])
    seen = _views(world, spheres, radius, eyes, hands.scale)
    valid = present & (seen >= _MIN_VIEWS)
    valid[:, WRIST] = present[:, WRIST]  # the real annotations nearly always have the wrist
    valid[:, JOINTS_PER_HAND + WRIST] = present[:, JOINTS_PER_HAND + WRIST]
    return StudioFrames(batch, keys, numbers, world, valid)


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
    own = joint_radius_mm().repeat(2) * scale[:, None]  # (B, 42)
    seen = torch.zeros(joints.shape[:2], dtype=torch.long)
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
