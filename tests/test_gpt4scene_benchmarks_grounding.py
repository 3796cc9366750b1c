"""ScanRefer and Multi3DRefer on made-up rooms: annotation files, answers of every kind, and what is wrong with them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bev.errors import UserError
from gpt4scene.benchmarks import multi3drefer, scanrefer
from gpt4scene.benchmarks.names import benchmark_named
from gpt4scene.benchmarks.objects import SceneObjects, TrueObject
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction
from gpt4scene.benchmarks.scannet_classes import CLASS_OF_NAME, class_of_name
from gpt4scene.metrics.boxes import corners_of
from gpt4scene.prompting.prompts import grounding_answer

SCENE, OTHER = "scene0500_00", "scene0501_00"
BOX = np.array([0.0, 0, 0, 1, 1, 1])


def room(first_id: int = 0) -> SceneObjects:
    """Annotated 0, 1 and 2 at x = 0, 4 and 8; proposed likewise but for half the height of the last, and one more."""
    true = {id: TrueObject("object", BOX + [4 * id, 0, 0, 0, 0, 0]) for id in range(3)}
    boxes = [true[0].box, true[1].box, true[2].box * [1, 1, 1, 1, 1, 0.4], BOX + [40, 0, 0, 0, 0, 0]]
    return SceneObjects(true, {first_id + position: box for position, box in enumerate(boxes)})


OBJECTS = {SCENE: room(), OTHER: room()}


def described(object_id: int, name: str, ann_id: int = 0, scene: str = SCENE, text: str = "") -> dict[str, Any]:
    description = text or f"the {name} {object_id} of {scene}, as {ann_id} says it."
    return {
        "scene_id": scene,
        "object_id": str(object_id),
        "object_name": name,
        "ann_id": str(ann_id),
        "description": description,
        "token": description.split(),
    }


SCANREFER = [
    described(0, "office_chair"),
    described(0, "office_chair", 1),
    described(1, "table"),
    described(2, "sofa_chair"),
    described(1, "lamp", 0, OTHER),
    described(2, "trash_can", 0, OTHER),
]
"""In the first scene two chairs and a table; in the other two objects of none of the 17 classes."""


def asked(ann_id: int, object_ids: list[int], kind: str, scene: str = SCENE, text: str = "") -> dict[str, Any]:
    description = text or f"what {ann_id} says of {scene}."
    row = {"scene_id": scene, "object_name": "chair", "ann_id": ann_id, "object_ids": object_ids, "eval_type": kind}
    return row | {"description": description, "spatial": True, "color": False, "texture": False, "shape": False}


MULTI = [
    asked(0, [], "zt_w_d"),
    asked(1, [0], "st_w_d"),
    asked(2, [0, 1, 2], "mt"),
    asked(0, [], "zt_wo_d", OTHER),
    asked(1, [2], "st_wo_d", OTHER),
]


def write(folder: Path, name: str, rows: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.fixture
def one(tmp_path: Path) -> list[BenchmarkSample]:
    write(tmp_path, "ScanRefer_filtered_val.json", SCANREFER)
    return scanrefer.load(tmp_path, "val")


@pytest.fixture
def many(tmp_path: Path) -> list[BenchmarkSample]:
    write(tmp_path, "multi3drefer_val.json", MULTI)
    return multi3drefer.load(tmp_path, "val")


def texts(samples: Sequence[BenchmarkSample], *said: str) -> dict[str, Prediction]:
    return {sample.id: Prediction(text) for sample, text in zip(samples, said, strict=True)}


def corners(*boxes: np.ndarray) -> list[list[list[float]]]:
    return [corners_of(box).tolist() for box in boxes]


# --- annotation files


def test_both_are_benchmarks_by_name() -> None:
    for name, module in (("scanrefer", scanrefer), ("multi3drefer", multi3drefer)):
        assert benchmark_named(name) is module and module.NEEDS_OBJECTS


def test_scanrefers_descriptions_become_questions_for_one_object(one: list[BenchmarkSample]) -> None:
    assert one[1].id == f"{SCENE}|0|1" and one[1].scene == SCENE and one[1].object_ids == (0,)
    assert (one[1].question.task, one[1].question.expect) == ("ground", "one")
    assert one[1].question.text == SCANREFER[1]["description"]
    # chairs by two names; and what is of no class is of one with all else that is of none
    assert [sample.kind for sample in one] == ["multiple", "multiple", "unique", "multiple", "multiple", "multiple"]
    assert [sample.row["others"] for sample in one] == [0, 0, 0, 0, 1, 1]


def test_objects_count_once_however_often_they_are_described() -> None:
    rows = [(described(0, "bed", ann), "") for ann in range(3)] + [
        (described(1, "lamp"), ""),
        (described(2, "wall"), ""),
    ]
    kinds = scanrefer.unique_multiple(rows, CLASS_OF_NAME)
    assert [kind["unique_multiple"] for kind in kinds] == [0, 0, 0, 1, 1]
    # walls are a class of their own for M3DRef-CLIP
    assert [kind["eval_type"] for kind in kinds] == ["unique"] * 5


def test_a_table_of_labels_beside_the_annotation_is_believed(tmp_path: Path) -> None:
    assert class_of_name(tmp_path) is CLASS_OF_NAME
    (tmp_path / "scannetv2-labels.combined.tsv").write_text(
        "id\traw_category\tnyu40class\n1\ttable\totherprop\n2\toffice chair\tchair\n3\tsofa chair\tsofa\n"
    )
    write(tmp_path, "ScanRefer_filtered_val.json", SCANREFER)
    assert [sample.kind for sample in scanrefer.load(tmp_path, "val")][:4] == ["unique"] * 4
    (tmp_path / "scannetv2-labels.combined.tsv").write_text("name,class\nchair,chair\n")
    with pytest.raises(UserError, match=r"scannetv2-labels.combined.tsv: lacks the columns raw_category"):
        scanrefer.load(tmp_path, "val")


def test_multi3drefers_descriptions_become_questions_for_any_number(many: list[BenchmarkSample]) -> None:
    assert many[2].id == f"{SCENE}|2" and many[2].object_ids == (0, 1, 2) and many[2].kind == "mt"
    assert (many[2].question.task, many[2].question.expect) == ("ground", "any")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"object_id": "1x"}, r"row 2: 'object_id' must be a whole number, is '1x'"),
        ({"object_id": None}, r"row 2: 'object_id' must be"),
        ({"description": 7}, r"row 2: 'description' must be str"),
        ({"ann_id": "0"}, r"row 2: has the id 'scene0500_00\|0\|0', as .*row 1 has"),
        ({"eval_type": "rare"}, r"row 2: 'eval_type' must be unique or multiple, is 'rare'"),
    ],
)
def test_faults_of_scanrefers_file_are_told_by_row(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, "ScanRefer_filtered_train.json", [SCANREFER[0], SCANREFER[1] | change])
    with pytest.raises(UserError, match=message) as caught:
        scanrefer.load(tmp_path, "train")
    assert "ScanRefer_filtered_train.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"eval_type": "st"}, r"row 2: 'st' is no eval_type; there are zt_w_d"),
        ({"object_ids": [0, "1"]}, r"row 2: 'object_ids' must be whole numbers"),
        ({"object_ids": [-1]}, r"row 2: 'object_ids' must be whole numbers"),
        ({"object_ids": 3}, r"row 2: 'object_ids' must be list"),
        ({"ann_id": 0}, r"row 2: has the id 'scene0500_00\|0'"),
    ],
)
def test_faults_of_multi3drefers_file_are_told_by_row(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    write(tmp_path, "multi3drefer_train.json", [MULTI[0], MULTI[1] | change])
    with pytest.raises(UserError, match=message):
        multi3drefer.load(tmp_path, "train")


@pytest.mark.parametrize("module", [scanrefer, multi3drefer])
def test_a_missing_file_a_wrong_split_and_a_wrong_protocol_are_told(module: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lacks"):
        module.load(tmp_path, "val")
    with pytest.raises(UserError, match="--split dev: there are val, train, test"):
        module.load(tmp_path, "dev")
    with pytest.raises(UserError, match="--protocol loose: there are"):
        module.score([], {}, protocol="loose", objects=OBJECTS)


# --- ScanRefer's protocols


def test_scanrefer_counts_boxes_that_overlap_enough(one: list[BenchmarkSample]) -> None:
    said = ("<OBJ000>", "It is <OBJ001>.", "<OBJ001>", "<OBJ002>", "nothing", "<OBJ003>")
    report = scanrefer.score(one, texts(one, *said), objects=OBJECTS)
    assert report.value("Acc@0.25") == pytest.approx(100 * 3 / 6)
    assert report.value("Acc@0.5") == pytest.approx(100 * 2 / 6)  # the third has 0.4 of the height
    assert report.value("Acc@0.25", "unique") == 100 and report.value("Acc@0.25", "multiple") == 40
    assert report.value("Acc@0.5", "multiple, not_in_others") == pytest.approx(100 / 3)
    assert report.value("Acc@0.25", "in_others") == 0
    assert report.unparsed == (one[4].id,) and not report.unanswered
    assert report.details[3] == {"read": 2, "true": 2, "iou": pytest.approx(0.4)}


def test_a_text_that_names_no_object_is_a_guess_for_some(one: list[BenchmarkSample]) -> None:
    for protocol, right in (("official", 0), ("gpt4scene", 100), ("m3dref", 100)):
        for said in ("", "The chair.", "<OBJ012>", "<OBJ0>", "<obj000>"):
            report = scanrefer.score(one[:1], texts(one[:1], said), protocol=protocol, objects=OBJECTS)
            assert report.value("Acc@0.5") == right and report.unparsed == (one[0].id,)
    # only one goes on to the next object that the scene has
    for protocol, right in (("official", 0), ("gpt4scene", 100), ("m3dref", 0)):
        said = texts(one[2:3], "<OBJ012> <OBJ001>")
        assert scanrefer.score(one[2:3], said, protocol=protocol, objects=OBJECTS).value("Acc@0.5") == right


def test_scenes_of_ours_need_no_object_0(one: list[BenchmarkSample]) -> None:
    ours = {SCENE: room(1500)}
    named = scanrefer.score(one[2:3], texts(one[2:3], "<OBJ1501>."), protocol="gpt4scene", objects=ours)
    guessed = scanrefer.score(one[:1], texts(one[:1], "?"), protocol="gpt4scene", objects=ours)
    assert named.value("Acc@0.5") == guessed.value("Acc@0.5") == 100
    assert named.details[0]["read"] == 1501 and guessed.details[0]["read"] is None


def test_without_any_proposed_object_nothing_is_right(one: list[BenchmarkSample]) -> None:
    bare = {SCENE: SceneObjects(room().true, {})}
    for protocol in scanrefer.PROTOCOLS:
        report = scanrefer.score(one[:1], texts(one[:1], "<OBJ000>"), protocol=protocol, objects=bare)
        assert report.value("Acc@0.25") == 0 and report.unparsed == (one[0].id,)


def test_boxes_are_scored_as_they_are(one: list[BenchmarkSample]) -> None:
    half = BOX * [1, 1, 1, 1, 1, 0.5]
    answers = {one[0].id: Prediction(extra={"bbox": corners(half)[0]})}
    official = scanrefer.score(one[:1], answers, objects=OBJECTS)
    assert official.value("Acc@0.25") == 100 and official.value("Acc@0.5") == 0  # exactly half, less the epsilon
    assert official.details[0]["read"] == "box"
    with pytest.raises(UserError, match=r"--protocol gpt4scene: scores what a model wrote, .* are boxes"):
        scanrefer.score(one[:1], answers, protocol="gpt4scene", objects=OBJECTS)


@pytest.mark.parametrize("box", [[1, 2, 3], [[0, 0, 0]] * 7, [[0, 0, float("nan")]] * 8, "box", [[0, 0]] * 8, []])
def test_a_box_that_is_none_is_told(one: list[BenchmarkSample], box: Any) -> None:
    with pytest.raises(UserError, match=r"answer to scene0500_00\|0\|0: a box must be 8 corners of 3"):
        scanrefer.score(one[:1], {one[0].id: Prediction(extra={"bbox": box})}, objects=OBJECTS)


def test_what_a_submission_says_of_itself_is_believed_and_told(one: list[BenchmarkSample]) -> None:
    extra = {"bbox": corners(BOX)[0], "unique_multiple": 0, "others": 1}
    report = scanrefer.score(one[:2], {one[0].id: Prediction(extra=extra)}, objects=OBJECTS)
    assert report.value("Acc@0.5", "unique, in_others") == 100 and report.value("Acc@0.5", "multiple") == 0
    assert any("1 answers say unique_multiple otherwise" in flag for flag in report.flags)
    # the other protocols do as the annotation says
    report = scanrefer.score(one[:2], {one[0].id: Prediction(extra=extra)}, protocol="m3dref", objects=OBJECTS)
    assert report.value("Acc@0.5", "multiple") == 50 and np.isnan(report.value("Acc@0.5", "unique"))


def test_an_empty_part_is_flagged_and_is_what_its_code_makes_of_it(one: list[BenchmarkSample]) -> None:
    answers = texts(one[:2], "<OBJ000>", "<OBJ000>")
    for protocol in scanrefer.PROTOCOLS:
        report = scanrefer.score(one[:2], answers, protocol=protocol, objects=OBJECTS)
        value = report.value("Acc@0.25", "unique")
        assert value == 0 if protocol == "official" else np.isnan(value)
        assert any(flag.startswith("no question is unique") for flag in report.flags)
        assert report.value("Acc@0.25", "multiple") == 100


@pytest.mark.parametrize("protocol", scanrefer.PROTOCOLS)
def test_what_is_not_answered_is_wrong_and_listed(one: list[BenchmarkSample], protocol: str) -> None:
    answers = {one[0].id: Prediction("<OBJ000>"), one[1].id: Prediction("<OBJ000>", "refused")}
    report = scanrefer.score(one[:3], answers, protocol=protocol, objects=OBJECTS)
    # GPT4Scene's guess of object 0 would have been right
    assert report.value("Acc@0.25") == pytest.approx(100 / 3)
    assert report.unanswered == (one[1].id, one[2].id) and not report.unparsed


@pytest.mark.parametrize("protocol", scanrefer.PROTOCOLS)
def test_an_object_that_the_scene_lacks_is_wrong_and_flagged(one: list[BenchmarkSample], protocol: str) -> None:
    fewer = {SCENE: SceneObjects({1: room().true[1]}, room().proposed)}
    report = scanrefer.score(one[:3], texts(one[:3], *["<OBJ001>"] * 3), protocol=protocol, objects=fewer)
    assert report.value("Acc@0.5") == pytest.approx(100 / 3)
    assert any(each.endswith("it counts as wrong: 2 questions, the first scene0500_00|0|0") for each in report.flags)


def test_scenes_without_objects_are_told(one: list[BenchmarkSample], many: list[BenchmarkSample]) -> None:
    for module, samples in ((scanrefer, one), (multi3drefer, many)):
        with pytest.raises(UserError, match="say with --scans"):
            module.score(samples, {})
        with pytest.raises(UserError, match=rf"row \d: is about {OTHER}, whose objects are not there; 2 questions"):
            module.score(samples, {}, objects={SCENE: room()})
        with pytest.raises(
            UserError, match="2 of 3 answers are to questions that this benchmark's split does not hold"
        ):
            answers = {samples[0].id: Prediction(""), "scanqa-7": Prediction("no"), "scanqa-8": Prediction("")}
            module.score(samples, answers, objects=OBJECTS)
        with pytest.raises(UserError, match="there are no questions"):
            module.score([], {}, objects=OBJECTS)


# --- Multi3DRefer's protocols

OURS = ("No.", "Yes. <OBJ000>.", "Yes. <OBJ000>, <OBJ001>, and <OBJ002>.", "No.", "Yes. <OBJ002>.")


def test_answers_in_our_own_form_are_read_by_every_protocol(many: list[BenchmarkSample]) -> None:
    assert tuple(grounding_answer(sample.object_ids) for sample in many) == OURS
    for protocol in multi3drefer.PROTOCOLS:
        report = multi3drefer.score(many, texts(many, *OURS), protocol=protocol, objects=OBJECTS)
        assert report.value("F1@0.25") == pytest.approx(100) and not report.unparsed
        assert report.value("F1@0.5") == pytest.approx(20 * (1 + 1 + 2 / 3 + 1 + 0))
        assert report.value("F1@0.5", "mt") == pytest.approx(200 / 3)
        assert report.details[2]["read"] == [0, 1, 2]


def test_where_nothing_is_to_be_found_any_object_is_wrong(many: list[BenchmarkSample]) -> None:
    for protocol in multi3drefer.PROTOCOLS:
        for said, right in (("No.", 100), ("<OBJ000>", 0), ("<OBJ077>", 100), ("", 100)):
            answers = texts(many[:1], said)
            report = multi3drefer.score(many[:1], answers, protocol=protocol, objects=OBJECTS)
            assert report.value("F1@0.25") == report.value("F1@0.5", "zt_w_d") == right
            # what is right though nothing could be read of it is told
            assert bool(report.unparsed) == (said in ("<OBJ077>", ""))
        for outcome in ("refused", "failed"):
            report = multi3drefer.score(
                many[:1], {many[0].id: Prediction("No.", outcome)}, protocol=protocol, objects=OBJECTS
            )
            assert report.value("F1@0.25") == 0 and report.unanswered == (many[0].id,)


def test_repeats_count_against_an_answer_but_not_as_an_untuned_models(many: list[BenchmarkSample]) -> None:
    values = {
        protocol: multi3drefer.score(
            many[1:2], texts(many[1:2], "<OBJ000> <OBJ000> <OBJ000>."), protocol=protocol, objects=OBJECTS
        ).value("F1@0.5")
        for protocol in multi3drefer.PROTOCOLS
    }
    assert values == {"m3dref": 50, "gpt4scene": 50, "base_model": 100, "video3dllm": 50}


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("Objects 0, 1 and 2.", [0, 1, 2]),
        ("Objects: 0, 2", [0]),  # the last character is lost
        ("Img_2 and Image 1 show 0.", [0]),
        ("1. 0\n2. 2 ", [0, 2]),
        ("There are 0 objects.", [0]),
        ("about 1.5 m", []),
        ("9" * 5000 + " 2.", [2]),
        ("٢ ", [2]),
    ],
)
def test_an_untuned_model_names_objects_by_bare_numbers(
    many: list[BenchmarkSample], said: str, read: list[int]
) -> None:
    report = multi3drefer.score(many[2:3], texts(many[2:3], said), protocol="base_model", objects=OBJECTS)
    # 5 of "1.5" is none of the scene's
    assert sorted(report.details[0]["read"]) == read


def test_types_without_questions_are_not_defined_for_m3dref(many: list[BenchmarkSample]) -> None:
    report = multi3drefer.score(many[:2], texts(many[:2], *OURS[:2]), objects=OBJECTS)
    assert list(report.groups) == list(multi3drefer.KINDS) and np.isnan(report.value("F1@0.5", "mt"))
    assert sum(flag.endswith("which is not defined") for flag in report.flags) == 3
    report = multi3drefer.score(many[:2], texts(many[:2], *OURS[:2]), protocol="gpt4scene", objects=OBJECTS)
    assert list(report.groups) == ["zt_w_d", "st_w_d"] and not report.flags


def test_boxes_of_others_are_scored_without_ids(many: list[BenchmarkSample]) -> None:
    true = room().true
    answers = {
        many[0].id: Prediction(extra={"boxes": []}),
        many[1].id: Prediction(extra={"boxes": corners(true[1].box, true[0].box)}),
        many[2].id: Prediction(extra={"boxes": corners(*(true[id].box for id in (2, 0, 1)))}),
    }
    for protocol in ("m3dref", "video3dllm"):
        report = multi3drefer.score(many[:3], answers, protocol=protocol, objects=OBJECTS)
        assert report.metrics[1].values == pytest.approx([100, 200 / 3, 100]) and not report.unparsed
    for protocol in ("gpt4scene", "base_model"):
        with pytest.raises(UserError, match=f"--protocol {protocol}: scores what a model wrote"):
            multi3drefer.score(many[:3], answers, protocol=protocol, objects=OBJECTS)
    with pytest.raises(UserError, match=r"answer to scene0500_00\|0: a box must be 8 corners"):
        multi3drefer.score(many[:1], {many[0].id: Prediction(extra={"boxes": [[0, 1, 2]]})}, objects=OBJECTS)


def test_what_contradicts_itself_is_flagged(tmp_path: Path) -> None:
    rows = [asked(0, [], "mt"), asked(1, [0], "zt_w_d"), asked(2, [], "zt"), asked(3, [0, 9], "mt")]
    write(tmp_path, "multi3drefer_val.json", rows)
    samples = multi3drefer.load(tmp_path, "val")
    answers = texts(samples, "No.", "No.", "No.", "<OBJ000>")
    for protocol in multi3drefer.PROTOCOLS:
        report = multi3drefer.score(samples, answers, protocol=protocol, objects=OBJECTS)
        by_type = protocol != "video3dllm"
        assert report.metrics[0].values == pytest.approx([100, 100 if by_type else 0, 100, 200 / 3])
        for what in ("not among those of the scene", "though the type is not zt", "does not know"):
            assert any(what in flag for flag in report.flags)
        assert report.value("F1@0.25", "zt") == 100


# --- prediction files


def chunk(samples: Sequence[BenchmarkSample], said: Mapping[str, str], order: Sequence[int]) -> list[dict[str, Any]]:
    """Rows as GPT4Scene's inference writes them: which description is asked stands in the prompt alone."""
    return [
        {
            "scene_id": sample.scene,
            "gt_id": sample.object_ids[0] if sample.question.expect == "one" else 0,
            "pred_id": 0,
            "qid": 0,
            "prompt": f'Which one is "{sample.question.text[:-1]}"? Give its id.',
            "pred": said[sample.id],
            "ref_captions": list(reversed(sample.object_ids)),
            "type_info": sample.kind,
        }
        for sample in (samples[position] for position in order)
    ]


