"""Names by which a device re-encodes the original input before it sends it, as a plan's codec of ``source``.

What travels is an ordinary ``uint8`` tensor with codec ``none``: the bytes of a file, or pixels. The name says what was
done to the picture, so that a plan and its digest cover it:

- ``png``, ``webp``: the picture as it was decoded, upright, in the model's mode, without loss.
- ``webp80``, ``webp90``, ``jpeg75``, ``jpeg90``, ``jpeg95``: the same, lossy, of that quality.
- ``fit``: resized and cropped as the model's record says, as pixels ``(H, W, C)``; the worker scales and normalises.
- ``fit-NAME``: fitted first, then encoded as NAME; the worker decodes, scales and normalises.
"""

from __future__ import annotations

FIT = "fit"
_FORMATS = ("png", "webp", "webp80", "webp90", "jpeg75", "jpeg90", "jpeg95")

PICTURES: tuple[str, ...] = (*_FORMATS, FIT, *(f"{FIT}-{name}" for name in _FORMATS))
"""Every name, those without loss before the others of their kind."""


def is_fitted(name: str) -> bool:
    """Whether the picture that travels has been resized and cropped already."""
    return name == FIT or name.startswith(f"{FIT}-")


def format_of(name: str) -> str:
    """The format after fitting; empty where pixels travel."""
    return "" if name == FIT else name.removeprefix(f"{FIT}-")
