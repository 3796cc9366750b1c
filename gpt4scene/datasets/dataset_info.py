"""How LLaMA-Factory is told of a dataset, and whether a dataset's images are its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bev.errors import UserError
from gpt4scene.prompting.conversation_file import Sample, read_conversations


def dataset_info(splits: Sequence[str], prefix: str = "gpt4scene") -> dict[str, Any]:
    """The content of LLaMA-Factory's dataset_info.json for the ShareGPT files of a dataset's splits.

    Training names the dataset's folder twice, `dataset_dir: OUT` and `media_dir: OUT` (image paths are relative to the
    latter), and what it trains on, `dataset: gpt4scene_train` (src/llamafactory/data/parser.py and converter.py at
    ff6d4d1; both, and its count of images in turns, were run on files of `build-dataset`, with transformers 5.23 in
    place of the older one that it asks for). `cutoff_len` must hold all images of a scene: the report says how many
    tokens that are.
    """
    return {
        f"{prefix}_{split}": {
            "file_name": f"{split}.sharegpt.json",
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "images": "images"},
            "tags": {
                "role_tag": "from",
                "content_tag": "value",
                "user_tag": "human",
                "assistant_tag": "gpt",
                "system_tag": "system",
            },
        }
        for split in splits
    }


def check_dataset(path: Path) -> list[Sample]:
    """Read a dataset's file and hold it against what lies beside it.

    Args:
        path: a file of conversations, in any of the formats.

    Raises:
        UserError: it does not read, an image lies outside of its folder, or images are missing; says which and how
            many.
    """
    samples = read_conversations(path, root=path.parent)
    images = dict.fromkeys(image.path for sample in samples for image in sample.conversation.images)
    missing = [image for image in images if not Path(image).is_file()]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(images)} images are not there, the first {missing[0]}; a dataset's images"
            " lie where they lay when it was made"
        )
    return samples