@pytest.mark.parametrize("name", ["scanrefer", "multi3drefer"])
def test_gpt4scenes_rows_find_their_description_by_the_prompt(
    name: str, one: list[BenchmarkSample], many: list[BenchmarkSample]
) -> None:
    module = benchmark_named(name)
    samples = one if name == "scanrefer" else many
    said = {sample.id: f"answer {position}" for position, sample in enumerate(samples)}
    rows = chunk(samples, said, list(reversed(range(len(samples)))))
    found = module.read_predictions(rows, samples)
    assert found is not None and {id: prediction.text for id, prediction in found.items()} == said
    with pytest.raises(UserError, match=r"predictions, row \d: answers question .* again"):
        module.read_predictions([*rows, rows[0]], samples)
    if name == "multi3drefer":
        with pytest.raises(UserError, match="row 1: 'ref_captions' must be the objects' numbers"):
            module.read_predictions([rows[0] | {"ref_captions": ["<OBJ001>"]}], samples)
    strange = rows[0] | {"scene_id": "scene0999_00"}
    with pytest.raises(UserError, match="of which the split asks nothing"):
        module.read_predictions([*rows, strange], samples)


def test_rows_without_a_prompt_are_taken_in_order(one: list[BenchmarkSample]) -> None:
    rows = chunk(one, {sample.id: sample.id for sample in one}, range(len(one)))
    plain = [{key: value for key, value in row.items() if key != "prompt"} for row in rows]
    found = scanrefer.read_predictions(plain, one)
    assert found is not None and all(prediction.text == id for id, prediction in found.items())
    # one whose prompt says which it is goes first
    mixed = scanrefer.read_predictions([plain[1] | {"pred": "other"}, rows[0]], one)
    assert mixed is not None and [mixed[one[n].id].text for n in (0, 1)] == [one[0].id, "other"]
    # it is the first that is answered twice, though the second has no answer
    with pytest.raises(UserError, match=r"row 2: answers question 'scene0500_00\|0\|0' again"):
        scanrefer.read_predictions([rows[0], rows[0]], one)
    with pytest.raises(UserError, match="row 7: answers question"):
        scanrefer.read_predictions([*plain, plain[0]], one)


