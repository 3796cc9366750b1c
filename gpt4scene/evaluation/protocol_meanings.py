"""What each way of scoring means, in a sentence for readers of tables; each benchmark's `score` says it exactly."""

_VSI_FAMILY = "letters: accuracy; numbers: mean relative accuracy at 10 thresholds from 0.5 to 0.95"

MEANINGS: dict[tuple[str, str], str] = {
    ("scanqa", "official"): (
        "the benchmark's own scripts: exact match of the raw text, caption metrics after the PTB tokenizer"
    ),
    ("scanqa", "gpt4scene"): (
        "that of GPT4Scene and Chat-Scene: answers are cleaned, references are not; refined also takes one text within"
        " the other"
    ),
    ("scanqa", "leo"): "that of LEO: answers and references are cleaned; caption metrics without a tokenizer",
    ("scanqa", "video3dllm"): "that of Video-3D-LLM: exact match of the raw text; caption metrics without a tokenizer",
    ("sqa3d", "strict"): "that of Video-3D-LLM: equality after both texts are cleaned",
    ("sqa3d", "gpt4scene"): "that of GPT4Scene and Chat-Scene: cleaned texts; refined also takes one within the other",
    ("sqa3d", "leo"): "that of LEO: cleaned texts; refined also takes one text within the other, and empty answers",
    ("sqa3d", "lenient"): "the benchmark's own script for language models: any word in common is right",
    ("scan2cap", "gpt4scene"): (
        "that of GPT4Scene and Chat-Scene: a caption counts where its object's box overlaps the true one at IoU >= k;"
        " PTB tokenizer"
    ),
    ("scan2cap", "official"): (
        "the benchmark's own code: a caption counts where its box overlaps the true one at IoU > k; no tokenizer"
    ),
    (
        "scan2cap",
        "benchmark",
    ): "the benchmark's test server: precision, recall and F1 of captions matched by their boxes",
    ("scan2cap", "video3dllm"): "that of Video-3D-LLM and 3DRS: no tokenizer, and no look at boxes while scoring",
    ("scanrefer", "official"): "the benchmark's own code: share of boxes with an IoU of at least k",
    ("scanrefer", "gpt4scene"): (
        "that of GPT4Scene and Chat-Scene: the first object that is named, or object 0 where none is; IoU of its box"
    ),
    ("scanrefer", "m3dref"): "that of M3DRef-CLIP: as the official one in float32; object 0 where none is named",
    ("multi3drefer", "m3dref"): "the benchmark's own code: F1 of the boxes of each query, matched one to one by IoU",
    (
        "multi3drefer",
        "gpt4scene",
    ): "that of GPT4Scene and Chat-Scene: F1 of the objects named, where repeats count as wrong",
    (
        "multi3drefer",
        "base_model",
    ): "that of GPT4Scene for models that were not tuned: any number in the text is an object",
    (
        "multi3drefer",
        "video3dllm",
    ): "that of Video-3D-LLM: F1 of boxes; queries without true objects are those for nothing",
    ("vsibench", "official"): f"the benchmark's own code ({_VSI_FAMILY}); only the first word of an answer is read",
    ("vsibench", "lmms_eval"): f"that of lmms-eval ({_VSI_FAMILY}); a number is read wherever it stands",
    ("vsibench", "vlm3r"): f"that of VLM-3R's copy ({_VSI_FAMILY}); directions are one task whichever are there",
    ("vstibench", "official"): f"the benchmark's own code ({_VSI_FAMILY}); only the first word of an answer is read",
    ("sparbench", "official"): "the benchmark's own code: lenient options, numbers without their sign",
    ("sparbench", "lmms_eval"): "that of lmms-eval: as the official one; a level without questions is 0",
    ("mmsi", "lmms_eval"): "that of lmms-eval: the first option letter in the answer; each question is asked once",
    ("cvbench", "default"): "the benchmark's own mean of 2D (ADE20K, COCO) and 3D (Omni3D); the answer's first letter",
    ("cvbench", "plain"): "accuracy over all questions; the answer's first letter",
    ("blink", "lmms_eval"): "that of lmms-eval: the answer's first letter; no language model reads what has none",
    ("openeqa", "llm-match"): "a language model marks each answer from 1 to 5; the mean mark, 1 as 0 and 5 as 100",
}


def protocol_meaning(benchmark: str, protocol: str) -> str:
    """A sentence without its full stop; "" where there is none."""
    return MEANINGS.get((benchmark, protocol), "")
