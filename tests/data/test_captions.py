"""Captioned images: the reader's own files, and what is said to someone whose files do not fit together."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neurarium.data.captions import load_captioned, read_captions
from neurarium.errors import DataError


def folder(place: Path, lines: list[str], *, name: str = "captions.txt", images: int = 6) -> Path:
    for number in range(images):
        pixels = np.full((20, 16, 3), 40 * number, dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{number}.png")
    (place / name).write_text("\n".join(lines), encoding="utf-8")
    return place


def six(parted: str = "\t") -> list[str]:
    return [f"{number}.png{parted}A grey number {number}" for number in range(6)]


def test_pictures_with_several_captions_each(tmp_path: Path) -> None:
    place = folder(tmp_path, [*six(), "", "2.png\tanother, of two"])
    images = load_captioned(f"folder:{place}", seed=0, size=24)
    assert images.train.pixels.shape == (3, 24, 24) or images.train.pixels.shape == (1, 24, 24)
    assert len(images.train.references) + len(images.test.references) == 6
    texts = {text for part in (images.train, images.test) for texts in part.references for text in texts}
    assert "another, of two" in texts
    for part in (images.train, images.test):
        every = part.take(torch.arange(len(part)))
        for image, tokens, owner in zip(every.images, every.captions, part.owners.tolist(), strict=True):
            text = images.vocabulary.decode(tokens.unsqueeze(0))[0]
            wanted = [one.lower().replace(",", " ,") for one in part.references[owner]]
            assert text in wanted or "<unknown>" in text
            if "number" in text and "<unknown>" not in text:
                assert float(image.mean()) == pytest.approx(int(text[-1]) * 40 / 255, abs=0.01)


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (["image,caption", *six(",")], "captions.csv"),
        ([f'{number}.png,"A grey number {number}"' for number in range(6)], "captions.csv"),
        (["file\tcaption", *six()], "captions.txt"),
        (six(","), "captions.txt"),
    ],
)
def test_tabs_commas_quotes_and_headers(tmp_path: Path, lines: list[str], name: str) -> None:
    found = read_captions(folder(tmp_path, lines, name=name))
    assert [(path.name, texts) for path, texts in found.items()] == [
        (f"{number}.png", (f"A grey number {number}",)) for number in range(6)
    ]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*six(), "7.png\tno such"], r"captions.txt has captions without images: '7.png' \(line 7\); add the files"),
        (six()[:4], "has images without captions in captions.txt: 4.png, 5.png; add lines or move them out"),
        ([*six(), "5.png"], "captions.txt line 7 lacks a file or a caption; write: file, tab or comma, caption"),
        (["file\tcaption"], "captions.txt holds no caption; write a line for each: file, tab, caption"),
    ],
)
def test_captions_and_images_that_do_not_fit_are_named(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_captioned(f"folder:{folder(tmp_path, lines)}", seed=0)


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder; folder:DIR needs one that holds pictures and capt"):
        load_captioned(f"folder:{tmp_path / 'nowhere'}", seed=0)
    with pytest.raises(DataError, match=r"holds no captions.txt or captions.csv; write a line for each caption"):
        load_captioned(f"folder:{tmp_path}", seed=0)
    with pytest.raises(DataError, match="'scene' names no captioned images; did you mean 'scenes'"):
        load_captioned("scene", seed=0)
    place = folder(tmp_path, six())
    (place / "3.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"has images that cannot be read: 3.png \(not an image\)"):
        load_captioned(f"folder:{place}", seed=0)


def test_words_at_test_that_training_never_had_are_named(tmp_path: Path) -> None:
    images = load_captioned(f"folder:{folder(tmp_path, six())}", seed=0)
    assert images.note == (
        f"1 word of the test captions is in no training caption, so it cannot be written: "
        f"'{images.test.references[0][0][-1]}'"
    )


def test_test_scenes_stay_the_same_whatever_is_learned_from() -> None:
    few, many = (load_captioned("scenes", seed=0, scenes=count) for count in (50, 80))
    assert few.test.references == many.test.references
    assert torch.equal(next(few.test.chunks()), next(many.test.chunks()))
    assert load_captioned("scenes", seed=1, scenes=50).test.references != few.test.references


def test_the_control_deals_training_captions_out() -> None:
    true, dealt = (load_captioned("scenes", seed=0, scenes=50, shuffle_captions=flag) for flag in (False, True))
    assert dealt.train.references != true.train.references
    assert sorted(dealt.train.references) == sorted(true.train.references)
    assert dealt.test.references == true.test.references
