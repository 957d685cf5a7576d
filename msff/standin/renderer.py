"""Render posed hands before a camera: images with joints, visibility, mask and depth."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.profiler import record_function

from msff.camera import project
from msff.skeleton import JOINTS
from msff.standin import anatomy as an
from msff.standin.background import Background, paint_background
from msff.standin.draws import once
from msff.standin.look import Look
from msff.standin.material import material, sleeved
from msff.standin.mesh import Template, skin, template
from msff.standin.pose import Posed
from msff.standin.raster import EMPTY, barycentric, rasterise, unpack_depth_mm, unpack_face
from msff.standin.sensor import Sensor, expose
from msff.standin.shading import ambient_occlusion, bumped, light_up, vector
from msff.standin.vectors import dot, unit

_SHADOW_PX = (144, 288)  # least and greatest side of the shadow map, between them the image's height
_JOINT_COVER = 1.5  # a joint is visible if the surface lies at most this many radii (and 3 mm) before it


def stage(name: str) -> record_function:
    """A named stage of the generator, which a profiler can tell apart."""
    return record_function(f"standin::{name}")


@dataclass(frozen=True)
class RenderedBatch:
    """B rendered scenes with ground truth; joints in the canonical order, absent hands zero and not visible."""

    images: Tensor  # (B, 3, H, W) uint8 sRGB
    joints_cam_mm: Tensor  # (B, 42, 3) float64
    joints_px: Tensor  # (B, 42, 2) float64, image
    visible: Tensor  # (B, 42) bool: inside the image and not behind another surface
    mask: Tensor  # (B, H, W) uint8, RHD's labels 0..33
    depth_mm: Tensor  # (B, H, W) float32, 0 where there is no hand
    intrinsics: Tensor  # (B, 3, 3) float64 px
    side_present: Tensor  # (B, 2) bool right, left

    def cpu(self) -> RenderedBatch:
        """The same batch in the main memory."""
        return RenderedBatch(*(getattr(self, f.name).cpu() for f in fields(self)))


@dataclass(frozen=True)
class Hands:
    """Two posed hands per scene in the stage frame (x right, y down, z away from the viewer; mm)."""

    posed: Posed  # (B, 2, ...) left-hand frames
    turn: Tensor  # (B, 2, 3, 3) hand to stage; the right hand's is a reflection
    shift: Tensor  # (B, 2, 3)
    present: Tensor  # (B, 2) bool right, left
    scale: Tensor  # (B,) size of the person's hands

    def joints_mm(self) -> Tensor:
        """(B, 42, 3) in the stage frame, zero where a hand is absent."""
        joints = self.posed.joints @ self.turn.transpose(-1, -2) + self.shift[..., None, :]
        return (joints * self.present[..., None, None]).flatten(1, 2)


@dataclass(frozen=True)
class Camera:
    """cam = rotation @ stage + shift."""

    rotation: Tensor  # (B, 3, 3)
    shift: Tensor  # (B, 3) mm
    intrinsics: Tensor  # (B, 3, 3) px


@dataclass(frozen=True)
class Appearance:
    """All that decides the pixels beyond geometry."""

    look: Look  # directions in the camera frame
    background: Background
    sensor: Sensor


def render_scenes(
    hands: Hands, camera: Camera, appearance: Appearance, height: int, width: int, *,
    supersample: int = 2, mesh: Template | None = None,
) -> RenderedBatch:  # fmt: skip
    """Render B scenes on the device of their tensors, a pixel being the mean of ``supersample``^2 samples."""
    device = hands.turn.device
    mesh = template(device=device) if mesh is None else mesh.to(device)
    joints = hands.joints_mm() @ camera.rotation.transpose(-1, -2) + camera.shift[:, None]
    joints = joints * hands.present.repeat_interleave(JOINTS // 2, 1)[..., None]
    with stage("surface"):
        vertices, normals = _surface(hands, camera, appearance.look, mesh)
        faces = torch.cat([mesh.faces.flip(1), mesh.faces + len(mesh.vertices_mm)])
        keep = hands.present.repeat_interleave(len(mesh.faces), 1)
        screen = project(vertices, camera.intrinsics.float()).nan_to_num(-1e4)
    s = supersample
    with stage("raster"):
        fine = rasterise(screen * s + (s - 1) / 2, vertices[..., 2], faces, height * s, width * s, keep=keep)
        owner, row, column, face, depth, alpha, point = _resolve(fine.key, s)
        corners = faces[face]  # (P, 3)
        weight = barycentric(screen[owner[:, None], corners], point, vertices[..., 2][owner[:, None], corners])
        covered = (owner, row, column)
    with stage("shade"):
        sky = _open_sky(covered, depth, (len(joints), height, width))
        points = (owner, corners, weight)
        colour, label = _shade(mesh, appearance.look, *points, vertices, normals, faces, keep, sky, height)
    with stage("background"):
        images = _composite(paint_background(appearance.background, height, width), covered, colour, alpha)
    with stage("sensor"):
        images = expose(images, appearance.sensor)
    with stage("truth"):
        hard = alpha >= 0.5
        solid = (owner[hard], row[hard], column[hard])
        mask = torch.zeros(len(joints), height, width, dtype=torch.uint8, device=device)
        mask[solid] = label[hard]
        depth_map = torch.zeros(len(joints), height, width, device=device)
        depth_map[solid] = depth[hard]
        present = hands.present.repeat_interleave(JOINTS // 2, 1)
        pixels = project(joints, camera.intrinsics).nan_to_num(0.0) * present[..., None]
        visible = _visible(joints, pixels, fine.key, s, hands.scale) & present
    return RenderedBatch(images, joints, pixels, visible, mask, depth_map, camera.intrinsics, hands.present)


def _composite(images: Tensor, covered: tuple[Tensor, ...], colour: Tensor, alpha: Tensor) -> Tensor:
    """The shaded pixels over their background. (B, 3, H, W) sRGB."""
    images = images.permute(0, 2, 3, 1).contiguous()  # (B, H, W, 3)
    behind = images[covered]
    images[covered] = behind + alpha[:, None] * (colour - behind)
    return images.permute(0, 3, 1, 2).contiguous()


def _surface(hands: Hands, camera: Camera, look: Look, mesh: Template) -> tuple[Tensor, Tensor]:
    """Both hands' vertices and normals in the camera frame, (B, 2V, 3) each, sleeves puffed out."""
    vertices, normals = skin(hands.posed, mesh)  # (B, 2, V, 3)
    turn = (camera.rotation[:, None] @ hands.turn).float()
    shift = ((camera.rotation[:, None] @ hands.shift[..., None])[..., 0] + camera.shift[:, None]).float()
    past = (-mesh.vertices_mm[:, 1] - look.sleeve_from_mm[:, None]).clamp(min=0)  # (B, V) mm under the sleeve
    puff = 5 * (1 - torch.exp(-past / 2.0))
    vertices = vertices + normals * puff[:, None, :, None]
    vertices = vertices @ turn.transpose(-1, -2) + shift[..., None, :]
    return vertices.flatten(1, 2), (normals @ turn.transpose(-1, -2)).flatten(1, 2)


