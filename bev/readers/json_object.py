"""Objects in JSON files, with faults told in one line."""

import json
from pathlib import Path
from typing import Any

from bev.errors import UserError


def read_object(path: Path) -> dict[str, Any]:
    """The one object of a JSON file.

    Raises:
        UserError: the file cannot be read, is no JSON, or holds something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path}: is no JSON ({error}); is it damaged or cut short? Export it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold a JSON object, holds a {type(content).__name__}")
    return content


def number(content: dict[str, Any], key: str, where: str) -> float | None:
    """The number under a key; None where the key is missing or null.

    Raises:
        UserError: there is something else; `where` is named.
    """
    value = content.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UserError(f"{where}: {key} must be a number, is {str(value)[:40]!r}")
    return float(value)


def needed_number(content: dict[str, Any], key: str, where: str) -> float:
    """As `number`, of a key that must be there.

    Raises:
        UserError: it is missing, or there is something else.
    """
    value = number(content, key, where)
    if value is None:
        raise UserError(f"{where}: {key} is missing; export the capture again")
    return value
