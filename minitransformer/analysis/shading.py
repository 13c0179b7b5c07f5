"""Shaded text for terminals with 256 or 2²⁴ colours. The background ranges from white to a colour."""

import numpy as np

PAPER, INK = (255, 255, 255), (0, 0, 0)
SHADES = {"attention": (33, 102, 172), "lost": (230, 97, 1), "gained": (94, 60, 153)}  # safe for colour-blind readers
CUBE = (0, 95, 135, 175, 215, 255)  # the levels of red, green and blue in a terminal of 256 colours


def terminal_colours(stream, environment) -> int:
    """Return the number of colours, 2²⁴ or 256, or 0 if the text must not be coloured."""
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb" or not stream.isatty():
        return 0
    return 2**24 if environment.get("COLORTERM") in ("truecolor", "24bit") else 256


def painted(text: str, ink, strength: float, colours: int) -> str:
    """Shade a text with escape sequences. `strength` is 0 for white and 1 for `ink`."""
    background = mixed(ink, strength)
    return f"\x1b[{sgr(48, background, colours)};{sgr(38, readable_on(background), colours)}m{text}\x1b[0m"


def mixed(ink, strength: float):
    return tuple(round(paper + (colour - paper) * float(strength)) for paper, colour in zip(PAPER, ink, strict=True))


def strengths(values):
    largest = np.abs(values).max()
    return values / largest if largest > 0 else values


def readable_on(background):
    """Return black or white, whichever contrasts more with the background (WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(background) / 255]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return INK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else PAPER


def sgr(ground: int, colour, colours: int) -> str:
    """Return the parameters of an escape sequence. `ground` is 38 for the text and 48 for the background."""
    if colours > 256:
        return f"{ground};2;{';'.join(map(str, colour))}"
    red, green, blue = (int(np.argmin(np.abs(np.subtract(CUBE, c)))) for c in colour)
    return f"{ground};5;{16 + 36 * red + 6 * green + blue}"
