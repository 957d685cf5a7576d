"""Boxes from masks of whole images: in px of the original image of any shape."""

import numpy as np
import pytest
import torch
from PIL import Image

from msff.camera import CROP_FACTOR, square_box
from msff.data.batches import HandDataset
from msff.data.sample import HandSample
from msff.data.single_hand import whole_images, with_boxes
from msff.evaluation.predict_single_hand import segmented_boxes

CROP = 128


def sample(path, size, *rectangles):
    """A black image with white rectangles x0, y0, x1, y1 px, ends included; its annotated box is unrelated to them."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    for x0, y0, x1, y1 in rectangles:
        pixels[y0 : y1 + 1, x0 : x1 + 1] = 255
    Image.fromarray(pixels).save(path)
    return HandSample(
        sample_id=path.stem, image_path=path, image_size=size, joints_cam_mm=np.zeros((42, 3)),
        joints_image_px=np.zeros((42, 2)), joint_valid=np.zeros(42, bool), joint_visible=None, intrinsics=np.eye(3),
        box=np.array([3.0, 5, 20, 20]), hand_type="right",
    )  # fmt: skip


class White:
    """Segments what is white: a hand where the image is bright. Records the shapes of its crops."""

    def __init__(self):
        self.evaluates, self.shapes = False, []

    def eval(self):
        self.evaluates = True

    def segmentation(self, image):
        assert self.evaluates
        self.shapes.append(tuple(image.shape))
        hand = 20 * (image.mean(1) - 0.5)  # (B, S, S)
        return torch.stack([-hand, hand], 1)


def boxes_of(samples, crop=CROP, batch_size=2):
    return segmented_boxes(White(), HandDataset(whole_images(samples), crop), batch_size).numpy()


@pytest.mark.parametrize(
    ("size", "rectangle"),
    [
        ((320, 320), (60, 100, 159, 219)),
        ((512, 334), (200, 60, 359, 199)),  # wide: zeros above and below the frame
        ((512, 334), (330, 20, 489, 259)),
        ((334, 512), (40, 300, 199, 449)),  # tall
    ],
)
def test_a_square_box_of_the_longer_side_about_the_mask(tmp_path, size, rectangle):
    (x, y, w, h), pixel = boxes_of([sample(tmp_path / "a.png", size, rectangle)])[0], max(size) / CROP
    x0, y0, x1, y1 = rectangle
    assert w == pytest.approx(h) == pytest.approx(max(x1 - x0, y1 - y0), abs=2 * pixel)
    assert x + w / 2 == pytest.approx((x0 + x1) / 2, abs=pixel)
    assert y + h / 2 == pytest.approx((y0 + y1) / 2, abs=pixel)


def test_the_crop_about_the_box_is_the_crop_of_the_mask(tmp_path):
    """1.25 times the rectangle, of which 1/1.25 = 80 % of the crop's side is then white."""
    samples = [sample(tmp_path / "a.png", (512, 334), (200, 80, 359, 239))]
    boxes = boxes_of(samples, 256)
    crops = HandDataset(with_boxes(samples, boxes), 200)
    batch = next(iter(crops.in_order(1)))
    white = batch.image[0].mean(0) > 0.5  # (S, S)
    assert white.any(0).sum().item() / 200 == pytest.approx(0.8, abs=0.02)
    assert white.any(1).sum().item() / 200 == pytest.approx(0.8, abs=0.02)
    columns = white.any(0).nonzero()[:, 0].float()
    assert (columns[0] + columns[-1]).item() / 2 == pytest.approx(99.5, abs=2)
    square = square_box(torch.tensor(boxes[0])[None])[0]
    assert square[2].item() == pytest.approx(CROP_FACTOR * 160, abs=4)


def test_images_keep_their_order_and_one_without_a_hand_gets_its_middle(tmp_path):
    """Batches of two; the second image is dark."""
    rectangles = [(200, 60, 359, 199)], [], [(20, 200, 99, 299)]
    samples = [sample(tmp_path / f"{i}.png", (512, 334), *found) for i, found in enumerate(rectangles)]
    boxes = boxes_of(samples)
    assert boxes.shape == (3, 4) and np.isfinite(boxes).all() and (boxes[:, 2:] > 0).all()
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:] / 2, [[279.5, 129.5], [256, 167], [59.5, 249.5]], atol=4)
    np.testing.assert_allclose(boxes, np.concatenate([boxes_of([s]) for s in samples]), atol=1e-3)


@pytest.mark.parametrize("crop", [64, 128, 256])
def test_the_smallest_crop_is_a_fifth_of_the_authors_crop_in_any_size_of_frame(tmp_path, crop):
    """They magnify by 5 at most: 256 / 5 px of their 320 px, which is 16 % of the longer side."""
    tiny = sample(tmp_path / "a.png", (320, 320), (150, 150, 169, 169))
    _, _, w, _ = boxes_of([tiny], crop)[0]
    assert w * CROP_FACTOR == pytest.approx(0.16 * 320, rel=0.02)


def test_of_two_distant_hands_one_gets_the_box(tmp_path):
    x, _, w, _ = boxes_of([sample(tmp_path / "a.png", (320, 320), (20, 100, 99, 179), (220, 100, 299, 179))])[0]
    assert w == pytest.approx(79, abs=5) and (x < 60 or x > 180)


def test_the_network_gets_the_whole_frame_at_the_size_of_the_crops(tmp_path):
    model = White()
    samples = [sample(tmp_path / f"{i}.png", (320, 320), (60, 100, 159, 219)) for i in range(3)]
    segmented_boxes(model, HandDataset(whole_images(samples), 64), 2)
    assert model.shapes == [(2, 3, 64, 64), (1, 3, 64, 64)] and model.evaluates
