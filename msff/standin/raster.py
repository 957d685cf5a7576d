"""A z-buffer without loops: every triangle of a batch in one flat list, one scatter for the nearest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from msff.standin.draws import constant

_FACE_BITS = 21
EMPTY = torch.iinfo(torch.int64).max
_NEAR_MM = 1.0
_EDGE_TOLERANCE = 1e-4  # barycentric: neighbours computed apart must not leave a crack


@dataclass(frozen=True)
class ZBuffer:
    """Nearest surface per pixel, packed: micrometres of depth above the face index, so that less means nearer."""

    key: Tensor  # (B, H, W) int64, EMPTY where nothing is hit

    @property
    def covered(self) -> Tensor:
        """(B, H, W) bool."""
        return self.key != EMPTY

    @property
    def face(self) -> Tensor:
        """(B, H, W) int64, -1 where nothing is hit."""
        return torch.where(self.covered, unpack_face(self.key), -1)

    @property
    def depth_mm(self) -> Tensor:
        """(B, H, W) float32, 0 where nothing is hit."""
        return torch.where(self.covered, unpack_depth_mm(self.key), 0.0)


def unpack_face(key: Tensor) -> Tensor:
    """Face index of covered keys."""
    return key & ((1 << _FACE_BITS) - 1)


def unpack_depth_mm(key: Tensor) -> Tensor:
    """Depth of covered keys, float32 mm."""
    return ((key >> _FACE_BITS).double() / 1000).float()


def rasterise(
    screen_px: Tensor, depth_mm: Tensor, faces: Tensor, height: int, width: int, *, keep: Tensor | None = None,
    perspective: bool = True,
) -> ZBuffer:  # fmt: skip
    """Nearest front face at every pixel centre. (B, V, 2) px, (B, V) mm, (F, 3) -> (B, H, W).

    A face is in front if its corners turn anticlockwise on screen (y down: negative signed area); ``keep`` (B, F) drops
    faces. Depths are kept to 1 micrometre; of equal depths the lower face index wins. With ``perspective`` 1 / depth
    is linear on screen, else depth is.
    """
    batch = screen_px.shape[0]
    buffer = torch.full((batch * height * width,), EMPTY, dtype=torch.int64, device=screen_px.device)
    image, face, corner, z = _front_faces(screen_px, depth_mm, faces, height, width, keep)
    if len(face):
        plane = _planes(corner, 1 / z if perspective else z)  # (T, 9)
        owner, y, x0, x1 = _rows(corner, plane, height, width)
        pixel, value, owner = _pixels(plane, owner, y, x0, x1, image, height, width)
        depth = 1 / value if perspective else value
        key = ((depth.double() * 1000).round().long().clamp(min=0) << _FACE_BITS) | face.index_select(0, owner)
        buffer.scatter_reduce_(0, pixel, key, "amin")
    return ZBuffer(buffer.view(batch, height, width))


def _front_faces(screen_px, depth_mm, faces, height, width, keep):
    """Faces turned to the viewer that may hold a pixel centre: image, face (T,), corners (T, 3, 2), depths (T, 3)."""
    a, b, c = (screen_px.index_select(1, faces[:, k]) for k in range(3))  # (B, F, 2)
    e1, e2 = b - a, c - a
    area = e1[..., 0] * e2[..., 1] - e1[..., 1] * e2[..., 0]  # (B, F)
    limit = constant((width - 1.0, height - 1.0), screen_px.device, screen_px.dtype)
    low = torch.minimum(torch.minimum(a, b), c).ceil().clamp(min=0)
    high = torch.minimum(torch.maximum(torch.maximum(a, b), c).floor(), limit)
    use = (area < -1e-6) & (high >= low).all(-1)
    if keep is not None:
        use = use & keep
    image, face = use.nonzero(as_tuple=True)  # (T,)
    corners = faces.index_select(0, face)  # (T, 3)
    corner, z = screen_px[image[:, None], corners], depth_mm[image[:, None], corners]
    near = (z.amin(1) > _NEAR_MM).nonzero()[:, 0]
    return image[near], face[near], corner[near], z[near]


def _planes(corner: Tensor, value: Tensor) -> Tensor:
    """(T, 3, 2), (T, 3) -> (T, 9): w1, w2 and the value, each as a x + b y + c."""
    origin, e1, e2 = corner[:, 0], corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    det = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    a1, b1, a2, b2 = e2[:, 1] / det, -e2[:, 0] / det, -e1[:, 1] / det, e1[:, 0] / det
    c1, c2 = -(a1 * origin[:, 0] + b1 * origin[:, 1]), -(a2 * origin[:, 0] + b2 * origin[:, 1])
    d1, d2 = value[:, 1] - value[:, 0], value[:, 2] - value[:, 0]
    return torch.stack(
        [a1, b1, c1, a2, b2, c2, a1 * d1 + a2 * d2, b1 * d1 + b2 * d2, value[:, 0] + c1 * d1 + c2 * d2], 1
    )


def _rows(corner: Tensor, plane: Tensor, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Every triangle's pixel rows with their span: triangle, y, first and last x, (R,) each; empty rows dropped."""
    top = corner[..., 1].amin(1).ceil().clamp(min=0)  # (T,)
    bottom = corner[..., 1].amax(1).floor().clamp(max=height - 1)
    count = (bottom - top + 1).long()
    owner = torch.repeat_interleave(count)  # (R,)
    y = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count).index_select(0, owner)
    y = y.to(plane.dtype) + top.index_select(0, owner)
    low = corner[..., 0].amin(1).ceil().clamp(min=0).index_select(0, owner)
    high = corner[..., 0].amax(1).floor().clamp(max=width - 1).index_select(0, owner)
    p = plane.index_select(0, owner).unbind(1)
    edges = ((p[0], p[1] * y + p[2]), (p[3], p[4] * y + p[5]), (-p[0] - p[3], 1 - p[2] - p[5] - (p[1] + p[4]) * y))
    for slope, rest in edges:  # weight = slope x + rest must exceed -tolerance
        bound = -(rest + _EDGE_TOLERANCE) / slope
        low = torch.where(slope > 0, torch.maximum(low, bound.ceil()), low)
        high = torch.where(slope < 0, torch.minimum(high, bound.floor()), high)
        high = torch.where((slope == 0) & (rest < -_EDGE_TOLERANCE), low - 1, high)
    some = (high >= low).nonzero()[:, 0]
    return owner[some], y[some], low[some], high[some]


