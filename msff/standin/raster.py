"""A z-buffer without loops: every triangle of a batch in one flat list, one scatter for the nearest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FACE_BITS = 21
_EMPTY = torch.iinfo(torch.int64).max
_EDGE_TOLERANCE = 1e-4  # barycentric: neighbours computed apart must not leave a crack


@dataclass(frozen=True)
class ZBuffer:
    """Nearest surface per pixel."""

    face: Tensor  # (B, H, W) int64, -1 where nothing is hit
    depth_mm: Tensor  # (B, H, W) float32, 0 where nothing is hit

    @property
    def covered(self) -> Tensor:
        """(B, H, W) bool."""
        return self.face >= 0


def rasterise(
    screen_px: Tensor, depth_mm: Tensor, faces: Tensor, height: int, width: int, *, keep: Tensor | None = None,
    perspective: bool = True,
) -> ZBuffer:  # fmt: skip
    """Nearest front face at every pixel centre. (B, V, 2) px, (B, V) mm, (F, 3) -> (B, H, W).

    A face is in front if its corners turn anticlockwise on screen (y down: negative signed area); ``keep`` (B, F) drops
    faces. Depths are kept to 1 micrometre; of equal depths the lower face index wins. With ``perspective`` 1 / depth
    is linear on screen, else depth is.
    """
    batch, count = screen_px.shape[0], faces.shape[0]
    flat = faces.reshape(-1)
    corner = screen_px.index_select(1, flat).view(batch, count, 3, 2)
    z = depth_mm.index_select(1, flat).view(batch, count, 3)
    low = corner.amin(2).ceil()  # (B, F, 2)
    high = corner.amax(2).floor()
    limit = corner.new_tensor([width - 1, height - 1])
    low, high = low.clamp(min=0), torch.minimum(high, limit)
    span = high - low + 1
    edge1, edge2 = corner[:, :, 1] - corner[:, :, 0], corner[:, :, 2] - corner[:, :, 0]
    area = edge1[..., 0] * edge2[..., 1] - edge1[..., 1] * edge2[..., 0]  # (B, F)
    use = (area < -1e-6) & (span > 0).all(-1) & (z.amin(-1) > 1)
    if keep is not None:
        use = use & keep
    image, face = use.nonzero(as_tuple=True)  # (T,)
    if face.numel() == 0:
        return _unpack(torch.full((batch, height, width), _EMPTY, dtype=torch.int64, device=screen_px.device))
    corner, z, low, span = corner[image, face], z[image, face], low[image, face].long(), span[image, face].long()
    plane = _planes(corner, 1 / z if perspective else z)  # (T, 9)
    sample, x, y = _samples(low, span)
    return _unpack(_nearest(plane, sample, x, y, image, face, (batch, height, width), perspective))


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


def _samples(low: Tensor, span: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """All pixels of all bounding boxes: the triangle and the pixel x, y of each. (T, 2) -> 3 x (S,)."""
    count = span[:, 0] * span[:, 1]
    sample = torch.repeat_interleave(count)  # (S,)
    first = count.cumsum(0) - count
    within = torch.arange(sample.shape[0], device=low.device) - first[sample]
    wide = span[:, 0][sample]
    row = within // wide
    return sample, low[:, 0][sample] + within - row * wide, low[:, 1][sample] + row


def _nearest(plane, sample, x, y, image, face, shape, perspective) -> Tensor:
    batch, height, width = shape
    p = plane.index_select(0, sample).unbind(1)  # 9 x (S,)
    fx, fy = x.to(plane.dtype), y.to(plane.dtype)
    w1, w2 = p[0] * fx + p[1] * fy + p[2], p[3] * fx + p[4] * fy + p[5]
    inside = ((w1 > -_EDGE_TOLERANCE) & (w2 > -_EDGE_TOLERANCE) & (w1 + w2 < 1 + _EDGE_TOLERANCE)).nonzero()[:, 0]
    value = (p[6] * fx + p[7] * fy + p[8])[inside]
    depth = 1 / value if perspective else value
    owner = sample[inside]
    micrometres = (depth.double() * 1000).round().long().clamp(min=0)
    key = (micrometres << _FACE_BITS) | face[owner]
    pixel = (image[owner] * height + y[inside]) * width + x[inside]
    buffer = torch.full((batch * height * width,), _EMPTY, dtype=torch.int64, device=plane.device)
    return buffer.scatter_reduce_(0, pixel, key, "amin").view(batch, height, width)


def _unpack(buffer: Tensor) -> ZBuffer:
    empty = buffer == _EMPTY
    face = (buffer & ((1 << _FACE_BITS) - 1)).masked_fill(empty, -1)
    depth = ((buffer >> _FACE_BITS).double() / 1000).float().masked_fill(empty, 0)
    return ZBuffer(face, depth)


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
