"""Contact sheets: many small pictures with their labels on one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgevision.data import ImageSet

if TYPE_CHECKING:
    from PIL import Image

ZOOM = 2
COLUMNS = 12
TEXT_HEIGHT = 14  # pixels


def contact_sheet(data: ImageSet) -> Image.Image:
    """All pictures of `data`, enlarged twice, twelve in a row, the class below each."""
    from PIL import Image, ImageDraw, ImageFont

    height, width = data.images.shape[1:3]
    cell = (max(ZOOM * width, 76) + 8, ZOOM * height + TEXT_HEIGHT + 8)
    columns = min(COLUMNS, len(data))
    sheet = Image.new("RGB", (columns * cell[0], -(-len(data) // columns) * cell[1]), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for index, (pixels, label) in enumerate(zip(data.images, data.labels, strict=True)):
        x, y = index % columns * cell[0], index // columns * cell[1]
        picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[-1] == 1 else pixels)
        picture = picture.resize((ZOOM * width, ZOOM * height), Image.Resampling.NEAREST)
        sheet.paste(picture, (x + (cell[0] - ZOOM * width) // 2, y + 4))
        centre = (x + cell[0] / 2, y + ZOOM * height + 5)
        draw.text(centre, data.classes[label], fill="black", font=font, anchor="ma")
    return sheet
