"""Convolution on a photograph: edges, pooling, weights shared or not, and the same by Fourier's way."""

from pathlib import Path

import torch
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.functional import interpolate, pad

from neurarium.data.decoding import decode, survey
from neurarium.errors import DataError, InvalidValue, did_you_mean, require
from neurarium.running.pictures import COLOURS, panels
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.convolution import (
    EDGES,
    convolve,
    count_weights,
    cross_correlate,
    fourier,
    pointwise,
    pool,
    riemann,
)

EMBEDDED = ("china", "flower")  # photographs that come with scikit-learn
LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue, ITU-R BT.601
SMALLEST = 16  # pixels a side: enough for every kernel here and a pooling
LARGEST = 15  # kernel rows and columns of the reader's own: the windows of a photograph then take some 300 MB
RANDOM = ((3, 8), (5, 8), (11, 4))  # random kernels that Fourier's way is tried on as well: pixels a side, maps
PATCH = 128  # pixels a side of the part of the photograph that they are tried on
CELLS = tuple(2**n for n in range(2, 11))  # of the Riemann sum, for each unit of x
UNTIL = 4.0  # the largest x of the continuous example
SHOWN_CELLS = (4, 16)
POOLED = 8  # pixels a side of the windows in the picture of pooling


@recipe(
    expects=[Expect("fourier_gap", at_most=1e-5)],
    smoke=dict(size=128),
    control=dict(wrap=True),
    exempt=dict(
        resumes="it computes and shows; nothing is fitted, so there is nothing to resume",
        stateless="nothing learns, so there is no update",
        gradients="the kernels are given and nothing is trained; the tests hold the gradients to PyTorch's",
        refuses="there are no batches; the tests hold the functions to refusing what does not fit",
        exports="these are functions without weights of their own; there is nothing to take away",
    ),
)
def convolution(
    run: Run, *, image: str = "china", size: int = 640, kernel: str | None = None, wrap: bool = False
) -> Result:
    """Convolution slides one small set of weights over a photograph.

    Two functions are convolved by a Riemann sum that is refined towards the known answer; then kernels find edges in a
    photograph, and windows pool them. Every convolution is also computed as a product of spectra, and must come out the
    same. Look at what each kernel answers to, and at how few weights are left when all places share theirs.

    Args:
        image: china, flower, or a picture file of your own.
        size: pixels of its longer side; a larger picture is made smaller.
        kernel: one more kernel, row by row: "-1 0 1; -2 0 2; -1 0 1".
        wrap: leave no room for Fourier's way around the picture, so that it goes round in a circle (the control).
    """
    photo = load_photo(image, size=size).to(run.device)
    grey = pointwise(photo, photo.new_tensor([LUMINANCE]))
    kernels = {name: torch.tensor(rows).float().to(run.device) for name, rows in EDGES.items()}
    if kernel is not None:
        kernels["yours"] = read_kernel(kernel).to(run.device)
    gaps = [fourier_gap(grey, one[None, None], room=not wrap) for one in kernels.values()]
    patch = photo[:, :, :PATCH, :PATCH]
    drawn = [draw_random(run.generator("kernels", side), side, maps).to(run.device) for side, maps in RANDOM]
    drawn_gaps = [fourier_gap(patch, some, room=not wrap) for some in drawn]
    errors = {cells: riemann_gap(cells) for cells in CELLS}

    run.picture("kernels", draw_kernels(photo, grey, kernels))
    run.picture("continuous", draw_continuous(errors))
    run.picture("pooling", draw_pooling(grey))
    run.picture("turned", draw_turned())
    run.picture("weights", draw_weights((3, *photo.shape[2:])))
    return run.result(
        fourier_gap=max(gaps + drawn_gaps), random_kernels_gap=max(drawn_gaps), riemann_gap=errors[CELLS[-1]]
    )


def load_photo(image: str, *, size: int) -> Float[Tensor, "1 3 H W"]:
    """A photograph as numbers from 0 to 1.

    Raises:
        DataError: there is no such file, or it is no picture.
        InvalidValue: less than 16 pixels would be left along a side.
    """
    if image in EMBEDDED:
        from sklearn.datasets import load_sample_image

        pixels = torch.from_numpy(load_sample_image(f"{image}.jpg").copy()).permute(2, 0, 1)
        height, width = fitting(*pixels.shape[1:], size=size)
        photo = pixels.float().unsqueeze(0)
        if (height, width) != tuple(pixels.shape[1:]):
            photo = interpolate(photo, size=(height, width), mode="bilinear", antialias=True)
        return photo.clamp(0, 255) / 255
    path = Path(image).expanduser()
    if not path.is_file():
        raise DataError(f"there is no picture '{image}'; name a file, or one of these: {did_you_mean(image, EMBEDDED)}")
    (seen,) = survey([path])
    if seen.trouble:
        raise DataError(f"{path} cannot be read as an image: {seen.trouble}")
    height, width = fitting(seen.height, seen.width, size=size)
    return torch.from_numpy(decode(path, shape=(3, height, width)).copy()).float().unsqueeze(0) / 255