@pytest.mark.parametrize("name", ["scanrefer", "multi3drefer"])
def test_rows_of_another_benchmark_about_the_same_objects_are_refused(
    name: str, one: list[BenchmarkSample], many: list[BenchmarkSample]
) -> None:
    samples = one if name == "scanrefer" else many
    rows = chunk(samples, {sample.id: "brown" for sample in samples}, range(len(samples)))
    asked = [row | {"prompt": "What color is it? Answer in a word."} for row in rows]
    with pytest.raises(UserError, match=r"row 1: its prompt 'What color .* holds no description of this split"):
        benchmark_named(name).read_predictions(asked, samples)
    assert benchmark_named(name).read_predictions([*asked[1:], rows[0]], samples)


def test_a_description_within_a_longer_one_is_not_taken_for_it(tmp_path: Path) -> None:
    rows = [described(0, "chair", 0, text="a chair"), described(0, "chair", 1, text="a chair by the wall")]
    write(tmp_path, "ScanRefer_filtered_val.json", rows)
    samples = scanrefer.load(tmp_path, "val")
    prompts = ("Find a chair by the wall in the scene.", "Find a chair in the scene.")
    answers = [{"scene_id": SCENE, "gt_id": 0, "prompt": prompt, "pred": prompt} for prompt in prompts]
    found = scanrefer.read_predictions(answers, samples)
    assert found is not None and [found[sample.id].text for sample in samples] == [prompts[1], prompts[0]]


