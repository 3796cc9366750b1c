"""What stands in reports and comes from models or files, made fit for one line."""

import unicodedata
from collections.abc import Sequence
from pathlib import PurePath

LABEL_MOST = 28
"""Characters of a model's name in the heads of tables and in plots."""


def plain(text: str, most: int = 200) -> str:
    """A text in one line, without characters that steer how it is shown; its middle is left out where it is long."""
    spaced = "".join(" " if c.isspace() else c for c in text)
    shown = "".join(c for c in spaced if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    line = " ".join(shown.split())
    if len(line) <= most:
        return line
    head = most // 3  # of names and paths the end tells more
    return f"{line[:head].rstrip()}…{line[head + 1 - most :].lstrip()}"


def labels(names: Sequence[str]) -> list[str]:
    """Short names that differ: of models for tables and plots."""
    # where a model is served tells least of it
    models = [name.split("@http")[0] for name in names]
    names = [model if models.count(model) == 1 else name for model, name in zip(models, names, strict=True)]
    short = [plain(_without_folders(name), LABEL_MOST) or "(no name)" for name in names]
    return [
        label if short.count(label) == 1 else f"{plain(label, LABEL_MOST - 5)} [{position}]"
        for position, label in enumerate(short, start=1)
    ]


def _without_folders(name: str) -> str:
    """ "local:tuned+adapter" of "local:/models/tuned+/runs/adapter"; short names and addresses as they are."""
    if len(name) <= LABEL_MOST or "://" in name:
        return name
    kind, colon, rest = name.partition(":") if ":" in name else ("", "", name)
    return f"{kind}{colon}{'+'.join(PurePath(part).name for part in rest.split('+'))}"
