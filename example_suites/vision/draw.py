"""Draws the pictures of this suite, in the folder ``pictures`` beside it."""

from pathlib import Path

import PIL.Image
import PIL.ImageDraw

SIZE = 64
COLORS = {
    "red": (214, 40, 40),
    "green": (34, 139, 34),
    "blue": (38, 70, 200),
    "yellow": (246, 206, 20),
    "black": (20, 20, 20),
}
SHAPES = ("square", "circle")


def draw(shape, color):
    """Return a picture of a shape on white."""
    image = PIL.Image.new("RGB", (SIZE, SIZE), "white")
    pen = PIL.ImageDraw.Draw(image)
    box = (SIZE // 8, SIZE // 8, SIZE * 7 // 8, SIZE * 7 // 8)
    (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=COLORS[color])
    return image


if __name__ == "__main__":
    folder = Path(__file__).with_name("pictures")
    folder.mkdir(exist_ok=True)
    for shape in SHAPES:
        for color in COLORS:
            # 16 colours are enough for a shape on white, and make a small file.
            draw(shape, color).quantize(16).save(folder / f"{shape}-{color}.png", optimize=True)
