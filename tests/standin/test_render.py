"""Rendered scenes: every annotation against an independent computation."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from msff import standin
from msff.camera import project, unproject
from msff.skeleton import JOINTS_PER_HAND, LEFT, RIGHT
from msff.standin import anatomy as an
from msff.standin import layouts
from msff.standin.draws import Draws
from msff.standin.mesh import skin, template
from msff.standin.renderer import Camera, Hands, joint_radius_mm, render_scenes
from msff.standin.scene import compose, draw_appearance, draw_hands, frame_hands

INDICES = list(range(12))


@pytest.fixture(scope="module")
def scenes():
    """Twelve RHD scenes at 160 px with the hands and cameras that made them."""
    caught = {}

    def spy(hands: Hands, camera: Camera, *args, **kwargs):
        caught.update(hands=hands, camera=camera)
        return render_scenes(hands, camera, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layouts, "render_scenes", spy)
        batch = layouts.rhd_scenes(7, "training", INDICES, 160)
    return batch, caught["hands"], caught["camera"]


def surfaces(hands: Hands, camera: Camera) -> torch.Tensor:
    """(B, 2, V, 3) bare hands in the camera frame."""
    vertices, _ = skin(hands.posed, template())
    turn = camera.rotation[:, None] @ hands.turn
    shift = (camera.rotation[:, None] @ hands.shift[..., None])[..., 0] + camera.shift[:, None]
    return vertices.double() @ turn.transpose(-1, -2) + shift[..., None, :]


def first_hit(rays: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Distance along unit rays from the origin to the nearest triangle, inf if none (Moeller and Trumbore)."""
    origin, e1, e2 = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    p = np.cross(rays[:, None], e2[None])
    det = (p * e1).sum(-1)
    det = np.where(np.abs(det) < 1e-12, np.nan, det)
    u = (p * -origin).sum(-1) / det
    q = np.cross(-origin, e1)
    v = (rays[:, None] * q).sum(-1) / det
    t = (q * e2).sum(-1) / det
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    return np.where(hit, t, np.inf).min(1)


def test_shapes_ranges_and_absent_hands(scenes):
    batch, _, _ = scenes
    assert batch.images.shape == (12, 3, 160, 160) and batch.images.dtype == torch.uint8
    assert batch.mask.max() <= 33 and set(batch.mask.unique().tolist()) - {0, 1}
    assert torch.equal(batch.mask > 0, batch.depth_mm > 0)
    for i, (right, left) in enumerate(batch.side_present.tolist()):
        assert bool(batch.joints_cam_mm[i, RIGHT].abs().sum()) == right
        assert bool(batch.joints_cam_mm[i, LEFT].abs().sum()) == left
        assert not batch.visible[i, LEFT].any() or left
        labels = batch.mask[i].unique()
        assert bool(((labels >= 2) & (labels < 18)).any()) == left
        assert bool((labels >= 18).any()) == right


def test_reprojection_and_bone_lengths(scenes):
    batch, _, _ = scenes
    present = batch.side_present.repeat_interleave(JOINTS_PER_HAND, 1)
    again = project(batch.joints_cam_mm, batch.intrinsics)
    assert (again - batch.joints_px)[present].abs().max() < 0.05
    inside = (batch.joints_px >= 0).all(-1) & (batch.joints_px <= 159).all(-1)
    assert inside[present].double().mean() > 0.97


def test_visibility_agrees_with_ray_casting(scenes):
    batch, hands, camera = scenes
    surface, faces = surfaces(hands, camera).numpy(), template().faces.numpy()
    agree, total = 0, 0
    for i in INDICES:
        present = [s for s in (0, 1) if batch.side_present[i, s]]
        corners = np.concatenate([surface[i, s][faces] for s in present])
        for s in present:
            joints = batch.joints_cam_mm[i, 21 * s : 21 * s + 21].numpy()
            distance = np.linalg.norm(joints, axis=1)
            hit = first_hit(joints / distance[:, None], corners)
            cover = 1.5 * joint_radius_mm().numpy() * float(hands.scale[i]) + 3
            agree += ((distance - hit <= cover) == batch.visible[i, 21 * s : 21 * s + 21].numpy()).sum()
            total += 21
    assert agree / total >= 0.97
    share = batch.visible[batch.side_present.repeat_interleave(21, 1)].double().mean()
    assert 0.5 < share < 0.95