def fitting(height: int, width: int, *, size: int) -> tuple[int, int]:
    """Height and width of a picture whose longer side is at most `size`.

    >>> fitting(427, 640, size=320), fitting(40, 30, size=320)
    ((214, 320), (40, 30))
    """
    factor = min(1.0, size / max(height, width))
    small = round(factor * height), round(factor * width)
    wanted = f"a picture needs at least {SMALLEST} pixels a side"
    require(min(small) >= SMALLEST, f"{height}×{width} pixels brought to a size of {size} are {small}; {wanted}")
    return small


def read_kernel(text: str) -> Float[Tensor, "k l"]:
    """A kernel from its rows.

    >>> read_kernel("-1 1; 0 2")
    tensor([[-1.,  1.],
            [ 0.,  2.]])
    """
    try:
        rows = [[float(number) for number in row.split()] for row in text.split(";")]
    except ValueError:
        raise InvalidValue(f"the kernel '{text}' is not of numbers; write rows like '-1 0 1; -2 0 2'") from None
    full = len({len(row) for row in rows}) == 1 and bool(rows[0]) and max(len(rows), len(rows[0])) <= LARGEST
    require(full, f"the kernel '{text}' must have equally long rows, of 1 to {LARGEST} numbers")
    kernel = torch.tensor(rows)
    require(bool(kernel.isfinite().all()), f"the kernel '{text}' must be of finite numbers")
    return kernel


def draw_random(generator: torch.Generator, side: int, maps: int) -> Float[Tensor, "M 3 k k"]:
    """Random kernels whose answers are about as large as the pixels."""
    return torch.randn(maps, 3, side, side, generator=generator) / (3 * side**2) ** 0.5


def fourier_gap(images: Float[Tensor, "B C H W"], kernels: Float[Tensor, "M C k l"], *, room: bool) -> float:
    """The largest difference between convolution by windows and by spectra."""
    reach = (kernels.shape[2] - 1, kernels.shape[3] - 1)
    direct = convolve(images, kernels, padding=reach)
    return float((direct - fourier(images, kernels, room=room)).abs().max())


def box(x: Float[Tensor, " G"]) -> Float[Tensor, " G"]:
    """1 from 0 to 1, else 0."""
    return ((x >= 0) & (x < 1)).to(x)


def decay(x: Float[Tensor, " G"]) -> Float[Tensor, " G"]:
    """e^(−x) from 0 on, else 0."""
    return torch.exp(-x) * (x >= 0)


def known(x: Float[Tensor, " G"]) -> Float[Tensor, " G"]:
    """Their convolution, solved by hand: filling up while the box lasts, and running out after it."""
    # ∫_0^min(x,1) e^{−(x−s)} ds = e^{−x} (e^{min(x,1)} − 1)
    return torch.exp(-x) * (torch.exp(x.clamp(max=1)) - 1)


def riemann_gap(cells: int) -> float:
    """The largest error of the Riemann sum with this many cells for each unit of x."""
    sampled = riemann(box, decay, step=1 / cells, until=UNTIL)
    return float((sampled.y - known(sampled.x)).abs().max())


