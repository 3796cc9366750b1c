"""Importing what GPT4Scene released: all of it arrives, nothing from elsewhere does, and what is missing is counted."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from gpt4scene.cli.main import main
from gpt4scene.datasets.dataset_info import check_dataset
from gpt4scene.datasets.recognise import benchmark_of, task_of
from gpt4scene.prompting.conversation_file import read_conversations, read_samples

SCENES = ("scene0000_00", "scene0707_01")
BRIEF = " Answer the question using a single word or phrase."
ASKED = (
    ("What is beside the door?" + BRIEF, "A bin.", "scanqa"),
    ("I am facing the window. What is behind me?" + BRIEF, "Sofa.", "sqa3d"),
    ("Which object's ID goes best with the words: the red chair?", "<OBJ000>.", "scanrefer"),
    ("If any objects are round tables, list their IDs.", "Yes. <OBJ003> and <OBJ041>.", "multi3drefer"),
    ("If any objects are bathtubs, list their IDs.", "No.", "multi3drefer"),
    ("Tell how <OBJ012> looks, and then where it stands.", "A lamp. It is on the desk.", "scan2cap"),
    ("Hello there, what a room!", "It is.", ""),
)


def _images(scene: str) -> list[str]:
    return [f"images_3D/{scene}/bev.jpg", *(f"images_2D/{scene}/{number}.jpg" for number in (0, 20))]


def _record(scene: str, question: str, answer: str, images: list[str] | None = None) -> dict:
    images = _images(scene) if images is None else images
    turns = [{"from": "human", "value": "<image>" * len(images) + question}, {"from": "gpt", "value": answer}]
    return {"conversations": turns, "images": images}


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """The layout of the README, with images beside the annotation."""
    root = tmp_path / "GPT4Scene"
    for scene in SCENES:
        for name in _images(scene):
            path = root / "data" / "annotation" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((6, 8, 3), len(name), np.uint8))
    records = [_record(scene, question, answer) for scene in SCENES for question, answer, _ in ASKED]
    _write_json(root / "data" / "annotation" / "sharegpt_data_chat_scene_32_images_3D_mark.json", records)
    evaluation = root / "evaluate" / "annotation"
    _write_json(evaluation / "selected_images_mark_3D_val_32.json", {scene: _images(scene) for scene in SCENES})
    row = {"scene_id": SCENES[1], "obj_id": 3}
    _write_json(evaluation / "scanqa_val.json", [{**row, "prompt": ASKED[0][0], "ref_captions": ["a bin", "bin"]}])
    _write_json(
        evaluation / "multi3dref_mask3d_val.json",
        [{**row, "prompt": ASKED[3][0], "ref_captions": [3, 0], "eval_type": "mt"}],
    )
    caption = {**row, "pred_id": 0, "prompt": "Tell how <OBJ000> looks.", "ref_captions": ["sos A lamp. eos"]}
    _write_json(evaluation / "scan2cap_mask3d_val.json", [caption, caption])
    return root


def _run(root: Path, out: Path, *options: str) -> int:
    return main(["import-gpt4scene", str(root), "--out", str(out), *options])


def test_all_of_it_arrives(released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert _run(released, out) == 0
    told = capsys.readouterr().out
    train = read_samples(out / "train.jsonl")
    assert [sample.meta.get("benchmark", "") for sample in train] == [name for _, _, name in ASKED] * 2
    assert [sample.task for sample in train[:7]] == ["qa", "situated", "ground", "ground", "ground", "caption", "chat"]
    assert [sample.scene for sample in train] == [scene for scene in SCENES for _ in ASKED]
    for sample, (question, answer, _) in zip(train, ASKED * 2, strict=True):
        assert [message.text for message in sample.conversation.messages] == [question, answer]
        assert all(Path(image.path).is_file() for image in sample.conversation.images)
    assert len({image.path for sample in train for image in sample.conversation.images}) == 6
    val = read_samples(out / "val.jsonl")
    assert [sample.meta["benchmark"] for sample in val] == ["multi3drefer", "scan2cap", "scan2cap", "scanqa"]
    assert [sample.answers for sample in val] == [(3, 0), *[("sos A lamp. eos",)] * 2, ("a bin", "bin")]
    assert all(sample.conversation.messages[-1].role == "user" for sample in val)
    assert val[1].meta["annotation"] == {"obj_id": 3, "pred_id": 0}
    assert "train: 14 samples about 2 scenes, 6 images; ids 0 to 41\n" in told
    assert "1 scenes are in both splits, such as scene0707_01: " in told
    assert json.loads((out / "report.json").read_text())["scenes_in_both"] == [SCENES[1]]
    assert "  of no task that could be told (chat): 2\n" in told and "  scanrefer (ground): 2\n" in told
    assert read_conversations(out / "train.sharegpt.json") == train
    assert read_conversations(out / "val.sharegpt.json") == val
    assert list(json.loads((out / "dataset_info.json").read_text())) == ["gpt4scene_train"]


def test_copied_images_make_it_movable(released: Path, tmp_path: Path) -> None:
    assert _run(released, tmp_path / "out", "--copy-images") == 0
    (tmp_path / "out").rename(tmp_path / "moved")
    for name in ("train.jsonl", "val.jsonl", "train.sharegpt.json"):
        samples = check_dataset(tmp_path / "moved" / name)
        assert {Path(i.path).read_bytes()[:2] for sample in samples for i in sample.conversation.images} == {
            b"\xff\xd8"
        }


def test_images_that_changed_are_copied_again(released: Path, tmp_path: Path) -> None:
    assert _run(released, tmp_path / "out", "--copy-images") == 0
    image = released / "data" / "annotation" / _images(SCENES[0])[0]
    changed = image.read_bytes()[::-1]
    image.write_bytes(changed)
    assert _run(released, tmp_path / "out", "--copy-images") == 0
    copies = [path for path in (tmp_path / "out" / "images").rglob("bev.jpg") if SCENES[0] in path.parts]
    assert [path.read_bytes() for path in copies] == [changed]


def test_again_and_with_other_options_it_is_made_anew(released: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert _run(released, out) == 0
    first = (out / "train.jsonl").read_bytes()
    assert _run(released, out) == 0 and (out / "train.jsonl").read_bytes() == first
    assert _run(released, out, "--format", "jsonl") == 0
    assert sorted(path.name for path in out.iterdir()) == [".parts", "report.json", "train.jsonl", "val.jsonl"]


def _fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in ("import-gpt4scene", *arguments)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("gpt4scene: ") and said.count("\n") == 1
    return said


def test_missing_images_are_an_error_or_counted(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (released / "data" / "annotation" / _images(SCENES[0])[1]).unlink()
    out = tmp_path / "out"
    said = _fails(capsys, released, "-o", out)
    assert "1 of 6 images are not there, such as images_2D/scene0000_00/0.jpg;" in said and not out.exists()
    assert _run(released, out, "--skip-missing-images") == 0
    told = capsys.readouterr().out
    assert "train: 7 samples about 1 scenes, 3 images, 7 left out for want of images; ids 0 to 41\n" in told
    assert "1 images are not there, such as images_2D/scene0000_00/0.jpg\n" in told
    report = json.loads((out / "report.json").read_text())
    assert report["missing_images"] == {"count": 1, "paths": [_images(SCENES[0])[1]]}


@pytest.mark.parametrize("path", ["../../../secret.jpg", "{outside}/secret.jpg", "images_2D/../../../../secret.jpg"])
@pytest.mark.parametrize("option", [[], ["--skip-missing-images"]])
@pytest.mark.parametrize("kind", ["train", "val"])
def test_images_outside_are_refused(
    path: str, option: list[str], kind: str, released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "secret.jpg"), np.zeros((4, 4, 3), np.uint8))
    path = path.format(outside=tmp_path)
    if kind == "train":
        file = released / "data" / "annotation" / "sharegpt_data_chat_scene_32_images_3D_mark.json"
        _write_json(file, [_record(SCENES[0], *ASKED[0][:2], images=[path])])
    else:
        file = released / "evaluate" / "annotation" / "selected_images_mark_3D_val_32.json"
        _write_json(file, {scene: [path] for scene in SCENES})
    said = _fails(capsys, released, "-o", tmp_path / "out", "--copy-images", *option)
    assert "lies outside of" in said and not (tmp_path / "out").exists()


def test_the_makers_own_folder_is_left_out(released: Path, tmp_path: Path) -> None:
    file = released / "data" / "annotation" / "sharegpt_data_chat_scene_32_images_3D_mark.json"
    elsewhere = [f"/mnt/them/data/{path}" for path in _images(SCENES[0])]
    _write_json(file, [_record(SCENES[0], *ASKED[0][:2], images=elsewhere)])
    assert _run(released, tmp_path / "out", "--strip", "/mnt/them/data/") == 0
    [sample] = read_samples(tmp_path / "out" / "train.jsonl")
    assert all(Path(image.path).is_file() for image in sample.conversation.images)


def test_it_is_found_from_where_one_stands(released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(released)
    assert _run(Path("data"), tmp_path / "out") == 0
    assert len(read_samples(tmp_path / "out" / "train.jsonl")) == 14
    assert not (tmp_path / "out" / "val.jsonl").exists()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("data/annotation/sharegpt_data_chat_scene_32_images_3D_mark.json", b"[\xff]", "is not UTF-8 text"),
        ("data/annotation/sharegpt_data_chat_scene_32_images_3D_mark.json", b"[{}]", "is no conversation"),
        ("data/annotation/sharegpt_data_chat_scene_32_images_3D_mark.json", b"[", "is not JSON"),
        ("data/annotation/sharegpt_other.json", b"[]", "several files could be what is trained on"),
        ("evaluate/annotation/scanqa_val.json", b'[{"scene_id": "x"}]', "row 1: has no 'prompt'"),
        ("evaluate/annotation/scanqa_val.json", b'["\xff"]', "scanqa_val.json, line 1: is not UTF-8"),
        ("evaluate/annotation/scanqa_val.json", b'[{"scene_id": "x", "prompt": "?"}]', "lists no images"),
        (
            "evaluate/annotation/scanqa_val.json",
            b'[{"scene_id": "scene0707_01", "prompt": "?", "ref_captions": "bin"}]',
            "ref_captions must be a list, found 'bin'",
        ),
        ("evaluate/annotation/selected_images_mark_3D_val_32.json", b'{"a": [7]}', "a must hold a list of image paths"),
        ("evaluate/annotation/selected_images_mark_3D_val_32.json", b"[]", "must hold an object of scenes"),
    ],
)
def test_bad_files_are_named(
    file: str, content: bytes, words: str, released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (released / file).write_bytes(content)
    said = _fails(capsys, released, "-o", tmp_path / "out")
    assert words in said and Path(file).name in said and not (tmp_path / "out").exists()


def test_nothing_to_import(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such folder" in _fails(capsys, tmp_path / "none", "-o", tmp_path / "out")
    assert "holds neither" in _fails(capsys, tmp_path, "-o", tmp_path / "out")


def test_a_folder_of_others_is_not_written_into(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "holds something that is not a dataset of ours" in _fails(capsys, released, "-o", released)


@pytest.mark.parametrize(
    ("question", "answer", "benchmark"),
    [
        *ASKED,
        ("Where am I? Where is my bag?" + BRIEF, "Here.", "scanqa"),
        ("Which is it? I stand here." + BRIEF, "Here.", "scanqa"),
        ("Standing by the sink, I look out. Is it raining?" + BRIEF, "No.", "sqa3d"),
        ("I sit on the bed facing the door what is to my left?" + BRIEF, "Desk.", "sqa3d"),
        ("You are standing by the table. What is behind me?" + BRIEF, "Door.", "sqa3d"),
        ("Standing by the bed. How many lamps are there?" + BRIEF, "2.", "sqa3d"),
        ("What is on my left when I enter?" + BRIEF, "Desk.", "scanqa"),
        ("What stands by <OBJ001>?", "<OBJ002>", ""),
        ("Is there an ID?", "Perhaps.", ""),
        ("", "", ""),
    ],
)
def test_tasks_are_told_from_words(question: str, answer: str, benchmark: str) -> None:
    assert benchmark_of(question, answer) == benchmark
    assert (task_of(benchmark) == "chat") == (not benchmark)
