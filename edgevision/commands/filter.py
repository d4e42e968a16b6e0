"""`edgevision filter`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from PIL import Image

PRINTED_MAX = 12  # rows and columns; matrices up to this size are printed


def filter(
    picture: Annotated[Path, typer.Argument(help="Picture, or a .txt or .csv file with rows of numbers.")],
    out: Annotated[Path | None, typer.Option(help="Picture to write, a .png.")] = None,
    kernel: Annotated[
        str,
        typer.Option(help="identity, edge, edge-4, edge-8, sharpen, box-blur, or NAME=a,b,c;d,e,f;g,h,i."),
    ] = "identity",
    padding: Annotated[str, typer.Option(help="Zeros around the picture: a number, or same.")] = "0",
    stride: Annotated[int, typer.Option(min=1, help="Pixels from one place of the kernel to the next.")] = 1,
    pool: Annotated[str | None, typer.Option(help="Then pool: max or avg.")] = None,
    pool_size: Annotated[int, typer.Option(min=1, help="Side of the pooling window.")] = 2,
    pool_stride: Annotated[
        int | None, typer.Option(min=1, help="Pixels between windows; default: their side.")
    ] = None,
    span: Annotated[
        str, typer.Option(help="clip: below 0 black, above 255 white. stretch: least black, most white.")
    ] = "clip",
    zoom: Annotated[int, typer.Option(min=1, max=64, help="Enlarge the pixels of the picture written.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Replace --out.")] = False,
) -> None:
    """See convolution work: lay a kernel over a picture, pool the result, print small matrices.

    \b
    Examples:
      edgevision filter photo.jpg --kernel edge-8 --out edges.png
      edgevision filter photo.jpg --kernel box-blur --padding same --pool max --out small.png
      edgevision filter six.txt --kernel edge-4 --pool max
      edgevision filter photo.jpg --kernel "relief=-2,-1,0;-1,1,1;0,1,2" --out relief.png
    """
    from edgevision import filters
    from edgevision.errors import UsageError

    name, numbers = filters.kernel_named(kernel)
    if padding != "same" and not (padding.isdecimal() and int(padding) <= filters.KERNEL_SIDE_MAX):
        raise UsageError(
            f"padding {padding!r}: expected same, or a number from 0 to {filters.KERNEL_SIDE_MAX}"
        )
    if out is not None and out.suffix.lower() != ".png":
        raise UsageError(f"{out} does not end in .png", hint="pictures are written as PNG")
    values = filters.read_values(picture)
    filtered = filters.convolve(values, numbers, padding if padding == "same" else int(padding), stride)
    shown = [("input", values), (f"kernel {name}", numbers), ("filtered", filtered)]
    if pool is not None:
        filtered = filters.pool(filtered, pool, pool_size, pool_stride)
        shown.append((f"{pool} pooled", filtered))
    small = values.ndim == 2 and max(values.shape) <= PRINTED_MAX
    if small:
        typer.echo("\n\n".join(f"{title}\n{filters.matrix_text(matrix)}" for title, matrix in shown))
    elif out is None:
        raise UsageError(
            f"only grey pictures up to {PRINTED_MAX} x {PRINTED_MAX} are printed",
            hint="say where the result goes: --out result.png",
        )
    if out is not None:
        _write(filters.as_picture(filtered, span), out, zoom, force)
        typer.echo(f"wrote {out}, {filtered.shape[1]} x {filtered.shape[0]} pixels", err=True)


def _write(image: Image.Image, out: Path, zoom: int, force: bool) -> None:
    from PIL.Image import Resampling

    from converters.storage import replacing_file
    from edgevision.errors import UsageError
    from edgevision.pictures import PIXELS_MAX

    size = (image.width * zoom, image.height * zoom)
    if size[0] * size[1] > PIXELS_MAX:
        raise UsageError(f"--zoom {zoom} makes more than {PIXELS_MAX:,} pixels")
    with replacing_file(out, overwrite=force) as new:
        image.resize(size, Resampling.NEAREST).save(new, format="PNG", optimize=True)
