"""Which task a conversation of GPT4Scene's released data is of, told from its words: the data does not say.

The released questions are worded as Chat-Scene words them (475e106, prompts/prompts.py and preprocess/): questions end
in a request for a word or a phrase, those of SQA3D begin with where the asker is, grounding asks for the ID or the IDs
of objects and is answered with `<OBJ012>`, and descriptions are asked for with such an id.
"""

import re

from gpt4scene.prompting.questions import Task

_ID = r"<OBJ\d{3,}>"
_BRIEF = re.compile(r"\b(?:single|one) word or (?:a )?(?:short )?phrase\b", re.IGNORECASE)
_ASKER = re.compile(r"\b(?:i|i'm|i’m|i've|my|me|myself)\b", re.IGNORECASE)
_ASKS_FOR_IDS = re.compile(r"\bIDs?\b")
_ONE = re.compile(rf"\s*{_ID}\s*\.?\s*")
_ANY = re.compile(rf"\s*(?:No\.?|Yes\.?\s+{_ID}.*)\s*", re.DOTALL)

BENCHMARK_TASKS: dict[str, Task] = {
    "scanqa": "qa",
    "sqa3d": "situated",
    "scanrefer": "ground",
    "multi3drefer": "ground",
    "scan2cap": "caption",
}


def benchmark_of(question: str, answer: str) -> str:
    """The benchmark that a question and its answer are made of; "" where the words do not tell.

    Args:
        question: without what stands for images.
        answer: to it; empty where there is none.
    """
    if _BRIEF.search(question):
        sentences = [each for each in re.split(r"(?<=[.!?])\s+", question.strip()) if not _BRIEF.search(each)]
        first = sentences[0] if sentences else question
        # a situation is a sentence of its own, or runs into the question for want of a full stop
        stated = len(sentences) > 1 and not first.endswith("?")
        asker = _ASKER.search(first)
        return "sqa3d" if stated or (asker and (asker.start() == 0 or not first.endswith("?"))) else "scanqa"
    if re.search(_ID, question):
        return "" if re.search(_ID, answer) else "scan2cap"
    if not _ASKS_FOR_IDS.search(question):
        return ""
    if _ONE.fullmatch(answer):
        return "scanrefer"
    return "multi3drefer" if _ANY.fullmatch(answer) else ""


def task_of(benchmark: str) -> Task:
    """The task of a benchmark; a conversation of none is a chat."""
    return BENCHMARK_TASKS.get(benchmark, "chat")