def draw_kernels(photo: Tensor, grey: Tensor, kernels: dict[str, Tensor]) -> Figure:
    """The photograph, and what each kernel makes of it; the kernel stands in the corner."""
    columns = 4 if len(kernels) < 8 else 3
    height, width = photo.shape[2:]
    figure, axes = panels(-(-(1 + len(kernels)) // columns), columns, width=3.2, height=3.2 * height / width + 0.3)
    for ax in axes:
        ax.axis("off")
    axes[0].imshow(photo[0].permute(1, 2, 0).cpu().numpy())
    axes[0].set_title("photograph", fontsize=10)
    for ax, (name, kernel) in zip(axes[1:], kernels.items(), strict=False):
        maps = cross_correlate(grey, kernel[None, None])[0, 0].cpu()
        keeps = abs(float(kernel.sum()) - 1) < 1e-4  # the weights sum to one: the answer is a picture again
        reach = 1.0 if keeps else 3 * float(maps.std()) + 1e-6
        ax.imshow(maps.numpy(), cmap="gray" if keeps else "RdBu_r", vmin=0.0 if keeps else -reach, vmax=reach)
        ax.set_title(name, fontsize=10)
        draw_small_kernel(ax, kernel.cpu())
    return figure


def draw_small_kernel(ax: Axes, kernel: Float[Tensor, "k l"]) -> None:
    """A kernel in the lower left corner of a picture, red above 0 and blue below."""
    inset = ax.inset_axes((0.02, 0.03, 0.24, 0.36))
    reach = float(kernel.abs().max()) or 1.0
    inset.imshow(kernel.numpy(), cmap="RdBu_r", vmin=-1.4 * reach, vmax=1.4 * reach)
    inset.set(xticks=[], yticks=[])
    inset.grid(visible=False)
    if max(kernel.shape) <= 5:
        for (row, column), value in zip(
            torch.cartesian_prod(*map(torch.arange, kernel.shape)).tolist(), kernel.flatten().tolist(), strict=True
        ):
            inset.text(column, row, f"{value:g}", ha="center", va="center", fontsize=7)


def draw_continuous(errors: dict[int, float]) -> Figure:
    """The two functions, their convolution with the sums that approach it, and the error by the length of a cell."""
    figure, (given, summed, ax) = panels(1, 3, width=4.2, height=3.4)
    fine = torch.linspace(0, UNTIL, 801, dtype=torch.float64)
    given.plot(fine, box(fine), label="f, a box")
    given.plot(fine, decay(fine), label="g, a decay")
    given.set(xlabel="x", title="two functions")
    summed.plot(fine, known(fine), color="black", linewidth=1.2, label="∫ f(s) g(x − s) ds")
    for cells, colour in zip(SHOWN_CELLS, COLOURS, strict=False):
        sampled = riemann(box, decay, step=1 / cells, until=UNTIL)
        summed.plot(
            *sampled, ".", color=colour, markersize=11 if cells == SHOWN_CELLS[0] else 5, label=f"Δ = 1/{cells}"
        )
    summed.set(xlabel="x", title="their convolution f∗g")
    steps = [1 / cells for cells in errors]
    ax.loglog(steps, list(errors.values()), "o-", color=COLOURS[1], markersize=4, label="largest error of the sum")
    ax.loglog(steps, [errors[CELLS[0]] * (step / steps[0]) ** 2 for step in steps], ":", color="black", label="∝ Δ²")
    ax.set(xlabel="length of a cell Δ", title="from discrete to continuous")
    for each in (given, summed, ax):
        each.legend(fontsize=9)
    return figure


def draw_pooling(grey: Float[Tensor, "1 1 H W"]) -> Figure:
    """How strong the edges are, and what is left of that by stride alone and by each pooling."""
    kernels = [torch.tensor(EDGES[f"{way} edges"]).float().to(grey.device) for way in ("horizontal", "vertical")]
    edges = cross_correlate(grey, torch.stack(kernels)[:, None]).square().sum(1, keepdim=True).sqrt()
    shown = {
        "strength of the edges": edges,
        f"every {POOLED}th pixel (stride)": edges[:, :, ::POOLED, ::POOLED],
        f"largest of {POOLED}×{POOLED}": pool(edges, POOLED),
        f"mean of {POOLED}×{POOLED}": pool(edges, POOLED, kind="average"),
    }
    height, width = grey.shape[2:]
    figure, axes = panels(1, len(shown), width=3.2, height=3.2 * height / width + 0.3)
    for ax, (name, maps) in zip(axes, shown.items(), strict=True):
        down, across = maps.shape[2:]
        ax.imshow(maps[0, 0].cpu().numpy(), cmap="magma", interpolation="nearest")
        ax.set_title(f"{name}: {down}×{across}", fontsize=9)
        ax.axis("off")
    return figure


def draw_turned() -> Figure:
    """One bright pixel and a kernel that is not symmetric: convolution copies it, cross-correlation turns it round."""
    point = torch.zeros(1, 1, 9, 9)
    point[..., 4, 4] = 1.0
    letter = torch.tensor([[1, 1, 1, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    kernel = letter.float()[None, None]
    shown = {
        "a point f": point,
        "a kernel g": pad(kernel, (2, 2, 2, 2)),
        "convolution": convolve(point, kernel, padding=2),
        "cross-correlation": cross_correlate(point, kernel, padding=2),
    }
    figure, axes = panels(1, len(shown), width=2.2, height=2.5)
    for ax, (name, array) in zip(axes, shown.items(), strict=True):
        ax.imshow(array[0, 0].numpy(), cmap="Blues", vmax=1.3, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.grid(visible=False)
        ax.set_title(name, fontsize=10)
    return figure


def draw_weights(shape: tuple[int, int, int]) -> Figure:
    """How many weights lead from the photograph to 16 maps of it, by what is shared."""
    counts = count_weights(shape, maps=16, kernel=3, padding=1)
    figure, (ax,) = panels(width=7.0, height=2.4)
    names = ("all with all", "windows, untied", "windows, shared\n(convolution)")
    bars = ax.barh(names[::-1], counts[::-1], color=COLOURS[:3])
    ax.bar_label(bars, [f" {count:,}" for count in counts[::-1]], fontsize=9)
    ax.set(xscale="log", xlim=(10, 1e5 * counts.dense), xlabel="weights")
    ax.set_title(f"from {shape[1]}×{shape[2]} pixels in {shape[0]} colours to 16 maps, windows of 3×3", fontsize=10)
    return figure