def test_rows_for_scanrefers_server_are_read(one: list[BenchmarkSample]) -> None:
    rows = [
        {
            "scene_id": sample.scene,
            "object_id": str(sample.object_ids[0]),
            "ann_id": sample.id.split("|")[2],
            "bbox": corners(OBJECTS[sample.scene].true[sample.object_ids[0]].box)[0],
            "unique_multiple": int(sample.kind == "multiple"),
            "others": sample.row["others"],
        }
        for sample in one
    ]
    found = scanrefer.read_predictions(rows, one)
    assert found is not None and list(found) == [sample.id for sample in one]
    report = scanrefer.score(one, found, objects=OBJECTS)
    assert report.value("Acc@0.5") == 100 and not report.unanswered
    # the official code would count the second too
    with pytest.raises(UserError, match=r"predictions, row 7: answers question 'scene0500_00\|0\|0' again"):
        scanrefer.read_predictions([*rows, rows[0]], one)
    with pytest.raises(UserError, match=r"predictions, row 1: 'ann_id' must be"):
        scanrefer.read_predictions([rows[0] | {"ann_id": None}], one)


def test_m3drefs_files_are_read_for_all_scenes_or_one(one: list[BenchmarkSample], many: list[BenchmarkSample]) -> None:
    boxes = corners(BOX, BOX + 1)
    rows = {SCENE: [{"ann_id": 1, "aabb": boxes}, {"ann_id": 0, "aabb": []}], OTHER: [{"ann_id": 0, "aabb": []}]}
    found = multi3drefer.read_predictions(rows, many)
    assert found is not None and list(found) == [f"{SCENE}|1", f"{SCENE}|0", f"{OTHER}|0"]
    assert found[f"{SCENE}|1"].extra["boxes"] == boxes
    alone = multi3drefer.read_predictions(rows[SCENE], many[:3])
    assert alone is not None and list(alone) == [f"{SCENE}|1", f"{SCENE}|0"]
    with pytest.raises(UserError, match="row 1 of the predictions says no scene"):
        multi3drefer.read_predictions(rows[SCENE], many)
    with pytest.raises(UserError, match=r"scene0500_00, row 3: answers question 'scene0500_00\|1' again"):
        multi3drefer.read_predictions({SCENE: [*rows[SCENE], rows[SCENE][0]]}, many)
    single = {SCENE: [{"object_id": 1, "ann_id": 0, "aabb": boxes}, {"object_id": 0, "ann_id": 1, "aabb": []}]}
    found = scanrefer.read_predictions(single, one)
    assert found is not None and found[f"{SCENE}|1|0"].extra["bbox"] == boxes[0]
    assert found[f"{SCENE}|0|1"].outcome == "failed"  # no box, where M3DRef-CLIP's own code has none either


@pytest.mark.parametrize(
    "content", [[], {}, "text", [1], {"a": 1}, [{"question": "x", "answer": "y"}], {"a": [1]}, None]
)
def test_what_is_none_of_their_formats_is_left_to_others(content: Any, one: list[BenchmarkSample]) -> None:
    assert scanrefer.read_predictions(content, one) is None
    assert multi3drefer.read_predictions(content, one) is None
