"""From a decoded frame to a picture: upright, small enough, in ordinary colours."""

from fractions import Fraction
from typing import Any

import numpy as np

from bev.errors import require

_BT709, _BT601, _BT2020 = "ITU709", "ITU601", "BT2020"
_MATRIX = {1: _BT709, 4: "FCC", 5: _BT601, 6: _BT601, 7: "SMPTE240M", 9: _BT2020, 10: _BT2020}
"""ITU-T H.273 matrix coefficients, as frames carry them, to swscale's names."""
_PQ, _HLG = 16, 18
"""ITU-T H.273 transfer characteristics of HDR: SMPTE ST 2084 and ARIB STD-B67."""
_LIMITED_RANGE, _FULL_RANGE = 1, 2


class Picture:
    """How the frames of one film become RGB; holds swscale's tables, which take seconds to build for HDR.

    Pictures are made smaller before they become RGB, so a large film never exists as RGB of its full size. HDR (PQ and
    HLG, ITU-R BT.2100) becomes sRGB: reference white is white, what is brighter is white too.
    """

    def __init__(self, first: Any, pixel_aspect: Fraction | None, long_side_px: int, *, upright: bool = True) -> None:
        """Take sizes, rotation and colours from a film's first frame; the aspect is of one stored pixel.

        Not `upright`, pictures stay as the sensor saw them: what calibrations and depth beside a film speak of.
        """
        reformatter = require("av.video.reformatter", "video")
        self._shrink, self._convert = reformatter.VideoReformatter(), reformatter.VideoReformatter()
        width, height = round(first.width * (pixel_aspect or 1)), first.height
        share = min(1.0, long_side_px / max(width, height))
        self._stored: tuple[int, int] = (max(1, round(width * share)), max(1, round(height * share)))
        self._turned, self._flips = _display_turn(first) if upright else (False, (1, 1))
        self.full_size = (height, width) if self._turned else (width, height)
        """(width, height) of the film as it is shown, before it is made smaller."""
        self.size = (self._stored[1], self._stored[0]) if self._turned else self._stored
        """(width, height) of the pictures."""

    def rgb(self, frame: Any) -> np.ndarray:
        """A decoded frame as (H, W, 3) uint8 RGB of `size`, upright."""
        image = (self._from_hdr if frame.color_trc in (_PQ, _HLG) else self._from_ordinary)(frame)
        if self._turned:
            image = image.transpose(1, 0, 2)
        return np.ascontiguousarray(image[tuple(slice(None, None, step) for step in self._flips)])

    def _from_ordinary(self, frame: Any) -> np.ndarray:
        width, height = self._stored
        small = self._shrink.reformat(
            frame, width, height, "rgb24", interpolation="AREA", dst_color_range=_FULL_RANGE, **_source_colors(frame)
        )
        return small.to_ndarray()

    def _from_hdr(self, frame: Any) -> np.ndarray:
        """Made small first: the table of colours costs five times as much on a 4K frame."""
        av = require("av", "video")
        width, height = self._stored
        colors = _source_colors(frame)
        small = self._shrink.reformat(frame, width, height, "yuv444p16le", interpolation="AREA", **colors)
        # a new frame, without the film's own wishes for tone mapping: they change from frame to frame
        bare = av.VideoFrame.from_ndarray(small.to_ndarray(), "yuv444p16le")
        bare.color_trc, bare.color_primaries = frame.color_trc, frame.color_primaries
        ordinary = self._convert.reformat(
            bare,
            format="rgb24",
            dst_color_range=_FULL_RANGE,
            dst_colorspace=_BT709,
            dst_color_trc="IEC61966_2_1",
            dst_color_primaries="BT709",
            **{"src_color_range": _LIMITED_RANGE, **colors},
        )
        return ordinary.to_ndarray()


def _source_colors(frame: Any) -> dict[str, Any]:
    """How a frame's numbers encode colour; films that do not say are BT.601, from 1280 pixels on BT.709."""
    if frame.format.is_rgb:
        return {}
    unsaid = _BT709 if max(frame.width, frame.height) >= 1280 else _BT601
    colors: dict[str, Any] = {"src_colorspace": _MATRIX.get(int(frame.colorspace), unsaid)}
    if int(frame.color_range):
        colors["src_color_range"] = int(frame.color_range)
    return colors


def _display_turn(frame: Any) -> tuple[bool, tuple[int, int]]:
    """What the film's display matrix does to a stored picture: whether rows become columns, then steps down and across.

    The matrix (ISO/IEC 14496-12) maps stored x, y to a x + c y, b x + d y; only quarter turns and mirrors are followed.
    """
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return False, (1, 1)
    a, b, _, c, d = np.frombuffer(bytes(side_data), np.int32)[:5].tolist()
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if turned else (a, d)
    return turned, (-1 if down < 0 else 1, -1 if across < 0 else 1)
