import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import unfold

from neurarium.errors import InvalidValue
from neurarium.parts.convolution import global_average, output_size, pair, places, windows


@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 5), st.integers(0, 4))
def test_the_output_size_is_the_number_of_places_counted_one_by_one(
    size: int, kernel: int, stride: int, padding: int
) -> None:
    starts = [start for start in range(0, size + 2 * padding, stride) if start + kernel <= size + 2 * padding]
    if starts:
        assert output_size(size, kernel=kernel, stride=stride, padding=padding) == len(starts)
    else:
        with pytest.raises(InvalidValue, match=f"a kernel of {kernel} pixels does not fit on {size} pixels"):
            output_size(size, kernel=kernel, stride=stride, padding=padding)


@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
def test_windows_are_those_of_torch(
    height: int, width: int, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> None:
    images = torch.rand(2, 3, height, width)
    if any(k > n + 2 * p for n, k, p in zip((height, width), kernel, padding, strict=True)):
        with pytest.raises(InvalidValue, match="does not fit"):
            windows(images, kernel, stride=stride, padding=padding)
        return
    ours = windows(images, kernel, stride=stride, padding=padding)
    assert tuple(ours.shape[2:4]) == places((height, width), kernel=kernel, stride=stride, padding=padding)
    columns = ours.permute(0, 1, 4, 5, 2, 3).reshape(2, 3 * kernel[0] * kernel[1], -1)
    assert torch.equal(columns, unfold(images, kernel, stride=stride, padding=padding))


def test_windows_without_padding_copy_nothing() -> None:
    images = torch.rand(1, 1, 5, 5)
    assert windows(images, 3).data_ptr() == images.data_ptr()


def test_padding_is_filled_with_what_is_asked_for() -> None:
    assert windows(torch.zeros(1, 1, 1, 1), 3, padding=1, fill=2.0).sum() == 16


def test_the_global_average_is_the_mean_over_places() -> None:
    maps = torch.rand(2, 3, 4, 5)
    assert torch.allclose(global_average(maps), maps.mean((2, 3)))
    assert pair(2) == (2, 2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(kernel=0), "the kernel is 0 pixels long"),
        (dict(kernel=2, stride=0), "the stride is 0"),
        (dict(kernel=2, padding=-1), "the padding is -1"),
        (dict(kernel=9, padding=1), "a kernel of 9 pixels does not fit on 5 pixels with 1 more at each end"),
    ],
)
def test_windows_that_do_not_fit_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        windows(torch.zeros(1, 1, 5, 5), **options)
    with pytest.raises(InvalidValue, match=r"images are \(5, 5\), but must be"):
        windows(torch.zeros(5, 5), 1)
