"""What a person reads of an answer: the objects it names with their boxes, what it took, and where the picture is."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bev.errors import UserError

if TYPE_CHECKING:
    from gpt4scene.asking import Answer
    from gpt4scene.scene.contents import SceneInstance
    from gpt4scene.scene.scene import Scene
    from gpt4scene.vlm.answering import Plan
    from gpt4scene.vlm.protocol import VLM, Usage

_KEPT = "\n\t\u200c\u200d"
"""Line breaks and tabs, and the joiners that scripts and emoji are written with."""
PICTURE_ENDINGS = (".png", ".jpg", ".jpeg")
_FAILURES = {
    "refused": "the model declined to answer",
    "truncated": "the answer was cut short, allow more with --max-new-tokens",
    "failed": "no answer came",
    "unparsable": "the answer names no object",
}

_AGAIN = {
    "failed": "the same command asks again",
    "refused": "--retry-failed asks again",
    "truncated": "--max-new-tokens allows more",
}


def printable(text: str) -> str:
    """A model's text without what would steer the terminal: control characters but for line breaks and tabs."""
    return "".join(c for c in text if c in _KEPT or unicodedata.category(c) not in ("Cc", "Cf", "Cs"))


def object_lines(scene: "Scene", ids: Sequence[int], unknown_ids: Sequence[int]) -> str:
    """A line for each object that an answer names, with its box; then the numbers that are no object's."""
    named = [scene.instance(id) for id in ids]
    width = max((len(printable(each.label)) for each in named), default=0)
    lines = [f"  {each.id:>3}  {printable(each.label):{width}}  {_box(scene, each)}" for each in named]
    if unknown_ids:
        lines.append(f"  not in the scene: {', '.join(map(str, unknown_ids))}")
    return "".join(f"{line}\n" for line in lines)


def _box(scene: "Scene", instance: "SceneInstance") -> str:
    unit = "m" if scene.is_metric else "units"
    values = _box_values(instance)
    center = ", ".join(f"{value:.2f}" for value in values["center"])
    size = " x ".join(f"{value:.2f}" for value in values["size"])
    return f"centre {center} {unit}, size {size} {unit}, yaw {round(values['yaw_deg'])}°"


def _box_values(instance: "SceneInstance") -> Mapping[str, Any]:
    """Rounded, and without a minus sign before zero."""
    box = instance.box
    return {
        "center": [round(float(value), 4) + 0.0 for value in box.center],
        "size": [round(float(value), 4) + 0.0 for value in box.size],
        "yaw_deg": round(float(box.yaw) * 57.29577951308232, 2) + 0.0,
    }


def object_rows(scene: "Scene", ids: Sequence[int]) -> list[dict[str, Any]]:
    """The objects with their boxes as JSON has them: in the scene's units, yaw in degrees."""
    named = [scene.instance(id) for id in ids]
    return [{"id": each.id, "label": each.label, **_box_values(each)} for each in named]


def answer_row(answer: "Answer") -> dict[str, Any]:
    """An answer as JSON has it."""
    from dataclasses import asdict

    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(answer).items()}


def failure_line(answer: "Answer") -> str:
    """Why an answer is none, in one line."""
    said = _FAILURES[answer.outcome]
    said += f": {answer.why}" if answer.why else ""
    if answer.cached and answer.outcome in ("refused", "truncated"):
        said += "; it was kept from before, --retry-failed asks again"
    return " ".join(printable(said).split())


def failures_line(outcome: str, whys: Mapping[str, int]) -> str:
    """Of many answers that are none with the same outcome: how many, how to ask again, and the most frequent reason,
    with how many others there are.

    Args:
        outcome: "failed", "refused" or "truncated".
        whys: how many there are by their reasons.
    """
    said = f"{sum(whys.values())} {outcome}, {_AGAIN[outcome]}: {max(whys, key=lambda why: whys[why])}"
    said += f" (and {len(whys) - 1} more)" if len(whys) > 1 else ""
    return " ".join(printable(said).split())