def test_depth_lies_on_the_surface(scenes):
    batch, hands, camera = scenes
    surface, faces = surfaces(hands, camera).numpy(), template().faces.numpy()
    row, column = (batch.mask[0] > 1).nonzero(as_tuple=True)
    pick = torch.linspace(0, len(row) - 1, 150).long()
    row, column = row[pick], column[pick]
    depth = batch.depth_mm[0, row, column].double()
    points = unproject(torch.stack([column, row], 1).double(), depth, batch.intrinsics[0]).numpy()
    distance = np.linalg.norm(points, axis=1)
    corners = np.concatenate([surface[0, s][faces] for s in (0, 1) if batch.side_present[0, s]])
    off = np.abs(first_hit(points / distance[:, None], corners) - distance)
    assert np.median(off) < 1.0  # a sample lies up to a quarter pixel beside the ray: 0.7 mm on a slope of 45 degrees
    assert np.quantile(off, 0.9) < 5.0


def test_finger_labels_agree_with_the_nearest_bone(scenes):
    batch, hands, camera = scenes
    posed = hands.posed
    turn = camera.rotation[:, None] @ hands.turn
    shift = (camera.rotation[:, None] @ hands.shift[..., None])[..., 0] + camera.shift[:, None]
    head = posed.head[:, :, 2:17] @ turn.transpose(-1, -2) + shift[..., None, :]
    length = torch.tensor(an.LENGTH_MM, dtype=torch.float64).flatten() * posed.stretch[:, :, 2:17, 1]
    along = (turn[:, :, None] @ posed.rotation[:, :, 2:17])[..., 1] * length[..., None]  # (B, 2, 15, 3)
    radius = torch.tensor(an.RADIUS_MM, dtype=torch.float64)  # (5, 3, 2)
    shared = (radius[:, :-1, 1] + radius[:, 1:, 0]) / 2  # both bones end at their joint with one thickness
    radius[:, :-1, 1], radius[:, 1:, 0] = shared, shared
    start, end = (radius[..., k].flatten() * posed.stretch[:, :, 2:17, 0] for k in (0, 1))
    agree, total = 0, 0
    for i in INDICES:
        for s, first in ((0, 18), (1, 2)):
            label = batch.mask[i].long() - first
            row, column = ((label >= 0) & (label < 15)).nonzero(as_tuple=True)
            label = label[row, column]
            place = torch.stack([column, row], 1).double()
            points = unproject(place, batch.depth_mm[i, row, column].double(), batch.intrinsics[i])
            offset = points[:, None] - head[i, s]  # (P, 15, 3)
            t = ((offset * along[i, s]).sum(-1) / (along[i, s] ** 2).sum(-1)).clamp(0, 1)
            gap = (offset - t[..., None] * along[i, s]).norm(dim=-1) - start[i, s] - t * (end - start)[i, s]
            own = gap.gather(1, (3 * (label // 3) + 2 - label % 3)[:, None])[
                :, 0
            ]  # bones run to the tip, labels from it
            agree += (own - gap.amin(1) < 0.25).sum().item()  # mm: on a border both are nearest
            total += len(row)
    assert agree / total > 0.99


def one_hand(side: int, size: int = 129):
    """A scene of one hand whose draws are the same for the right (0) and the left (1) hand, mirrored about the axis."""
    draw = draw_hands(Draws.of_keys([(5,)]), torch.tensor([[side == 0, side == 1]]))
    mirror = draw.turn.new_tensor([-1.0, 1.0, 1.0])[:, None]
    same = draw.turn[:, :1] * mirror  # the right hand's turn, as a left one
    draw = replace(draw, pose=draw.pose[:, :1].expand(-1, 2, -1, -1), turn=torch.cat([same * mirror, same], 1))
    person, moment = Draws.of_keys([(6,)]), Draws.of_keys([(7,)])
    identity = an.draw_identity(person.take(32))
    appearance = draw_appearance(person, moment, moment, moment, torch.tensor([3.0], dtype=torch.float64))
    appearance = replace(appearance, look=replace(appearance.look, sleeve_from_mm=torch.tensor([torch.inf])))
    hands = compose(draw, identity)
    f64 = {"dtype": torch.float64}
    distance, focal = torch.tensor([500.0], **f64), torch.tensor([200.0], **f64)
    camera = frame_hands(hands, distance, torch.zeros(1, 2, **f64), focal, size, size)
    camera.intrinsics[:, :2, 2] = (size - 1) / 2
    return render_scenes(hands, camera, appearance, size, size)


def test_left_and_right_are_mirror_images():
    right, left = one_hand(0), one_hand(1)
    mirrored = left.joints_cam_mm[0, LEFT] * torch.tensor([-1.0, 1, 1])
    assert torch.allclose(right.joints_cam_mm[0, RIGHT], mirrored, atol=1e-9)
    expected = left.mask.flip(-1)
    expected = torch.where(expected > 1, expected + 16, expected)
    assert (right.mask != expected).double().mean() < 5e-4  # ties at pixel borders
    assert (right.mask > 1).sum() > 500


def test_an_image_does_not_depend_on_its_batch():
    together = layouts.rhd_scenes(1, "training", [0, 1, 2, 3, 4], 96)
    alone = layouts.rhd_scenes(1, "training", [3], 96)
    assert torch.allclose(together.joints_cam_mm[3], alone.joints_cam_mm[0], atol=1e-9)
    assert (together.images[3].int() - alone.images[0].int()).abs().max() <= 1
    assert torch.equal(together.visible[3], alone.visible[0])
    other = layouts.rhd_scenes(1, "evaluation", [3], 96)
    assert (other.joints_cam_mm - alone.joints_cam_mm).abs().max() > 1
    assert (layouts.rhd_scenes(2, "training", [3], 96).images != alone.images).any()


def test_studio_cameras_see_one_world():
    frames = layouts.interhand_frames(0, "train", [0, 1, 2], 128, 84)
    assert torch.allclose(frames.world_mm[0], frames.world_mm[2], atol=1e-6)
    assert len(set(frames.cameras)) == 3
    for i, number in enumerate(frames.cameras):
        rig = layouts.rig_of(0, "train", 0)
        cam = (frames.world_mm[i] - rig.position[number]) @ rig.rotation[number].T
        assert torch.allclose(cam, frames.batch.joints_cam_mm[i], atol=1e-6)
        grey = bool((frames.batch.images[i, 0] == frames.batch.images[i, 1]).all())
        assert grey == (number in layouts.GREY_CAMERAS)
    assert frames.joint_valid[:, [20, 41]].all()  # both wrists: a capture begins with two hands


def test_in_memory_batches_follow_their_generator():
    batch = standin.render(torch.Generator().manual_seed(4), 3, 64)
    again = standin.render(torch.Generator().manual_seed(4), 3, 64)
    other = standin.render(torch.Generator().manual_seed(5), 3, 64)
    assert torch.equal(batch.images, again.images) and torch.equal(batch.joints_px, again.joints_px)
    assert not torch.equal(batch.joints_px, other.joints_px)
    present = batch.side_present.repeat_interleave(21, 1)
    low = torch.where(present[..., None], batch.joints_px, 1e9).amin(1)
    high = torch.where(present[..., None], batch.joints_px, -1e9).amax(1)
    assert ((high - low).amax(1) > 0.4 * 64).all()  # hands fill the crop
    with pytest.raises(ValueError, match="count"):
        standin.render(torch.Generator(), 0, 64)


def test_what_is_built_once_is_shared_by_every_spelling_of_the_device():
    assert template() is template(device="cpu") is template(device=torch.device("cpu"))
