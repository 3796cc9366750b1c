"""Seeded rooms with ground truth, and films of them: what the demo shows and the tests measure against."""

from bev.synthetic.filming import Film, film, write_seven_scenes
from bev.synthetic.room import Room, RoomObject, synthetic_room

__all__ = ["Film", "Room", "RoomObject", "film", "synthetic_room", "write_seven_scenes"]