def took_line(answer: "Answer", name: str, cost: str) -> str:
    """Which model answered, and what that took; `cost` in words."""
    model = name if answer.model in ("", name) or name.endswith(f":{answer.model}") else f"{name} ({answer.model})"
    if answer.cached:
        return f"{model}: from the cache, nothing was sent\n"
    return f"{model}: {tokens_text(answer.usage)}; {cost}\n"


def tokens_text(usage: "Usage | None") -> str:
    """Tokens in and out, in words."""
    if usage is None:
        return "the provider told no tokens"
    discount = f" ({usage.cached_input_tokens:,} at a discount)" if usage.cached_input_tokens else ""
    return f"{usage.input_tokens:,} tokens in{discount}, {usage.output_tokens:,} out"


def money(usd: float | None) -> str:
    """US dollars, or that they are not known."""
    return "no price is known" if usd is None else f"${usd:.4f}"


def plan_lines(plan: "Plan", model: "VLM", max_cost_usd: float | None) -> str:
    """What asking would take, for --dry-run, and whether a limit might end it before its end."""
    from gpt4scene.vlm.prices import age_warning

    tokens = _span(f"{plan.tokens.low:,}", f"{plan.tokens.high:,}")
    lines = [
        f"{model.name}: {plan.to_send} to send, {plan.cached} in the cache",
        f"{tokens} tokens in, at most {plan.output_tokens:,} out",
    ]
    if plan.cost_low_usd is None or plan.cost_high_usd is None:
        lines.append("no price is known for this model; add one with GPT4SCENE_PRICES")
    else:
        lines.append(_span(money(plan.cost_low_usd), money(plan.cost_high_usd)))
        if max_cost_usd is not None and plan.cost_high_usd > max_cost_usd:
            lines.append(f"--max-cost {max_cost_usd:g} may stop it before all is asked")
    old = age_warning(model.price) if model.price else None
    lines += [old] if old else []
    return "".join(f"{line}\n" for line in [*lines, "nothing was sent"])


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def check_picture(path: Path) -> None:
    """Say what is wrong with a picture's name before anything is paid for.

    Raises:
        UserError: it ends in no kind of picture, or its folder is not there.
    """
    if path.suffix.lower() not in PICTURE_ENDINGS:
        raise UserError(f"{path}: a picture's name ends in {', '.join(PICTURE_ENDINGS)}")
    if not path.resolve().parent.is_dir():
        raise UserError(f"{path}: its folder is not there; make it first")


def next_picture(scene_folder: Path, question: str) -> Path:
    """The next free name in the scene folder's `answers/`: `007-which-chair-is.png`."""
    folder = scene_folder / "answers"
    taken = [int(found[1]) for path in folder.glob("*") if (found := re.match(r"(\d{3,9})-", path.name))]
    plain = unicodedata.normalize("NFKD", question.casefold()).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain)
    slug = "-".join(words)[:40].strip("-") or "answer"
    return folder / f"{max(taken, default=0) + 1:03d}-{slug}.png"


def write_picture(path: Path, scene: "Scene", ids: Sequence[int]) -> None:
    """Write the picture of some objects; the folder `answers/` of a scene is made where it is missing."""
    import cv2

    from gpt4scene.scene.atomic import write_bytes, write_errors
    from gpt4scene.scene.highlight import highlight_picture

    picture = highlight_picture(scene, ids)
    done, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise UserError(f"{path}: a picture of {picture.shape[1]}x{picture.shape[0]} px cannot be written so")
    with write_errors(path.resolve().parent):
        if path.parent.exists() and not path.parent.is_dir():
            raise UserError(f"{path.parent}: is no folder; move it away, or name another file for the picture")
        path.parent.mkdir(exist_ok=True)
        write_bytes(path, data.tobytes())
