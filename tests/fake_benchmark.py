"""A benchmark of a few lines, and scenes to ask it about: what evaluating needs of any of them."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from box_scene import box_scene

from bev.errors import UserError
from gpt4scene.benchmarks import names
from gpt4scene.benchmarks.annotations import find_file, needed, read_rows
from gpt4scene.benchmarks.objects import SceneObjects, TrueObject
from gpt4scene.benchmarks.report import Report
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction, align, unique
from gpt4scene.metrics.metric import mean_metric, within
from gpt4scene.prompting.conversation import Image
from gpt4scene.prompting.questions import Question

TITLE = "Fake-Bench"
SPLITS = ("val", "test")
PROTOCOLS = ("exact", "lenient")
NEEDS_OBJECTS = False


def load(root: Path, split: str) -> list[BenchmarkSample]:
    return unique([_sample(row, where, root) for row, where in read_rows(find_file(root, [f"{split}.jsonl"], "fakes"))])


def _sample(row: Mapping[str, Any], where: str, root: Path) -> BenchmarkSample:
    object_id = row.get("object")
    return BenchmarkSample(
        id=needed(row, "id", str, where),
        scene="" if "image" in row else needed(row, "scene", str, where),
        question=Question(task="caption", object_id=object_id)
        if object_id is not None
        else Question(needed(row, "question", str, where), task=row.get("task", "qa"), style="short"),
        kind=row.get("kind", "one"),
        answers=(row["answer"],),
        object_ids=() if object_id is None else (object_id,),
        images=(Image(str(root / row["image"])),) if "image" in row else (),
        row=row,
        where=where,
    )


def score(
    samples: Sequence[BenchmarkSample],
    answers: Mapping[str, Prediction],
    *,
    protocol: str,
    objects: Mapping[str, SceneObjects] | None = None,
) -> Report:
    aligned = align(samples, answers)
    if NEEDS_OBJECTS and not objects:
        raise UserError("needs objects")
    texts = [prediction.text for prediction in aligned.predictions]
    if protocol == "lenient":
        texts = [text.casefold() for text in texts]
    right = [
        100.0 * (text in sample.answers and sample.id not in aligned.unanswered)
        for sample, text in zip(samples, texts, strict=True)
    ]
    kinds = dict.fromkeys(sample.kind for sample in samples)
    return Report(
        benchmark="fake",
        protocol=protocol,
        sample_ids=tuple(sample.id for sample in samples),
        metrics=(mean_metric("EM", right),),
        groups={kind: (mean_metric("EM", within(right, [s.kind == kind for s in samples])),) for kind in kinds},
        unanswered=aligned.unanswered,
        unparsed=tuple(s.id for s, text in zip(samples, texts, strict=True) if text == "?"),
        details=tuple({"text": text} for text in texts),
    )


def read_predictions(content: Any, samples: Sequence[BenchmarkSample]) -> dict[str, Prediction] | None:
    if not isinstance(content, list) or not all(isinstance(row, dict) and "pred" in row for row in content):
        return None
    return {row["qid"]: Prediction(row["pred"]) for row in content}


def official_prompt(row: Mapping[str, Any]) -> str:
    return f"OFFICIAL {row['question']}"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark goes by the name "fake"."""
    monkeypatch.setattr(names, "NAMES", (*names.NAMES, "fake"))
    monkeypatch.setitem(sys.modules, "gpt4scene.benchmarks.fake", sys.modules[__name__])


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two prepared scenes, one of them below its dataset's name; nobody writes into them but what caches pictures."""
    folder = tmp_path_factory.mktemp("prepared")
    scene = box_scene(frame_size=(160, 120), frames=2)
    scene.save(folder / "room_a")
    scene.save(folder / "sets" / "room_b")
    return folder


ROWS = (
    {"id": "q1", "scene": "room_a", "question": "What is red?", "kind": "colour", "answer": "table"},
    {"id": "q2", "scene": "room_a", "question": "What is green?", "kind": "colour", "answer": "stool"},
    {"id": "q3", "scene": "room_b", "dataset": "sets", "question": "How many?", "kind": "count", "answer": "five"},
    {"id": "q4", "scene": "room_b", "dataset": "sets", "question": "How high?", "kind": "count", "answer": "low"},
)


def write_questions(root: Path, rows: Sequence[Mapping[str, Any]] = ROWS, split: str = "val") -> Path:
    """The benchmark's files."""
    root.mkdir(exist_ok=True)
    (root / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return root


def box_objects(shift_m: float = 0.0) -> SceneObjects:
    """The boxes of the scene: annotated as 100, 101, ..., and by the scene's own numbers."""
    from box_scene import BOXES, LABELS

    boxes = [np.concatenate([center, size]).astype(float) for center, size, _ in BOXES]
    true = {
        100 + i: TrueObject(label, box + [shift_m, 0, 0, 0, 0, 0])
        for i, (label, box) in enumerate(zip(LABELS, boxes, strict=True))
    }
    return SceneObjects(true, dict(enumerate(boxes, start=1)))
