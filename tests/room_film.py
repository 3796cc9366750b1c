"""A synthetic room as a plain film: what a phone would bring, with the truth beside it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from film_clips import write_film

from bev.synthetic import film, synthetic_room
from bev.synthetic.filming import Film


@dataclass(frozen=True, eq=False)
class RoomFilm:
    """A film on disk, and the walk that it shows."""

    path: Path
    walk: Film

    def true_centers(self, indices: np.ndarray) -> np.ndarray:
        """(n, 3) metres, in the tilted world of the walk: where the camera stood."""
        return self.walk.scan.centers()[indices]

    @property
    def true_up(self) -> np.ndarray:
        """(3,): up in that world."""
        return self.walk.world_from_room[:3, 2]


def write_room_film(
    path: Path, *, seed: int = 7, frames: int = 150, shown: int | None = None, first: int = 0, **how: Any
) -> RoomFilm:
    """Film a room and write the frames from `first` on, `shown` of them, without depth or poses.

    Args:
        path: of the film.
        seed: of the room.
        frames: how many one walk around the room has.
        shown: how many of them are written; None: all.
        first: of them.
        how: see `bev.synthetic.film`.
    """
    walk = film(synthetic_room(seed), frames=frames, **{"width": 480, "height": 360, **how})
    kept = walk.scan.frames[first : first + (shown or frames)]
    write_film(path, lambda i: kept[i].read_color(), len(kept), options={"crf": "16"})
    return RoomFilm(path, walk)
