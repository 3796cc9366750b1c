"""What ScanRefer and Multi3DRefer have in common: objects that answers name, boxes, and predictions without ids."""

import re
import string
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from bev.errors import UserError
from gpt4scene.benchmarks.objects import SceneObjects
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.metrics.boxes import bounds_of_corners

_WRITTEN = re.compile(r"<OBJ(\d{3}|[1-9]\d{3,17})>")


def written_ids(text: str) -> list[int]:
    """The number of every `<OBJ012>` in a text, repeats included.

    As Chat-Scene and GPT4Scene read them (GPT4Scene ac34d5f evaluate/utils/eval.py): three digits, of any script. Four
    and more, which no scene of theirs has, are read where the first is no 0.
    """
    return [int(digits) for digits in _WRITTEN.findall(text)]


def named_objects(text: str, known: Collection[int]) -> list[int]:
    """Those of `written_ids` that are numbers of the scene."""
    return [id for id in written_ids(text) if id in known]


def objects_of_all(
    samples: Sequence[BenchmarkSample], objects: Mapping[str, SceneObjects] | None
) -> Mapping[str, SceneObjects]:
    """The objects, which must be those of every scene that is asked about.

    Raises:
        UserError: there are none, or a scene's are missing.
    """
    if objects is None:
        raise UserError(
            "grounding is scored by boxes: say with --scans (and --scenes) or --attributes where the objects are"
        )
    without = [sample for sample in samples if sample.scene not in objects]
    if without:
        scenes = {sample.scene for sample in without}
        where = f"{without[0].where}: " if without[0].where else ""
        raise UserError(
            f"{where}is about {without[0].scene}, whose objects are not there; {len(without)} questions about"
            f" {len(scenes)} scenes are without objects of the {len(objects)} that are there"
        )
    return objects


