"""A script in the place of a model that sees: it measures colours and corners. It can be wrong as a model can."""

import PIL.Image

NAMES = {"red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0), "black": (0, 0, 0)}


def look(messages):
    """Answer which colour and shape is on the picture of the last message."""
    image = next(part for part in messages[-1]["content"] if part["type"] == "image")
    with PIL.Image.open(image["image"]) as picture:
        pixels = picture.convert("RGB")
    width, height = pixels.size
    middle = pixels.getpixel((width // 2, height // 2))
    color = min(NAMES, key=lambda name: sum((a - b) ** 2 for a, b in zip(NAMES[name], middle, strict=True)))
    corner = pixels.getpixel((width * 3 // 16, height * 3 // 16))
    return f"A {color} {'circle' if min(corner) > 200 else 'square'}."
