"""Datasets as tar files: the same conversations and images, read in order and at any place."""

import json
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from dataset_rooms import TRAIN_SCENES, write_annotations, write_attributes, write_rooms

from bev.errors import UserError
from gpt4scene.datasets.build import Recipe, build_dataset
from gpt4scene.datasets.shards import Shards
from gpt4scene.prompting.conversation_file import Sample, read_samples


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a tar file for each scene."""
    folder = tmp_path_factory.mktemp("sharded")
    build_dataset(_recipe(folder, shard_mb=1e-6), folder / "out", jobs=1)
    return folder / "out"


def _recipe(folder: Path, **options: float) -> Recipe:
    return Recipe(
        scenes=write_rooms(folder / "scenes"),
        annotations=write_annotations(folder / "annotations"),
        attributes=write_attributes(folder / "annotations"),
        preset="default",
        size="224x224",
        **options,  # type: ignore[arg-type]
    )


def _with_bytes(sample: Sample) -> list[tuple[str, bytes]]:
    return [(image.path, image.read()) for image in sample.conversation.images]


def test_what_is_read_is_what_the_conversation_file_holds(built: Path) -> None:
    written = read_samples(built / "train.jsonl")
    shards = Shards(built / "train.index.json")
    assert len(written) > 20 and list(shards.ids) == [sample.id for sample in written]
    for sample in [*written[::7], *written[::-5]]:
        found = shards.sample(sample.id)
        assert all(image.data is not None for image in found.conversation.images)
        assert _with_bytes(found) == _with_bytes(sample)
        assert replace(found, conversation=sample.conversation) == sample
        assert shards.sample(sample.id, images=False) == sample
    assert len(list(built.glob("train-*.tar"))) == len(TRAIN_SCENES)


def test_tools_read_the_tar_files_in_webdatasets_layout(built: Path) -> None:
    with tarfile.open(built / "train-000000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
        assert {member.mtime for member in tar} == {0}
    assert {name.split(".", 1)[0] for name in members} == {TRAIN_SCENES[0]}
    lines = members.pop(f"{TRAIN_SCENES[0]}.jsonl").splitlines()
    images = list(json.loads(lines[0])["images"])
    assert [f"{TRAIN_SCENES[0]}.{Path(path).name}" for path in images] == list(members)
    assert list(members.values()) == [(built / path).read_bytes() for path in images]


def test_the_bytes_are_the_same_in_another_place(built: Path, tmp_path: Path) -> None:
    build_dataset(_recipe(tmp_path, shard_mb=1e-6), tmp_path / "again", jobs=2)
    names = sorted(path.name for path in built.iterdir() if path.is_file())
    assert sum(name.endswith(".tar") for name in names) == 3
    for name in names:
        if name != "report.json" and name != "report.md":
            assert (built / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_large_shards_hold_several_scenes(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, shard_mb=100)
    build_dataset(recipe, tmp_path / "out", jobs=1)
    assert [path.name for path in sorted(tmp_path.glob("out/*.tar"))] == ["train-000000.tar", "val-000000.tar"]
    # without shards again, they go
    build_dataset(replace(recipe, shard_mb=0), tmp_path / "out", jobs=1)
    assert not list(tmp_path.glob("out/*.tar")) and (tmp_path / "out" / "train.jsonl").is_file()


def test_threads_and_processes_may_share_it(built: Path) -> None:
    shards = pickle.loads(pickle.dumps(Shards(built / "train.index.json")))
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(shards.sample, shards.ids))
    assert [sample.id for sample in found] == list(shards.ids)
    shards.close()
    assert shards.sample(shards.ids[-1]) == found[-1]


def test_a_tar_file_that_was_cut_short_is_told(built: Path, tmp_path: Path) -> None:
    for name in ("train.index.json", "train-000000.tar", "train-000001.tar"):
        (tmp_path / name).write_bytes((built / name).read_bytes())
    shards = Shards(tmp_path / "train.index.json")
    whole = (tmp_path / "train-000001.tar").read_bytes()
    (tmp_path / "train-000001.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"train-000001.tar: has [\d,]+ bytes, its index says [\d,]+; copy or build"):
        Shards(tmp_path / "train.index.json")
    with pytest.raises(UserError, match="ends before it should"):
        for id in shards.ids:
            shards.sample(id)
    (tmp_path / "train-000001.tar").unlink()
    with pytest.raises(UserError, match=r"train-000001\.tar: is missing"):
        Shards(tmp_path / "train.index.json")


def test_bad_requests(built: Path, tmp_path: Path) -> None:
    shards = Shards(built / "val.index.json")
    with pytest.raises(UserError, match="holds no conversation 'nobody'"):
        shards.sample("nobody")
    with pytest.raises(UserError, match=r"holds no image 'images/nothing\.jpg'"):
        shards.image(str(built / "images/nothing.jpg"))
    with pytest.raises(UserError, match="is no index of shards of this version"):
        Shards(_written(tmp_path / "other.json", {"schema": "gpt4scene/shards@0"}))


def _written(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_tarfile_finds_what_the_index_says(built: Path) -> None:
    index = json.loads((built / "train.index.json").read_text())
    for image, (number, at, size) in index["images"].items():
        data = (built / index["shards"][number]["file"]).read_bytes()
        assert data[at : at + size] == (built / image).read_bytes()
