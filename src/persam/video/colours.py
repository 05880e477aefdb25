"""A decoded frame as (H, W, 3) uint8 RGB, upright: ten bits and high dynamic range become eight, as screens show them.

FFmpeg in PyAV has no filter that knows the light curves of HDR, so they are here: ITU-R BT.2100's PQ (HDR10, Dolby
Vision) and HLG (phones, broadcasts), and BT.2408's white of 203 nits.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

_PQ, _HLG = 16, 18  # FFmpeg's numbers of transfer curves,
_UNSPECIFIED, _HD = 2, 1  # and of colour spaces
_HD_HEIGHT = 720  # rows from which on players take untold colours for HD's
_WHITE, _PEAK = 203.0, 1000.0  # nits of paper white, and of the brightest that is still told apart
_KNEE = np.float32(0.75)  # light up to which nothing is compressed
# Linear BT.2020 to linear BT.709 (ITU-R BT.2087).
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
_STEPS = 4096  # of the table of the screen's curve


def rgb_of(frame: Any, size: tuple[int, int]) -> np.ndarray:
    """A frame of PyAV, (H, W, 3) uint8 RGB, turned as its rotation says; see-through places become white.

    Args:
        frame: decoded.
        size: (width, height) as it is stored.
    """
    options: dict[str, Any] = {"width": size[0], "height": size[1]}
    if frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT and "rgb" not in frame.format.name:
        options["src_colorspace"] = _HD
    if frame.color_trc in (_PQ, _HLG):
        pixels = _shown(frame.reformat(format="rgb48le", **options).to_ndarray(), frame.color_trc)
    elif any(component.is_alpha for component in frame.format.components):
        pixels = _on_white(frame.reformat(format="rgba", **options).to_ndarray())
    else:
        pixels = frame.reformat(format="rgb24", **options).to_ndarray()
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def _on_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[:, :, 3:].astype(np.uint16)
    if alpha.min() == 255:
        return rgba[:, :, :3]
    return ((rgba[:, :, :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _shown(pixels: np.ndarray, curve: int) -> np.ndarray:
    """HDR (H, W, 3) uint16 of BT.2020 as a usual screen shows it, uint8: what is brighter than paper is compressed."""
    light = _light(curve)[pixels]
    if curve == _HLG:  # its light is that of the scene; a screen of 1000 nits adds a gamma of 1.2
        brightness = light @ np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
        light = light * (np.maximum(brightness, 1e-6) ** 0.2)[..., None] * (_PEAK / _WHITE)
    light = np.maximum(light @ _TO_709.T, 0)
    strongest = light.max(axis=-1, keepdims=True)
    over = np.maximum(strongest - _KNEE, 0) / (1 - _KNEE)
    most = np.float32((_PEAK / _WHITE - _KNEE) / (1 - _KNEE))
    # Above the knee Reinhard's curve with a white point, which meets 1 at the peak.
    compressed = np.minimum(strongest, _KNEE) + (1 - _KNEE) * over * (1 + over / most**2) / (1 + over)
    light *= compressed / np.maximum(strongest, 1e-6)
    return _screen()[np.minimum(light * (_STEPS - 1), _STEPS - 1).astype(np.uint16)]


@cache
def _light(curve: int) -> np.ndarray:
    """Light of every 16-bit value, (65536,) float32: 1 is paper white for PQ, the scene's brightest for HLG."""
    value = np.linspace(0, 1, 65536)
    if curve == _PQ:
        root = value ** (32 / 2523)
        light = 10000 / _WHITE * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (8192 / 1305)
    else:
        light = np.where(value <= 0.5, value**2 / 3, (np.exp((value - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return light.astype(np.float32)


@cache
def _screen() -> np.ndarray:
    """SRGB's curve, (_STEPS,) uint8."""
    light = np.linspace(0, 1, _STEPS)
    curved = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(curved * 255).astype(np.uint8)