def _resolve(key: Tensor, s: int) -> tuple[Tensor, ...]:
    """Nearest sub-sample of each covered pixel: image, row, column, face, depth, coverage (P,), its place (P, 2) px."""
    parts = [key[:, y::s, x::s] for y in range(s) for x in range(s)]  # s * s of (B, H, W)
    nearest = parts[0]
    for part in parts[1:]:
        nearest = torch.minimum(nearest, part)
    owner, row, column = (nearest != EMPTY).nonzero(as_tuple=True)
    samples = torch.stack([part[owner, row, column] for part in parts], 1)  # (P, s * s)
    best, pick = samples.min(1)
    sub = torch.stack([pick % s, pick // s], 1)  # x, y
    point = torch.stack([column, row], 1) + (sub - (s - 1) / 2) / s
    coverage = (samples != EMPTY).float().mean(1)
    return owner, row, column, unpack_face(best), unpack_depth_mm(best), coverage, point.float()


def _open_sky(covered: tuple[Tensor, Tensor, Tensor], depth_mm: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(P,) ambient occlusion factor of the covered pixels."""
    depth_map = torch.zeros(shape, device=depth_mm.device)
    depth_map[covered] = depth_mm
    return ambient_occlusion(depth_map, depth_map > 0)[covered]


def _shade(mesh, look, owner, corners, weight, vertices, normals, faces, keep, sky, height) -> tuple[Tensor, Tensor]:
    """sRGB colour (P, 3) and RHD mask label (P,) of the covered pixels."""
    count = len(mesh.vertices_mm)
    local = corners % count
    columns = (mesh.vertices_mm, mesh.chain[:, None], mesh.dorsal[:, None], mesh.nail, mesh.redness[:, None])
    static = torch.cat(columns, 1)  # (V, 8)
    value = _blend(static, local, weight)  # (P, 8)
    rest, chain, dorsal, nail, redness = value[:, :3], value[:, 3], value[:, 4], value[:, 5:7], value[:, 7]
    finger = mesh.finger[local.gather(1, weight.argmax(1, keepdim=True))[:, 0]]
    at = owner[:, None] * vertices.shape[1] + corners  # (P, 3) rows of the flat batch
    vertices_flat = vertices.flatten(0, 1)
    normal = unit(_blend(normals.flatten(0, 1), at, weight))
    place = _blend(vertices_flat, at, weight)
    with stage("shadow"):
        side = min(max(height, _SHADOW_PX[0]), _SHADOW_PX[1])
        lit = _cast_shadow(place, normal, owner, look, vertices, faces, keep, side)
    here = material(look, owner, rest, chain, dorsal, nail, redness, finger)
    normal = bumped(normal, here.slope, mesh.vertices_mm[local], vertices_flat[at])
    view = -unit(place)
    colour = light_up(look, owner, here.albedo, normal, view, sky, lit, here.gloss)
    return colour, _labels(finger, chain, rest, corners >= count, sleeved(look, owner, rest))


def _blend(rows: Tensor, corners: Tensor, weight: Tensor) -> Tensor:
    """Rows (N, C) at the corners (P, 3) of triangles, weighted (P, 3). -> (P, C)."""
    parts = [rows.index_select(0, corners[:, k]) * weight[:, k, None] for k in range(3)]
    return parts[0].add_(parts[1]).add_(parts[2])


def _labels(finger: Tensor, chain: Tensor, rest: Tensor, left: Tensor, under_sleeve: Tensor) -> Tensor:
    """RHD mask labels: segments from tip to base per finger, palm, 1 for forearm and sleeve. (P,) uint8."""
    first = torch.where(left[:, 0], 2, 18)
    segment = chain.floor().clamp(0, 2).long()
    label = torch.where((finger < 5) & (chain > 0), first + 3 * finger + 2 - segment, first + 15)
    arm = under_sleeve | ((finger >= 5) & (rest[:, 1] < -4))
    return torch.where(arm, 1, label).to(torch.uint8)


def _cast_shadow(place, normal, owner, look, vertices, faces, keep, side: int) -> Tensor:
    """(P,) 0 in shadow .. 1 lit, from a depth map of ``side`` px seen along the light."""
    w = -look.light  # (B, 3)
    up = torch.where((w[:, 1:2].abs() > 0.9), vector(w.device, 1.0, 0.0, 0.0), vector(w.device, 0.0, 1.0, 0.0))
    u = unit(torch.linalg.cross(up, w))
    basis = torch.stack([u, torch.linalg.cross(w, u), w], 1)  # (B, 3, 3) rows
    seen = vertices @ basis.transpose(1, 2)  # (B, 2V, 3)
    mine = (basis[owner] @ place[..., None])[..., 0]  # (P, 3)
    index = torch.full((len(vertices), 3), torch.inf, device=w.device)
    index = index.scatter_reduce(0, owner[:, None].expand(-1, 3), mine, "amin")
    high = torch.full_like(index, -torch.inf).scatter_reduce(0, owner[:, None].expand(-1, 3), mine, "amax")
    span = (high - index)[:, :2].amax(1).clamp(min=1).nan_to_num(1.0, posinf=1.0, neginf=1.0)
    step = span / (side - 5)
    low = index.nan_to_num(0.0, posinf=0.0)
    low = torch.cat([low[:, :2], low[:, 2:] - 400], 1)
    flat = (seen[..., :2] - low[:, None, :2]) / step[:, None, None] + 2
    heights = seen[..., 2] - low[:, None, 2]
    buffer = rasterise(flat, heights, faces, side, side, keep=keep, perspective=False)
    at = (mine[:, :2] - low[owner, :2]) / step[owner, None] + 2
    depth = mine[:, 2] - low[owner, 2]
    slope = 1 - dot(normal, look.light[owner]).clamp(0, 1)
    bias = 1.2 + step[owner] * (0.7 + 2.5 * slope)
    corner = at.floor().long()
    t = at - corner
    lit = torch.zeros_like(depth)
    for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
        x, y = (corner[:, 0] + dx).clamp(0, side - 1), (corner[:, 1] + dy).clamp(0, side - 1)
        key = buffer.key[owner, y, x]
        blocked = (key != EMPTY) & (unpack_depth_mm(key) < depth - bias)
        part = (t[:, 0] if dx else 1 - t[:, 0]) * (t[:, 1] if dy else 1 - t[:, 1])
        lit = lit + part * (~blocked)
    return lit


def _visible(joints: Tensor, pixels: Tensor, key: Tensor, s: int, scale: Tensor) -> Tensor:
    """(B, 42) bool: inside the frame, and the nearest surface there is the joint's own flesh."""
    height, width = key.shape[1:]
    x, y = (pixels * s + (s - 1) / 2).round().long().unbind(-1)  # the nearest sub-sample
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    surface = key[torch.arange(len(joints), device=key.device)[:, None], y.clamp(0, height - 1), x.clamp(0, width - 1)]
    radius = joint_radius_mm(scale.device).repeat(2) * scale[:, None]  # (B, 42)
    behind = joints[..., 2] - unpack_depth_mm(surface)
    return inside & (surface != EMPTY) & (behind <= _JOINT_COVER * radius + 3)


@once
def joint_radius_mm(device: torch.device | str = "cpu") -> Tensor:
    """(21,) float64 thickness of the flesh about each joint of a mean hand."""
    radii = []
    for bones in an.RADIUS_MM:
        radii += [bones[2][1], bones[2][0], bones[1][0], bones[0][0]]
    return torch.tensor([*radii, an.WRIST_RADIUS_MM], dtype=torch.float64, device=device)
