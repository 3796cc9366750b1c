"""What came out of building a dataset: samples, tokens and images, and what was dropped and why."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpt4scene.datasets.dropped import merged_rows, told
from gpt4scene.datasets.parts import ScenePart
from gpt4scene.datasets.training_samples import Asked

SCHEMA = "gpt4scene/dataset-report@1"


def report_of(
    recipe: Mapping[str, Any],
    loaded: Sequence[Asked],
    parts: Sequence[ScenePart],
    dropped: Iterable[Mapping[str, Any]],
) -> dict[str, Any]:
    """The report of a dataset, as JSON holds it; the same for the same dataset, however it was made.

    Args:
        recipe: what it is made of.
        loaded: all questions of the annotation files.
        parts: of its scenes.
        dropped: rows of what never came to a scene.
    """
    return {
        "schema": SCHEMA,
        "recipe": dict(recipe),
        "splits": [_of_split(split, parts) for split in dict.fromkeys(asked.split for asked in loaded)],
        "tasks": [_of_task(asked, parts) for asked in loaded],
        "dropped": merged_rows([*dropped, *(row for part in parts for row in part.dropped)]),
    }


def _of_split(split: str, parts: Sequence[ScenePart]) -> dict[str, Any]:
    """Tokens count every image of every sample; `shared_tokens` those of a scene once, as rows with branches do."""
    samples, images, scenes = 0, 0, 0
    tokens, shared = [0, 0], [0, 0]
    for part in parts:
        counts = [count for count in part.counts if count["split"] == split]
        here = sum(count["samples"] for count in counts)
        if not here:
            continue
        samples, images, scenes = samples + here, images + len(part.images), scenes + 1
        for end in (0, 1):
            own = sum(count["own_tokens"][end] for count in counts)
            tokens[end] += own + here * part.prefix_tokens[end]
            shared[end] += own + part.prefix_tokens[end]
    return {
        "split": split,
        "scenes": scenes,
        "samples": samples,
        "images": images,
        "tokens": tokens,
        "shared_tokens": shared,
    }


def _of_task(asked: Asked, parts: Sequence[ScenePart]) -> dict[str, Any]:
    row: dict[str, Any] = {"task": asked.task, "split": asked.split, "questions": len(asked.samples)}
    samples, images, scenes, tokens = 0, 0, 0, [0, 0]
    for part in parts:
        for count in part.counts:
            if (count["task"], count["split"]) == (asked.task, asked.split) and count["samples"]:
                samples, images, scenes = samples + count["samples"], images + len(part.images), scenes + 1
                for end in (0, 1):
                    tokens[end] += count["own_tokens"][end] + count["samples"] * part.prefix_tokens[end]
    return row | {"scenes": scenes, "samples": samples, "images": images, "tokens": tokens}


def report_markdown(report: Mapping[str, Any]) -> str:
    """The report as a page."""
    lines = ["# Dataset", "", "| split | scenes | samples | images | tokens | with each scene's images once |"]
    lines += ["|---|---|---|---|---|---|"]
    for row in report["splits"]:
        tokens, shared = range_text(row["tokens"]), range_text(row["shared_tokens"])
        numbers = f"{row['scenes']:,} | {row['samples']:,} | {row['images']:,}"
        lines.append(f"| {row['split']} | {numbers} | {tokens} | {shared} |")
    lines += ["", "| task | split | questions | samples | scenes | images | tokens |", "|---|---|---|---|---|---|---|"]
    for row in report["tasks"]:
        numbers = f"{row['questions']:,} | {row['samples']:,} | {row['scenes']:,} | {row['images']:,}"
        lines.append(f"| {row['task']} | {row['split']} | {numbers} | {range_text(row['tokens'])} |")
    lines += ["", "Tokens are estimated: image tokens by the model's rule, text between the least and the most.", ""]
    lines += ["## Dropped", ""] if report["dropped"] else ["Nothing was dropped.", ""]
    lines += [_escaped(f"- {row['task']} {row['split']}: {told(row, 10)}") for row in report["dropped"]]
    lines += ["", "## Made of", ""]
    lines += [_escaped(f"- {name}: {_value(value)}") for name, value in report["recipe"].items()]
    return "\n".join(lines) + "\n"


def range_text(tokens: Sequence[int]) -> str:
    """ "1,234 to 2,345", or one number where both ends are equal."""
    low, high = tokens
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _escaped(line: str) -> str:
    return "".join(f"\\{sign}" if sign in "|*`<[" else sign for sign in line)
