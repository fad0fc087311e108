"""Decoding: file by file what Pillow gives, whatever the mode."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neurarium.data.decoding import FilePixels, decode, look, plain_mode, survey
from neurarium.errors import DataError
from tests.data.pictures import picture


def test_a_batch_is_each_file_as_pillow_reads_it(tmp_path: Path) -> None:
    files = [tmp_path / f"{seed}.png" for seed in range(9)]
    for seed, path in enumerate(files):
        picture(seed=seed).save(path)
    pixels = FilePixels(files, shape=(3, 4, 6))
    taken = pixels.take(torch.tensor([8, 0, 3, 3]))
    for row, place in enumerate([8, 0, 3, 3]):
        with Image.open(files[place]) as image:
            assert np.array_equal(taken[row].permute(1, 2, 0).numpy(), np.asarray(image))


def test_another_size_is_pillows_resize_of_the_whole_picture(tmp_path: Path) -> None:
    picture(30, 20).save(tmp_path / "a.png")
    small = picture(30, 20).resize((6, 5), Image.Resampling.BILINEAR)
    assert np.array_equal(decode(tmp_path / "a.png", shape=(3, 5, 6)).transpose(1, 2, 0), np.asarray(small))


def sixteen_bits(value: int) -> Image.Image:
    return Image.fromarray(np.full((4, 6), value, dtype=np.uint16))


def palette(colours: list[int]) -> Image.Image:
    image = Image.new("P", (6, 4), 1)
    image.putpalette(colours)
    return image


CASES: dict[str, tuple[Callable[[], Image.Image], str, bool, tuple[int, int, int]]] = {
    "grey": (lambda: Image.new("L", (6, 4), 9), "png", True, (9, 9, 9)),
    "one bit": (lambda: Image.new("1", (6, 4), 1), "png", True, (255, 255, 255)),
    "16 bits, white": (lambda: sixteen_bits(65535), "png", True, (255, 255, 255)),
    "16 bits, half": (lambda: sixteen_bits(257 * 128), "png", True, (128, 128, 128)),
    "16 bits, TIFF": (lambda: sixteen_bits(257 * 3), "tiff", True, (3, 3, 3)),
    "32 bits": (lambda: Image.fromarray(np.full((4, 6), 257 * 7, dtype=np.int32)), "tiff", True, (7, 7, 7)),
    "colour": (lambda: Image.new("RGB", (6, 4), (1, 2, 3)), "png", False, (1, 2, 3)),
    "CMYK": (lambda: Image.new("CMYK", (6, 4), (0, 255, 255, 0)), "tiff", False, (255, 0, 0)),
    "opaque": (lambda: Image.new("RGBA", (6, 4), (1, 2, 3, 255)), "png", False, (1, 2, 3)),
    "transparent": (lambda: Image.new("RGBA", (6, 4), (1, 2, 3, 0)), "png", False, (255, 255, 255)),
    "transparent grey": (lambda: Image.new("LA", (6, 4), (7, 0)), "png", True, (255, 255, 255)),
    "palette": (lambda: palette([0, 0, 0, 10, 20, 30]), "png", False, (10, 20, 30)),
    "grey palette": (lambda: palette([0, 0, 0, 20, 20, 20]), "png", True, (20, 20, 20)),
    "GIF": (lambda: palette([0, 0, 0, 10, 20, 30]), "gif", False, (10, 20, 30)),
}


@pytest.mark.parametrize("case", CASES)
def test_every_mode_becomes_plain_bytes(tmp_path: Path, case: str) -> None:
    make, kind, grey, colour = CASES[case]
    path = tmp_path / f"a.{kind}"
    make().save(path)
    seen = look(path)
    assert (seen.trouble, seen.grey, seen.width, seen.height) == ("", grey, 6, 4)
    assert decode(path, shape=(3, 4, 6))[:, 0, 0].tolist() == list(colour)
    if grey:
        assert decode(path, shape=(1, 4, 6))[:, 0, 0].tolist() == [colour[0]]


def test_a_transparent_palette_colour_is_laid_on_white(tmp_path: Path) -> None:
    palette([0, 0, 0, 10, 20, 30]).save(tmp_path / "a.png", transparency=1)
    assert decode(tmp_path / "a.png", shape=(3, 4, 6))[:, 0, 0].tolist() == [255, 255, 255]


def test_plain_modes_are_left_as_they_are() -> None:
    for mode in ("L", "RGB"):
        image = picture(mode=mode)
        assert np.array_equal(np.asarray(plain_mode(image, grey=mode == "L")), np.asarray(image))


def test_a_photograph_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: show it turned a quarter to the right
    image = Image.new("RGB", (8, 4), "black")
    image.paste((255, 255, 255), (0, 0, 4, 4))
    image.save(tmp_path / "a.png", exif=exif)
    seen = look(tmp_path / "a.png")
    assert (seen.width, seen.height) == (4, 8)
    upright = decode(tmp_path / "a.png", shape=(3, 8, 4))
    assert upright[0, :4].min() == 255
    assert upright[0, 4:].max() == 0


def test_a_large_photograph_is_decoded_small_and_alike(tmp_path: Path) -> None:
    smooth = picture(8, 8).resize((512, 512), Image.Resampling.BICUBIC)
    smooth.save(tmp_path / "a.jpg", quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        slow = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    fast = decode(tmp_path / "a.jpg", shape=(3, 32, 32)).transpose(1, 2, 0).astype(int)
    assert np.abs(fast - slow).max() <= 8


@pytest.mark.parametrize("kind", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_a_file_cut_off_is_seen(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    picture(64, 64).save(path)
    assert look(path).trouble == ""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert look(path).trouble


def test_what_is_no_picture_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("not a picture")
    (tmp_path / "b.png").write_bytes(b"")
    Image.fromarray(np.zeros((4, 6), dtype=np.float32)).save(tmp_path / "c.tiff")
    files = [tmp_path / name for name in ("a.txt", "b.png", "c.tiff", "gone.png")]
    troubles = [seen.trouble for seen in survey(files)]
    assert troubles[:3] == ["not an image", "not an image", "floating-point pixels have no known white"]
    assert "No such file" in troubles[3]


def test_a_file_that_goes_bad_later_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture().save(path)
    pixels = FilePixels([path], shape=(3, 4, 6))
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.png cannot be read as an image: not an image"):
        pixels.take(torch.tensor([0]))
