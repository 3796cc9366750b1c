"""Building a dataset, as a user meets it: the same bytes however it was made, and nothing half-done that looks done."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from dataset_rooms import (
    TRAIN_SCENES,
    VAL_SCENES,
    scanqa_rows,
    write_annotations,
    write_attributes,
    write_rooms,
    write_scannet,
)

from gpt4scene.cli.main import main
from gpt4scene.datasets.dataset_info import check_dataset
from gpt4scene.prompting.conversation_file import read_conversations, read_samples, write_samples, write_sharegpt

QUICK = ("--preset", "default", "--size", "224x168/28", "--jobs", "1")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scenes/, annotations/ and attribute files; never written to but for the caches of scenes."""
    folder = tmp_path_factory.mktemp("rooms")
    write_rooms(folder / "scenes")
    write_annotations(folder / "annotations")
    write_attributes(folder)
    return folder


@pytest.fixture(scope="module")
def built(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed dataset of them; never written to."""
    out = tmp_path_factory.mktemp("built") / "dataset"
    assert main(_command(rooms, out)) == 0
    return out


@pytest.fixture
def own_rooms(rooms: Path, tmp_path: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(rooms, tmp_path / "rooms"))


def _command(rooms: Path, out: Path, *options: object) -> list[str]:
    given = [
        "build-dataset", "--scenes", rooms / "scenes", "--annotations", rooms / "annotations", "--out", out,
        "--attributes", rooms / "scannet_attributes.pt", rooms / "scannet_mask3d_attributes.pt", *QUICK, *options,
    ]  # fmt: skip
    return [str(each) for each in given]


def _contents(out: Path) -> dict[str, bytes]:
    """All files of a dataset but its records of how it was made."""
    files = (path for path in sorted(out.rglob("*")) if path.is_file() and ".parts" not in path.parts)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in files}


def _fails(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("gpt4scene: ") and said.count("\n") == 1
    return said


def test_what_is_written(built: Path) -> None:
    assert {path.name for path in built.iterdir()} == {
        ".parts", "images", "dataset_info.json", "report.json", "report.md",
        *(f"{split}.{end}" for split in ("train", "val") for end in ("jsonl", "sharegpt.json")),
    }  # fmt: skip
    for split, scenes in (("train", TRAIN_SCENES), ("val", VAL_SCENES)):
        samples = read_samples(built / f"{split}.jsonl")
        assert {sample.scene for sample in samples} == set(scenes)
        assert [sample.scene for sample in samples] == sorted(sample.scene for sample in samples)
        prefixes = {(sample.scene, sample.conversation.prefix_key()) for sample in samples}
        assert len(prefixes) == len(scenes)
        raw = [json.loads(line) for line in (built / f"{split}.jsonl").read_text().splitlines()]
        assert raw[0]["images"] == [f"images/{scenes[0]}/{name}.jpg" for name in ("bev", "000120", "000130", "000140")]
        assert all(turn["role"] == "system" for turn in (each["messages"][0] for each in raw))
    assert {sample.meta["benchmark"] for sample in read_samples(built / "val.jsonl")} == {
        "scanqa", "sqa3d", "scanrefer", "multi3drefer", "scan2cap",
    }  # fmt: skip


def test_the_report_counts_all_that_came_and_went(built: Path) -> None:
    report = json.loads((built / "report.json").read_text())
    rows = {(row["task"], row["split"]): row for row in report["tasks"]}
    # of each scene: 2 + 1 answers, 1 situation, 5 descriptions of which 2 are of no numbered object
    samples = {key: row["samples"] for key, row in rows.items()}
    assert samples == {
        ("scanqa", "train"): 6, ("sqa3d", "train"): 2, ("scanrefer", "train"): 6, ("multi3drefer", "train"): 6,
        ("scan2cap", "train"): 6, ("scanqa", "val"): 2, ("sqa3d", "val"): 1, ("scanrefer", "val"): 3,
        ("multi3drefer", "val"): 3, ("scan2cap", "val"): 2,
    }  # fmt: skip
    assert {(row["task"], row["reason"]): row["count"] for row in report["dropped"] if row["split"] == "train"} == {
        ("scanrefer", "no object of the scene overlaps it enough"): 4,
        ("multi3drefer", "no object of the scene overlaps it enough"): 2,
        ("multi3drefer", "object not annotated in its scene"): 2,
        ("scan2cap", "no object of the scene overlaps it enough"): 4,
    }
    [train, val] = report["splits"]
    assert (train["scenes"], train["samples"], train["images"]) == (2, 26, 8)
    assert (val["scenes"], val["samples"], val["images"]) == (1, 11, 4)
    lines = len((built / "train.jsonl").read_text().splitlines())
    assert lines == len(json.loads((built / "train.sharegpt.json").read_text())) == 26
    # four images of 8 x 6 patches; all models of the open families are thought of where pixels were given
    assert train["tokens"][0] > 26 * 4 * 48 and 0 < train["shared_tokens"][0] < train["tokens"][0] / 5
    page = (built / "report.md").read_text()
    assert "| train | 2 | 26 | 8 |" in page and "scene0000\\_00" not in page and "scene0000_00 object 77" in page


def test_written_and_read_again_nothing_is_lost(built: Path, tmp_path: Path) -> None:
    samples = read_samples(built / "train.jsonl")
    assert read_conversations(built / "train.sharegpt.json") == samples == check_dataset(built / "train.jsonl")
    moved = Path(shutil.copytree(built, tmp_path / "moved"))
    write_samples(moved / "again.jsonl", read_conversations(moved / "train.sharegpt.json"))
    write_sharegpt(moved / "again.json", read_samples(moved / "train.jsonl"))
    assert (moved / "again.jsonl").read_bytes() == (moved / "train.jsonl").read_bytes()
    assert (moved / "again.json").read_bytes() == (moved / "train.sharegpt.json").read_bytes()


def test_images_are_drawn_at_the_size_that_was_asked_for(built: Path) -> None:
    from PIL import Image

    files = sorted((built / "images").rglob("*.jpg"))
    assert len(files) == 12
    assert {Image.open(path).size for path in files} == {(224, 168)}


@pytest.mark.parametrize("how", [("--jobs", "3"), ("--ray", "local", "--jobs", "2")])
def test_the_bytes_do_not_depend_on_who_makes_them(
    how: tuple[str, ...], rooms: Path, built: Path, tmp_path: Path
) -> None:
    if "--ray" in how:
        pytest.importorskip("ray")
    assert main(_command(rooms, tmp_path / "out", *how)) == 0
    assert _contents(tmp_path / "out") == _contents(built)


def test_a_second_run_does_nothing(
    rooms: Path, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    before = {
        path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != "CACHEDIR.TAG"
    }
    assert main(_command(rooms, out)) == 0
    assert "(3 of 3 scenes were there already)" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before if path.name != "lock"} == {
        path: time for path, time in before.items() if path.name != "lock"
    }


def test_only_what_is_missing_is_made(
    rooms: Path, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    (out / "images" / VAL_SCENES[0] / "bev.jpg").write_bytes(b"cut short")
    (out / "train.jsonl").unlink()
    kept = (out / "images" / TRAIN_SCENES[0] / "bev.jpg").stat().st_mtime_ns
    assert main(_command(rooms, out)) == 0
    assert "(2 of 3 scenes were there already)" in capsys.readouterr().out
    assert _contents(out) == _contents(built)
    assert (out / "images" / TRAIN_SCENES[0] / "bev.jpg").stat().st_mtime_ns == kept


def test_other_arguments_make_another_dataset(rooms: Path, built: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    less = ("--tasks", "scanqa", "--splits", "val", "--size", "112x84/28", "--format", "jsonl")
    assert main(_command(rooms, out, *less)) == 0
    assert sorted(_contents(out)) == [
        *(f"images/{VAL_SCENES[0]}/{name}.jpg" for name in ("000120", "000130", "000140", "bev")),
        "report.json", "report.md", "val.jsonl",
    ]  # fmt: skip
    assert main(_command(rooms, tmp_path / "fresh", *less)) == 0
    assert _contents(out) == _contents(tmp_path / "fresh")


def test_one_bad_scene_stops_no_other(
    own_rooms: Path, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = own_rooms / "scenes" / TRAIN_SCENES[1]
    document = (bad / "scene.json").read_bytes()
    (bad / "scene.json").write_bytes(document[:-100])
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        main(_command(own_rooms, out))
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert f"failed: {TRAIN_SCENES[1]}: " in told and "scene.json: is not JSON" in told
    assert "1 of 3 scenes failed, so" in told
    assert not [path for path in out.iterdir() if path.is_file()]
    # mended, only that one is made
    (bad / "scene.json").write_bytes(document)
    assert main(_command(own_rooms, out)) == 0
    assert "(2 of 3 scenes were there already)" in capsys.readouterr().out
    expected = _contents(built)
    del expected["report.json"], expected["report.md"]  # which name the folders
    assert {name: data for name, data in _contents(out).items() if not name.startswith("report")} == expected
    # or left out
    assert main(_command(own_rooms, out, "--without", TRAIN_SCENES[1])) == 0
    assert {sample.scene for sample in read_samples(out / "train.jsonl")} == {TRAIN_SCENES[0]}
    assert f"scene left out by --without ({TRAIN_SCENES[1]})" in capsys.readouterr().out
    assert not (out / "images" / TRAIN_SCENES[1]).exists()


def test_a_dataset_whose_rebuilding_fails_is_none(own_rooms: Path, built: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    (own_rooms / "scenes" / TRAIN_SCENES[0] / "frames" / "000130.jpg").write_bytes(b"no picture")
    shutil.rmtree(own_rooms / "scenes" / TRAIN_SCENES[0] / ".cache" / "shown")
    with pytest.raises(SystemExit):
        main(_command(own_rooms, out))
    assert not [path for path in out.iterdir() if path.is_file()]


def test_missing_scenes_are_counted_and_named(
    own_rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(own_rooms / "scenes" / TRAIN_SCENES[0])
    assert main(_command(own_rooms, tmp_path / "out")) == 0
    assert f"dropped of scanqa train: 2: scene missing ({TRAIN_SCENES[0]})" in capsys.readouterr().out
    said = _fails(capsys, _command(own_rooms, tmp_path / "strict", "--strict"))
    assert "1 of 3 scenes are not there: scene0000_00;" in said
    # one that was not finished is not there either
    (own_rooms / "scenes" / VAL_SCENES[0] / "scene.json").unlink()
    said = _fails(capsys, _command(own_rooms, tmp_path / "out"))
    assert (
        f"val: nothing is left of this split (2: scene missing ({VAL_SCENES[0]})" in said
        or "val: nothing is left" in said
    )
    assert "leave it out of --splits" in said and not (tmp_path / "out" / "train.jsonl").exists()
    shutil.rmtree(own_rooms / "scenes" / TRAIN_SCENES[1])
    assert "3 of 3 scenes are not there" in _fails(capsys, _command(own_rooms, tmp_path / "none"))


def test_objects_that_are_not_there_are_an_error_if_wanted(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _fails(capsys, _command(rooms, tmp_path / "out", "--strict"))
    assert "--strict: 3 annotations name what is not there: multi3drefer train 2: object not annotated" in said
    assert "scene0000_00 object 77" in said and not (tmp_path / "out" / "train.jsonl").exists()


def test_a_task_of_which_nothing_is_left_is_an_error(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = _fails(capsys, _command(rooms, tmp_path / "out", "--tasks", "scanqa", "scan2cap", "--iou-min", "1"))
    assert "scan2cap: nothing is left of this task (" in said and "leave it out of --tasks" in said


def test_splits_that_share_scenes_are_an_error(
    own_rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for scene in (*VAL_SCENES, TRAIN_SCENES[1]) for row in scanqa_rows(scene, "val")]
    (own_rooms / "annotations" / "ScanQA_v1.0_val.json").write_text(json.dumps(rows))
    said = _fails(capsys, _command(own_rooms, tmp_path / "out"))
    assert "1 scenes are in two splits" in said and "scene0001_00 (scanqa train, scanqa val)" in said
    assert not (tmp_path / "out").exists()
    # as the message says
    assert main(_command(own_rooms, tmp_path / "out", "--without", TRAIN_SCENES[1])) == 0
    assert {sample.scene for sample in read_samples(tmp_path / "out" / "train.jsonl")} == {TRAIN_SCENES[0]}


def test_annotations_may_lie_in_a_folder_for_each_benchmark(own_rooms: Path, built: Path, tmp_path: Path) -> None:
    folder = own_rooms / "annotations" / "scanqa"
    folder.mkdir()
    for path in (own_rooms / "annotations").glob("ScanQA*"):
        path.rename(folder / path.name)
    assert main(_command(own_rooms, tmp_path / "out")) == 0
    assert (tmp_path / "out" / "train.jsonl").read_bytes() == (built / "train.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--size", "huge"), "--size huge: give WIDTHxHEIGHT"),
        (("--size", "20x20/28"), "has no side that is a multiple of 28"),
        (("--iou-min", "2"), "--iou-min 2.0: must be 0 to 1"),
        (("--splits", "val", "val"), "name each split once"),
        (("--tasks",), "--tasks : there are"),
        (("--without", "scene9"), "no question is about a scene of this name"),
        (("--jobs", "0"), "--jobs 0: must be 1 or more"),
        (("--attributes", "a.pt"), "--attributes: give pairs of files"),
        (("--scans", "."), "give one of them"),
    ],
)
def test_options_that_make_no_sense(
    options: tuple[str, ...], words: str, rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in _fails(capsys, _command(rooms, tmp_path / "out", *options))


def test_objects_must_be_somewhere(rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = _fails(capsys, _command(rooms, tmp_path / "out", "--attributes"))
    assert "scanrefer, multi3drefer, scan2cap: ask for objects; say with --scans or --attributes" in said
    assert main(_command(rooms, tmp_path / "out", "--attributes", "--tasks", "scanqa", "sqa3d")) == 0


def test_scannets_own_annotation_says_where_objects_are(
    rooms: Path, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (*TRAIN_SCENES, *VAL_SCENES):
        write_scannet(rooms / "scenes" / name, tmp_path / "scans" / name, first=0)
    scans = ("--attributes", "--scans", tmp_path / "scans")
    assert main(_command(rooms, tmp_path / "out", *scans)) == 0
    # the lamp and the rug are objects of the attribute files alone, and no conversation is about them
    for split in ("train", "val"):
        assert (tmp_path / "out" / f"{split}.jsonl").read_bytes() == (built / f"{split}.jsonl").read_bytes()
    shutil.rmtree(tmp_path / "scans" / VAL_SCENES[0])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(_command(rooms, tmp_path / "out", *scans))
    assert f"failed: {VAL_SCENES[0]}: scene {VAL_SCENES[0]}: " in capsys.readouterr().err
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_a_preset_for_which_a_scene_has_too_few_frames(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(_command(rooms, tmp_path / "out", "--preset", "paper-32"))
    assert "preset paper-32 shows 32 frames, the scene has 3" in capsys.readouterr().err


def test_folders_of_others_are_not_written_into(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.md").write_text("mine")
    assert "holds something that is not a dataset of ours" in _fails(capsys, _command(rooms, tmp_path))
    assert "is a file" in _fails(capsys, _command(rooms, tmp_path / "notes.md"))
    assert (tmp_path / "notes.md").read_text() == "mine"


@pytest.mark.parametrize("out", ["file/out", "half", "dangling"])
def test_where_no_folder_can_be_made_is_said(
    out: str, rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / ".parts").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    said = _fails(capsys, _command(rooms, tmp_path / out))
    assert f"{tmp_path / out}: no folder can be made there (" in said


def test_files_of_others_in_a_dataset_stay(rooms: Path, built: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(built, tmp_path / "out"))
    for name in ("notes.md", "train.json", "mine.jsonl"):
        (out / name).write_text("mine")
    assert main(_command(rooms, out, "--seed", "1")) == 0
    assert all((out / name).read_text() == "mine" for name in ("notes.md", "train.json", "mine.jsonl"))


def test_two_runs_at_once_are_told_apart(
    rooms: Path, built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gpt4scene.datasets.publish import claim_dataset

    with claim_dataset(tmp_path / "out"):
        assert "another run is writing to it" in _fails(capsys, _command(rooms, tmp_path / "out"))


@pytest.mark.parametrize("room_for", [0, 3_000, 60_000, 150_000])
def test_a_disk_that_fills_up(
    room_for: int,
    rooms: Path,
    built: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Written in this process, so that writing can be made to fail after so many bytes."""
    out = tmp_path / "out"
    left = [room_for]
    real = Path.write_bytes

    def until_full(path: Path, data: Any) -> int:
        if path.is_relative_to(out):
            left[0] -= len(data)
            if left[0] < 0:
                real(path, bytes(data)[: len(data) // 2])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, data)

    monkeypatch.setattr(Path, "write_bytes", until_full)
    monkeypatch.setattr("gpt4scene.datasets.build.run_each", _in_this_process)
    capsys.readouterr()
    try:
        code = main(_command(rooms, out))
    except SystemExit as ended:
        code = ended.code
    printed = capsys.readouterr()
    said = [line for line in (printed.out + printed.err).splitlines() if "the disk is full" in line]
    assert code in (1, 2) and len(said) == 1 and str(out) in said[0]
    assert not [path for path in out.iterdir() if path.is_file()]
    assert not list(out.rglob(".half-written-*"))
    monkeypatch.undo()
    assert main(_command(rooms, out)) == 0
    assert _contents(out) == _contents(built)


def _in_this_process(function: Callable[[Any], Any], items: Any, *, names: Any, **_: Any) -> list[Any]:
    from gpt4scene.parallel import Done, _outcome

    outcomes = [_outcome(function, item) for item in items]
    return [Done(name, *outcome) for name, outcome in zip(names, outcomes, strict=True)]


@pytest.mark.parametrize(
    ("whom", "kills"),
    [("the run", 1), ("a worker", 2), *(pytest.param(w, 10, marks=pytest.mark.slow) for w in ("the run", "a worker"))],
)
def test_killed_at_any_moment_the_rest_is_done_next_time(
    whom: str, kills: int, rooms: Path, built: Path, tmp_path: Path
) -> None:
    out, chance = tmp_path / "out", random.Random(whom)
    program = "from gpt4scene.cli.main import run; run()"
    command = [sys.executable, "-c", program, *_command(rooms, out, "--jobs", "2")]
    for _ in range(kills):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0.5, 3.0))
        try:
            family = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        for each in [psutil.Process(process.pid)] if whom == "the run" and process.poll() is None else family[1:2]:
            each.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        for each in family:
            if each.is_running():
                each.kill()
        for name in ("train.jsonl", "val.jsonl"):
            assert not (out / name).exists() or (out / name).read_bytes() == (built / name).read_bytes()
    assert main(_command(rooms, out)) == 0
    assert _contents(out) == _contents(built)


def test_wordings_follow_the_seed(rooms: Path, built: Path, tmp_path: Path) -> None:
    assert main(_command(rooms, tmp_path / "out", "--seed", "5")) == 0
    mine, other = (read_samples(folder / "train.jsonl") for folder in (built, tmp_path / "out"))
    assert [sample.id for sample in mine] == [sample.id for sample in other]
    assert [sample.meta["wording"] for sample in mine] != [sample.meta["wording"] for sample in other]


def test_the_numbers_in_answers_are_those_on_the_images(built: Path) -> None:
    """Annotated objects count from 0 here, numbers from 1."""
    for sample in read_samples(built / "train.jsonl"):
        if sample.task == "ground":
            assert list(sample.answers) == sorted(np.array(sample.meta["annotated_ids"], int) + 1)
