"""How an object's number is written in text: `<OBJ012>`, in prompts, answers and training data alike.

At least three digits, as Chat-Scene and GPT4Scene (arXiv 2501.01428, `evaluate/utils/eval.py`) write them; more where
a scene holds more than a thousand objects.
"""

import re

_OBJECT_ID = re.compile(r"<OBJ(\d{3,18})>")


def format_id(id: int) -> str:
    """`<OBJ012>` for 12.

    Raises:
        ValueError: the id is negative.
    """
    if id < 0:
        raise ValueError(f"an object's id must be 0 or more, got {id}")
    return f"<OBJ{id:03d}>"


def parse_ids(text: str) -> list[int]:
    """The ids of every `<OBJ012>` in a text, in order, repeats included; nothing else is taken for an id."""
    return [int(digits) for digits in _OBJECT_ID.findall(text)]
