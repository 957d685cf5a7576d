"""Images of more than 8 bits a channel, which Pillow would clip to white."""

import cv2
import numpy as np
import pytest
from PIL import Image

from msff.data.images import decode_image, stored_size
from msff.data.sample import DataError


@pytest.mark.parametrize(("dtype", "mode"), [(np.uint16, "I;16"), (np.int32, "I"), (np.float32, "F")])
@pytest.mark.parametrize("wanted", ["RGB", None])
def test_pixels_of_more_than_8_bits_are_refused_by_mode(tmp_path, dtype, mode, wanted):
    path = tmp_path / "00000.png"
    Image.fromarray(np.arange(48, dtype=dtype).reshape(6, 8)).save(path, "TIFF")
    with pytest.raises(DataError, match=f"00000.png: expected 8 bits a channel, found pixels of mode {mode},"):
        decode_image(path, wanted)


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_of_16_bits_is_refused_too(tmp_path, channels):
    path = tmp_path / "00000.png"
    cv2.imwrite(str(path), np.full((6, 8, channels), 255, np.uint16))  # Pillow reads it as black
    with pytest.raises(DataError, match="00000.png: expected 8 bits a channel, found pixels of mode RGBA?, stored as "):
        decode_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_mode_of_8_bits_is_read(tmp_path, mode):
    Image.new(mode, (8, 6)).save(tmp_path / "a.png")
    assert decode_image(tmp_path / "a.png").shape == (6, 8, 3)
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg")
    assert decode_image(tmp_path / "a.jpg").dtype == np.uint8


def test_a_damaged_file_is_named_whatever_its_format(tmp_path):
    """Pillow recognises a file by its content and raises RuntimeError for these."""
    path = tmp_path / "00000.png"
    for kind, start, damaged in (("AVIF", b"pitm", b"free"), ("DDS", b"\x20\0\0\0\x41", bytes(5))):
        Image.new("RGBA", (8, 6)).save(path, kind)
        content = path.read_bytes()
        assert start in content
        path.write_bytes(content.replace(start, damaged))
        with pytest.raises(DataError, match="00000.png: image is truncated or damaged"):
            decode_image(path)


def test_an_image_of_impossible_size_is_named(tmp_path, monkeypatch):
    Image.new("1", (400, 400)).save(tmp_path / "00000.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for read in (decode_image, stored_size):
        with pytest.raises(DataError, match="00000.png: image is truncated or damaged .*decompression bomb"):
            read(tmp_path / "00000.png")
