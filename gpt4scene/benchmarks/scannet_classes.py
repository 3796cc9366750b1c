"""Which of ScanNet's names of objects are of one class, by which ScanRefer tells unique objects from those with others.

The classes are ScanNet's 18: 17 and "others" for the rest. `scannetv2-labels.combined.tsv` names the class of 607 names
in its column nyu40class; below are all that are of one of the 17, and of walls and floors, which M3DRef-CLIP counts as
classes too (commit babfcc4, dataset/scanrefer/add_evaluation_labels.py).
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from bev.errors import UserError

OTHERS = "others"
STRUCTURE = ("wall", "floor")
TABLE = "scannetv2-labels.combined.tsv"

_NAMES = {
    "bathtub": "bathtub",
    "bed": "bed, mattress, loft bed, sofa bed, air mattress",
    "bookshelf": "bookshelf, bookshelves",
    "cabinet": "cabinet, cabinets, cabinet doors, kitchen cabinet, kitchen cabinets, open kitchen cabinet,"
    " file cabinet, file cabinets, bathroom cabinet, bathroom vanity, trash cabinet, media center",
    "chair": "chair, office chair, armchair, sofa chair, massage chair, rocking chair, recliner chair, folded chair,"
    " folded chairs, stack of chairs, stack of folded chairs",
    "counter": "counter, kitchen counter, bathroom counter",
    "curtain": "curtain, curtains",
    "desk": "desk",
    "door": "door, doors, doorframe, sliding door, glass doors, mirror doors, shower door, closet door, closet doors,"
    " closet doorframe, cabinet door, bathroom stall door",
    "picture": "picture, pictures, poster, painting",
    "refrigerator": "refrigerator, mini fridge, cooler",
    "shower curtain": "shower curtain",
    "sink": "sink",
    "sofa": "sofa, couch",
    "table": "table, coffee table, end table, side table, dining table, round table, folded table, air hockey table",
    "toilet": "toilet, urinal",
    "window": "window",
    "wall": "wall, shower wall, shower walls, closet wall, closet walls, pantry wall, pantry walls, bath walls,"
    " door wall",
    "floor": "floor, shower floor, closet floor",
}
CLASS_OF_NAME: Mapping[str, str] = {name: kind for kind, names in _NAMES.items() for name in names.split(", ")}
"""From ScanNet's name of an object to one of the 17 classes, "wall" or "floor"; other names are of `OTHERS`."""


def class_of_name(root: Path) -> Mapping[str, str]:
    """The same by a table of labels that lies with a benchmark's data, where there is one.

    Args:
        root: folder of the benchmark's data.

    Raises:
        UserError: the table is there and cannot be read, or is another one.
    """
    path = root / TABLE
    if not path.is_file():
        return CLASS_OF_NAME
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: does not read as a table of labels ({error}); fetch it again, or remove it"
        ) from error
    if not rows or any(not isinstance(rows[0].get(key), str) for key in ("raw_category", "nyu40class")):
        raise UserError(f"{path}: lacks the columns raw_category and nyu40class; is it ScanNet's table of labels?")
    return {row["raw_category"]: row["nyu40class"] for row in rows if row["nyu40class"] in _NAMES}