def _pixels(plane, owner, y, x0, x1, image, height, width) -> tuple[Tensor, Tensor, Tensor]:
    """All pixels of the rows: flat index, interpolated value, triangle, (S,) each."""
    count = (x1 - x0 + 1).long()
    row = torch.repeat_interleave(count)  # (S,)
    p = plane.index_select(0, owner)
    start_value = p[:, 6] * x0 + p[:, 7] * y + p[:, 8]  # (R,)
    start = (image.index_select(0, owner) * height + y.long()) * width + x0.long()
    first = count.cumsum(0) - count
    at = torch.arange(len(row), device=row.device)
    step = (at - first.index_select(0, row)).to(plane.dtype)
    value = start_value.index_select(0, row) + p[:, 6].contiguous().index_select(0, row) * step
    return at + (start - first).index_select(0, row), value, owner.index_select(0, row)


def barycentric(corner_px: Tensor, point_px: Tensor, corner_depth: Tensor | None = None) -> Tensor:
    """Weights of three corners at a point, perspective-correct where depths are given. (P, 3, 2), (P, 2) -> (P, 3)."""
    e1, e2, d = corner_px[:, 1] - corner_px[:, 0], corner_px[:, 2] - corner_px[:, 0], point_px - corner_px[:, 0]
    det = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    w1 = (d[:, 0] * e2[:, 1] - d[:, 1] * e2[:, 0]) / det
    w2 = (e1[:, 0] * d[:, 1] - e1[:, 1] * d[:, 0]) / det
    weight = torch.stack([1 - w1 - w2, w1, w2], 1)
    if corner_depth is not None:
        weight = weight / corner_depth
        weight = weight / weight.sum(1, keepdim=True)
    return weight.clamp(0, 1)
