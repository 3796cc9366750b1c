"""Building a dataset of scenes and annotations with odd names, odd letters, and files that may not be read."""

import errno
import json
from pathlib import Path

import pytest
from dataset_rooms import scanqa_rows, write_annotations, write_attributes, write_rooms, write_scannet

from gpt4scene.cli.main import main
from gpt4scene.datasets.shards import Shards
from gpt4scene.prompting.conversation_file import read_conversations, read_samples


def _command(rooms: Path, *options: object) -> list[str]:
    given = [
        "build-dataset", "--scenes", rooms / "scenes", "--annotations", rooms / "annotations", "--out", rooms / "out",
        "--preset", "default", "--size", "224x168/28", "--jobs", "1", *options,
    ]  # fmt: skip
    return [str(each) for each in given]


def _rooms(folder: Path, *names: str) -> None:
    """All but the last are to train on."""
    write_rooms(folder / "scenes", names)
    write_annotations(folder / "annotations", names[:-1], names[-1:])


def test_a_scene_whose_inputs_cannot_be_read_stops_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _rooms(tmp_path, "a", "b", "c")
    command = _command(tmp_path, "--tasks", "scanqa")
    document, read = tmp_path / "scenes" / "a" / "scene.json", Path.read_bytes

    def forbidden(path: Path) -> bytes:
        if path == document:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(SystemExit):
        main(command)
    told = capsys.readouterr().err
    assert f"failed: a: {document}: cannot be read (Permission denied)" in told
    assert "1 of 3 scenes failed" in told
    monkeypatch.undo()
    assert main(command) == 0
    assert "(2 of 3 scenes were there already)" in capsys.readouterr().out


def test_names_of_all_kinds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("a room [1].b", "Küche – 2", "日本")
    _rooms(tmp_path, *names)
    attributes = write_attributes(tmp_path, names)
    # no UTF-8 in an id, and in a question that cannot be asked then
    rows = [row for scene in names[:2] for row in scanqa_rows(scene, "train")]
    rows[0]["question_id"], rows[1]["question"] = "odd \ud800 id", "lone \udc80?"
    rows[2]["question"], rows[2]["answers"] = "Is an <image> \u2028 \0 {there} <\\image>?", ["<image>", "a\x85b \u2028"]
    rows[3]["answers"] = ["red", "\udfff"]
    (tmp_path / "annotations" / "ScanQA_v1.0_train.json").write_text(json.dumps(rows))
    out = tmp_path / "out"
    assert main(_command(tmp_path, "--attributes", *attributes, "--shard-mb", "0.001")) == 0
    assert "scanqa train: 2: its words cannot be used (" in capsys.readouterr().out
    samples = read_samples(out / "train.jsonl")
    assert {sample.scene for sample in samples} == set(names[:2])
    assert read_conversations(out / "train.sharegpt.json") == samples
    shards = Shards(out / "train.index.json")
    assert list(shards.ids) == [sample.id for sample in samples]
    assert shards.sample("scanqa/train/odd \ud800 id/1", images=False) in samples
    assert Shards(out / "val.index.json").image(str(out / "images" / names[2] / "bev.jpg"))


def test_another_annotation_of_a_scan_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("a [1]", "b")
    _rooms(tmp_path, *names)
    for name in names:
        write_scannet(tmp_path / "scenes" / name, tmp_path / "scans" / name, first=0)
    command = _command(tmp_path, "--scans", tmp_path / "scans")
    assert main(command) == 0
    annotation = tmp_path / "scans" / names[0] / f"{names[0]}.aggregation.json"
    annotation.write_text(annotation.read_text().replace("thing", "stuff"))
    capsys.readouterr()
    assert main(command) == 0
    assert "(1 of 2 scenes were there already)" in capsys.readouterr().out