def corner_bounds(corners: Any, where: str) -> np.ndarray:
    """Bounds (n, 2, 3) float64 of boxes that an answer brings as a list of 8 x 3 corners.

    Raises:
        UserError: they are none.
    """
    try:
        boxes = np.asarray(corners, np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: a box must be 8 corners of 3 numbers, in metres ({error})") from error
    if boxes.shape == (0,):
        return np.zeros((0, 2, 3))
    if boxes.ndim != 3 or boxes.shape[1:] != (8, 3) or not np.isfinite(boxes).all():
        raise UserError(f"{where}: a box must be 8 corners of 3 finite numbers, in metres; found {boxes.shape[1:]}")
    return bounds_of_corners(boxes)


def no_boxes(answers: Mapping[str, Prediction], key: str, protocol: str, others: str) -> None:
    """Say that a protocol scores texts.

    Raises:
        UserError: an answer is a box.
    """
    boxed = [id for id, prediction in answers.items() if key in prediction.extra]
    if boxed:
        raise UserError(
            f"--protocol {protocol}: scores what a model wrote, and {len(boxed)} answers, the first to {boxed[0]!r},"
            f" are boxes; score those by {others}"
        )


Row = tuple[Mapping[str, Any], str]
"""Of a prediction file, with where it is from."""


def claim(found: dict[str, Prediction], id: str, prediction: Prediction, where: str) -> None:
    """Add an answer.

    Raises:
        UserError: it is a second one to the same question, of which benchmarks' own code counts both or the last.
    """
    if id in found:
        raise UserError(f"{where}: answers question {id!r} again, which would count twice; leave one of the two out")
    found[id] = prediction


def match_texts(
    rows: Sequence[Row],
    samples: Sequence[BenchmarkSample],
    row_key: Callable[[Mapping[str, Any], str], Hashable],
    sample_key: Callable[[BenchmarkSample], Hashable],
) -> dict[str, Prediction]:
    """The answers of rows as Chat-Scene and GPT4Scene write them, which do not say which description they are to.

    A row tells the scene and the objects that are asked for. Of several descriptions of the same it is the one that its
    prompt quotes; rows whose prompt quotes none are taken in the order of the annotation, if others' prompts do.

    Args:
        rows: {"scene_id", "gt_id", "pred", "prompt", ...}.
        samples: of the split.
        row_key: what a row tells; takes the row and where it is from.
        sample_key: the same of a sample.

    Raises:
        UserError: a row is to none of the samples, there are more rows than descriptions, or all rows have prompts and
            none of these quotes a description.
    """
    of_key: dict[Hashable, list[BenchmarkSample]] = {}
    for sample in samples:
        of_key.setdefault(sample_key(sample), []).append(sample)
    found: dict[str, Prediction] = {}
    unquoted: list[tuple[Hashable, Prediction, str]] = []
    for row, where in rows:
        key = row_key(row, where)
        if key not in of_key:
            raise UserError(f"{where}: is about {key}, of which the split asks nothing; is it of another split?")
        prediction = Prediction(str(row["pred"]))
        quoted = _quoted(str(row.get("prompt", "")), of_key[key])
        left = [sample for sample in quoted if sample.id not in found]
        if left:
            found[left[0].id] = prediction
        elif quoted:
            claim(found, quoted[0].id, prediction, where)
        else:
            unquoted.append((key, prediction, where))
    if len(unquoted) == len(rows) and all(row.get("prompt") for row, _ in rows):
        raise UserError(
            f"{unquoted[0][2]}: its prompt {str(rows[0][0]['prompt'])[:80]!r} holds no description of this split, and"
            " no other row's does; are they of another benchmark?"
        )
    for key, prediction, where in unquoted:
        left = [sample for sample in of_key[key] if sample.id not in found]
        claim(found, (left or of_key[key])[0].id, prediction, where)
    return found


def _quoted(prompt: str, samples: Sequence[BenchmarkSample]) -> list[BenchmarkSample]:
    """The samples whose description a prompt quotes: the longest, where one is part of another.

    Prompts are made of descriptions without their last character where that is punctuation.
    """
    quotes = {sample.id: _cut(sample.question.text) for sample in samples}
    lengths = [len(quote) for quote in quotes.values() if quote and quote in prompt]
    return [s for s in samples if quotes[s.id] in prompt and len(quotes[s.id]) == max(lengths, default=-1)]


def _cut(description: str) -> str:
    return description[:-1] if description[-1:] and description[-1] in string.punctuation else description


def box_rows(content: Any, samples: Sequence[BenchmarkSample]) -> list[tuple[str, Row]] | None:
    """The rows of M3DRef-CLIP's prediction files with the scene of each; None where it is none.

    Its files are one for each scene, `scene0011_00.json`: [{"ann_id", "aabb": [8 x 3, ...], ...}]. Here they are in one
    as {"scene0011_00": [...], ...}; a list alone says no scene, but in `scene_id` of its rows.

    Raises:
        UserError: nothing says which scene a row is about.
    """
    if isinstance(content, Mapping):
        rows = [(str(scene), row, i) for scene, each in content.items() for i, row in enumerate(_rows(each), start=1)]
        is_ours = bool(content) and all(isinstance(each, list) for each in content.values())
    else:
        only = {sample.scene for sample in samples}
        one = only.pop() if len(only) == 1 else ""
        rows = [
            (str(row.get("scene_id", one)) if isinstance(row, Mapping) else "", row, i)
            for i, row in enumerate(_rows(content), start=1)
        ]
        is_ours = bool(rows)
    if not is_ours or not all(isinstance(row, Mapping) and "aabb" in row for _, row, _ in rows):
        return None
    nameless = next((i for scene, _, i in rows if not scene), None)
    if nameless is not None:
        raise UserError(
            f"row {nameless} of the predictions says no scene: put the files of all scenes into one as"
            ' {"scene0011_00": [...], ...}'
        )
    return [(scene, (row, f"{scene}, row {i}")) for scene, row, i in rows]


def _rows(content: Any) -> list[Any]:
    return content if isinstance(content, list) else []
