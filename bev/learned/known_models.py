"""Published networks: under which licence their weights may be used, and what they give."""

from collections.abc import Mapping
from dataclasses import dataclass

from bev.learned.protocol import DepthKind

UNKNOWN_LICENCE = "licence unknown: read the model card"
_NC = "CC BY-NC 4.0 (no commercial use)"
_APACHE = "Apache-2.0"


@dataclass(frozen=True)
class KnownModel:
    """What is known of a published network before anything is downloaded."""

    licence: str
    gives_poses: bool
    depth: DepthKind


# licences: the model table in the README of depth-anything-3 0.1.1; the others' model cards
KNOWN: Mapping[str, KnownModel] = {
    "depth-anything/DA3NESTED-GIANT-LARGE-1.1": KnownModel(_NC, True, "metre"),
    "depth-anything/DA3NESTED-GIANT-LARGE": KnownModel(_NC, True, "metre"),
    "depth-anything/DA3-GIANT-1.1": KnownModel(_NC, True, "scaled"),
    "depth-anything/DA3-GIANT": KnownModel(_NC, True, "scaled"),
    "depth-anything/DA3-LARGE-1.1": KnownModel(_NC, True, "scaled"),
    "depth-anything/DA3-LARGE": KnownModel(_NC, True, "scaled"),
    "depth-anything/DA3-BASE": KnownModel(_APACHE, True, "scaled"),
    "depth-anything/DA3-SMALL": KnownModel(_APACHE, True, "scaled"),
    "depth-anything/DA3METRIC-LARGE": KnownModel(_APACHE, False, "metre"),
    "depth-anything/DA3MONO-LARGE": KnownModel(_APACHE, False, "scaled"),
    "facebook/VGGT-1B": KnownModel(_NC, True, "scaled"),
    "facebook/VGGT-1B-Commercial": KnownModel(
        "Meta's own VGGT licence (commercial use but not military; access on request)", True, "scaled"
    ),
    "apple/DepthPro-hf": KnownModel("Apple's apple-amlr licence (research only)", False, "metre"),
    "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf": KnownModel(_APACHE, False, "metre"),
    "depth-anything/Depth-Anything-V2-Metric-Indoor-Base-hf": KnownModel(_NC, False, "metre"),
    "depth-anything/Depth-Anything-V2-Metric-Indoor-Large-hf": KnownModel(_NC, False, "metre"),
    "depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf": KnownModel(_APACHE, False, "metre"),
    "depth-anything/Depth-Anything-V2-Metric-Outdoor-Base-hf": KnownModel(_NC, False, "metre"),
    "depth-anything/Depth-Anything-V2-Metric-Outdoor-Large-hf": KnownModel(_NC, False, "metre"),
    "depth-anything/Depth-Anything-V2-Small-hf": KnownModel(_APACHE, False, "inverse"),
    "depth-anything/Depth-Anything-V2-Base-hf": KnownModel(_NC, False, "inverse"),
    "depth-anything/Depth-Anything-V2-Large-hf": KnownModel(_NC, False, "inverse"),
}
"""Name on the Hugging Face hub to what it is."""


def licence_of(source: str) -> str:
    """The licence of the weights, as published; what to do where it is not known here."""
    known = KNOWN.get(source)
    return known.licence if known else UNKNOWN_LICENCE
