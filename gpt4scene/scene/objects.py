"""Where a scene's objects come from: a detector's masks, geometry, ready-made instances, or the first two together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bev.errors import UserError
from bev.scan import Scan
from bev.surface import Surface
from gpt4scene.scene.detecting import Detected
from markers.associate import associate
from markers.cluster import cluster
from markers.instance import Instance
from markers.merging import merge_instances
from markers.proposals import load_proposals

if TYPE_CHECKING:
    import supervision as sv

ObjectSource = Literal["detect", "geometry", "proposals", "both"]


def choose_source(
    wanted: ObjectSource | None,
    *,
    weights: Path | str | None = None,
    sam: Path | str | None = None,
    classes: Sequence[str] = (),
    trust_weights: bool = False,
    proposals: Path | None = None,
) -> ObjectSource:
    """Where the objects come from: as wanted, or as the other options imply.

    Raises:
        UserError: the options contradict each other.
    """
    networks = "--weights" if weights is not None else "--sam" if sam is not None else None
    source = wanted or ("detect" if networks else "proposals" if proposals is not None else "geometry")
    if networks is None and source in ("detect", "both"):
        raise UserError(f"--instances {source}: needs --weights FILE, or --sam FILE alone for objects without names")
    if networks is not None and source not in ("detect", "both"):
        raise UserError(f"{networks}: is of no use to --instances {source}; leave one of the two out")
    if proposals is None and source == "proposals":
        raise UserError("--instances proposals: needs the ready-made instances; give --proposals FILE")
    if proposals is not None and source != "proposals":
        other = f"--instances {source}" if wanted else str(networks)
        raise UserError(f"--proposals: is of no use beside {other}; leave one of the two out")
    for option, given in (("--classes", bool(classes)), ("--trust-weights", trust_weights)):
        if given and weights is None:
            raise UserError(f"{option}: is for a detector; give one with --weights, or leave {option} out")
    return source


def find_instances(
    source: ObjectSource,
    scan: Scan,
    surface: Surface,
    *,
    proposals: Path | None = None,
    detected: Detected | None = None,
    min_views: int = 3,
) -> list[Instance]:
    """The objects of a room, each with one id.

    Args:
        source: from `choose_source`.
        scan: upright, in the surface's world; its frames may be fewer than those that were looked at.
        surface: of the room.
        proposals: for "proposals".
        detected: for "detect" and "both".
        min_views: an object that masks show must be seen by so many frames.
    """
    if source == "geometry":
        return cluster(surface)
    if source == "proposals":
        assert proposals is not None
        return load_proposals(proposals, surface)
    assert detected is not None
    frames = frozenset(frame.index for frame in scan.frames)
    found = associate(scan, surface, _OfRoom(detected.by_frame, frames), min_views=min_views)
    return found if source == "detect" else merge_instances(surface, found, cluster(surface))


def notes_on(
    source: ObjectSource, instances: Sequence[Instance], *, detected: Detected | None = None, min_views: int = 3
) -> tuple[str, ...]:
    """What was found, and why a scene has no objects where it has none; one line each."""
    if detected is None:
        return () if instances or source != "geometry" else ("geometry alone found no object",)
    notes = [detected.told()]
    from_masks = sum(instance.source == "detect" for instance in instances)
    if detected.detections and not from_masks:
        notes.append(f"no object was seen in {min_views} frames (--min-views)")
    if source == "both":
        notes.append(f"{from_masks} objects by detection, {len(instances) - from_masks} more from geometry alone")
    return tuple(notes)


@dataclass(frozen=True, eq=False)
class _OfRoom(Mapping[int, "sv.Detections"]):
    """The detections of a room's frames among those of a whole capture, still read when asked for."""

    all_frames: "Mapping[int, sv.Detections]"
    frames: frozenset[int]

    def __getitem__(self, index: int) -> "sv.Detections":
        if index not in self.frames:
            raise KeyError(index)
        return self.all_frames[index]

    def __iter__(self) -> Iterator[int]:
        return (index for index in self.all_frames if index in self.frames)

    def __len__(self) -> int:
        return sum(1 for _ in self)
