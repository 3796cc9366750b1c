"""`gpt4scene import-gpt4scene`: the data that GPT4Scene released becomes conversation files."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


def import_gpt4scene(
    root: Annotated[Path, tyro.conf.Positional],
    /,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])],
    *,
    copy_images: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    skip_missing_images: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    strip: str = "",
    format: tuple[Literal["jsonl", "sharegpt"], ...] = ("jsonl", "sharegpt"),
) -> None:
    """Import GPT4Scene's released training and evaluation data (GPT4Scene-All and its validation annotation).

    Read are sharegpt*.json, the folders of images, selected_images*_val*.json with the images of each scene, and the
    evaluation files scanqa_val.json, sqa3d_val.json, scanrefer_*_val.json, multi3dref_*_val.json, scan2cap_*_val.json,
    in ROOT, annotation/, data/annotation/ or evaluate/annotation/ of it. Object ids, 0 included, and all words stay
    as they are. The task of a conversation is told from its words; where they do not tell, it is a chat.

    OUT gets train.jsonl and val.jsonl, ShareGPT files beside them, and report.json.

    Args:
        root: the folder that everything was unpacked to; images outside of it are refused.
        out: the dataset's folder.
        copy_images: copy the images to OUT, so that it can be moved; else they are named where they are.
        skip_missing_images: leave out conversations whose images are not there, and count them; else that is an error.
        strip: what image paths in the files begin with that is only their maker's own folder, such as /mnt/data/.
        format: jsonl is what `gpt4scene-train` reads, sharegpt what LLaMA-Factory reads.
    """
    from gpt4scene.datasets.import_gpt4scene import import_gpt4scene as import_released

    done = import_released(
        root, out, copy_images=copy_images, skip_missing_images=skip_missing_images, strip=strip, formats=format
    )
    lines = [line for row in done.report["splits"] for line in _split_lines(row)]
    if shared := done.report["scenes_in_both"]:
        lines.append(
            f"{len(shared):,} scenes are in both splits, such as {', '.join(shared[:3])}: what is trained on train must"
            " not be scored on val"
        )
    if done.missing:
        lines.append(f"{len(done.missing):,} images are not there, such as {', '.join(done.missing[:3])}")
    sys.stdout.write("".join(f"{line}\n" for line in [*lines, f"the dataset is in {out}"]))


def _split_lines(row: Mapping[str, Any]) -> list[str]:
    left_out = f", {row['left_out']:,} left out for want of images" if row["left_out"] else ""
    unnamed = f", {row['without_scene']:,} of no scene that could be told" if row["without_scene"] else ""
    ids = f"; ids {row['lowest_id']} to {row['highest_id']}" if row["different_ids"] else ""
    return [
        f"{row['split']}: {row['samples']:,} samples about {row['scenes']:,} scenes, {row['images']:,} images"
        f"{left_out}{unnamed}{ids}",
        *(
            f"  {each['benchmark'] or 'of no task that could be told'} ({each['task']}): {each['samples']:,}"
            for each in row["tasks"]
        ),
    ]
