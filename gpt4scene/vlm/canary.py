"""Whether a served adapter is really active: the same questions to the tuned model and to its plain base.

Servers load adapters whose weights' names match no module without a word and answer as the base does
(vllm-project/vllm #34186, #48019, #39369). Texts tell most adapters apart; the probabilities behind them, where a
server gives any, tell those apart that are too light to change a word.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np

from bev.errors import UserError
from gpt4scene.vlm.server_process import exchange

CanaryOutcome = Literal["active", "same as base", "cannot be told"]

QUESTIONS = (
    "Describe this picture in one sentence.",
    "Which number is on the red square, and what is left of it? Answer with ids such as <OBJ012>.",
    "How many squares are there, and how far apart are they in metres?",
)
_ASKS = 2
"""Of each question: how far two answers of one model are apart says what is not the adapter's doing."""
_NEW_TOKENS = 48
_ROUNDING_NATS = 0.02
"""How far apart log-probabilities may be in bfloat16 where a server computes the tuned model another way."""
_TIMEOUT_S = 600.0


@dataclass(frozen=True)
class CanaryAnswer:
    """One model's answer to one question, once."""

    text: str
    scores: Mapping[str, float]
    """Log-probabilities by what they are of; empty where the server gives none."""


@dataclass(frozen=True)
class CanaryAnswers:
    """All of one model's answers."""

    model: str
    answers: tuple[tuple[CanaryAnswer, ...], ...]
    """By question, then each time that it was asked."""
    decisions: tuple[Mapping[str, float], ...] = ()
    """Log-probabilities of set answers, each time that they were asked for; empty where the server knows no such
    thing."""


@dataclass(frozen=True)
class Canary:
    """What came of it."""

    outcome: CanaryOutcome
    why: str
    """One line."""


def ask_canary(base_url: str, model: str) -> CanaryAnswers:
    """Ask one model all questions, each twice, one after another.

    Args:
        base_url: of the server, as in http://127.0.0.1:8000/v1.
        model: the name by which it is asked for.

    Raises:
        UserError: the server does not answer.
    """
    picture = base64.b64encode(_picture()).decode()
    answers = tuple(tuple(_answer(base_url, model, picture, q) for _ in range(_ASKS)) for q in QUESTIONS)
    decisions = [found for _ in range(_ASKS) if (found := _decision(base_url, model, picture))]
    return CanaryAnswers(model, answers, tuple(decisions))


def compare(base: CanaryAnswers, tuned: CanaryAnswers) -> Canary:
    """Tell whether two models are two.

    Like is compared with like, the first answers with the first, the second with the second: the second ones come from
    a prefix that the server may have kept, which rounds otherwise.
    """
    steady = [
        (b[0].text, t[0].text)
        for b, t in zip(base.answers, tuned.answers, strict=True)
        if len({a.text for a in b}) == 1 and len({a.text for a in t}) == 1
    ]
    differing = sum(b != t for b, t in steady)
    if differing:
        return Canary("active", f"{differing} of {len(QUESTIONS)} answers differ from those of {base.model}")
    if base.decisions and tuned.decisions:
        return _judge(base.decisions, tuned.decisions, base.model, floor=0.0)
    scores = [[_joined(model.answers, time) for time in range(_ASKS)] for model in (base, tuned)]
    if all(scores[0]) and all(scores[1]):
        return _judge(scores[0], scores[1], base.model, floor=_ROUNDING_NATS)
    if len(steady) < len(QUESTIONS):
        return Canary("cannot be told", "the server answers the same question in two ways even without sampling")
    return Canary(
        "same as base",
        f"all {len(QUESTIONS)} answers are those of {base.model}, word by word, and the server gives no probabilities",
    )


def advice(why: str, *, model: str, key_prefix: str = "") -> str:
    """What to do about an adapter that is not active, in one line."""
    names = f" (here they begin with {key_prefix})" if key_prefix else ""
    return (
        f"{model}: the adapter is not active: {why}; an engine passes over weights whose names fit none of its modules"
        f"{names}, and an adapter that was never trained changes nothing: merge it into its base and serve the merged "
        "folder, or serve with --engine transformers"
    )


def _judge(
    base: Sequence[Mapping[str, float]], tuned: Sequence[Mapping[str, float]], name: str, *, floor: float
) -> Canary:
    apart = max(_distance(b, t) for b, t in zip(base, tuned, strict=False))
    noise = max(_distance(*base[:2]), _distance(*tuned[:2])) if min(len(base), len(tuned)) > 1 else 0.0
    if apart == 0.0:
        return Canary("same as base", f"texts and probabilities are those of {name} to the last digit")
    if apart > floor and apart > 4.0 * noise:
        return Canary("active", f"its probabilities differ from those of {name} by up to {apart:.2g} nats")
    return Canary(
        "cannot be told",
        f"texts are those of {name}, probabilities differ by {apart:.2g} nats at most, which rounding does too",
    )


def _distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    shared = one.keys() & other.keys()
    return max((abs(one[key] - other[key]) for key in shared), default=math.inf)


def _joined(answers: Sequence[Sequence[CanaryAnswer]], time: int) -> dict[str, float]:
    return {f"{i} {key}": value for i, a in enumerate(answers) for key, value in a[time].scores.items()}


def _answer(base_url: str, model: str, picture: str, question: str) -> CanaryAnswer:
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": question},
    ]
    body = {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": _NEW_TOKENS,
        "temperature": 0.0,
        "logprobs": True,
        "top_logprobs": 5,
    }
    status, said = exchange(f"{base_url}/chat/completions", body, timeout_s=_TIMEOUT_S)
    if status == 401:
        raise UserError(f"{base_url}: asks for a key, which canary questions do not send; add --no-canary")
    if status != 200:
        raise UserError(f"{base_url}: answered the canary question to {model} with status {status}: {_brief(said)}")
    choice = said["choices"][0]
    scores: dict[str, float] = {}
    for position, token in enumerate((choice.get("logprobs") or {}).get("content") or []):
        for likely in (token, *(token.get("top_logprobs") or [])):
            scores[f"{position} {likely['token']}"] = float(likely["logprob"])
    return CanaryAnswer(choice["message"].get("content") or "", scores)


def _decision(base_url: str, model: str, picture: str) -> dict[str, float]:
    """`transformers serve` gives no log-probabilities with its answers, but says how likely each of some set ones is.

    Its endpoint is /v1/systemone (transformers/cli/serving/systemone.py).
    """
    question = {
        "type": "choice",
        "instructions": "Which object is meant?",
        "criteria": {"A": "a chair", "B": "a table", "C": "a lamp"},
    }
    body = {
        "model": model,
        "state": "picture-1 It stands beside <OBJ003>, 1.25 m from the window.",
        "questions": {"q": question},
        "assets": {"picture-1": {"data_base64": picture}},
    }
    status, said = exchange(f"{base_url}/systemone", body, timeout_s=_TIMEOUT_S)
    if status != 200 or not isinstance(said, dict):
        return {}
    likely = said.get("answers", {}).get("q", {}).get("probabilities", {})
    return {str(answer): math.log(max(share, 1e-300)) for answer, share in likely.items()}


def _picture() -> bytes:
    """Two numbered squares on grey, 224x224: a size that every family takes; PNG."""
    image = np.full((224, 224, 3), 190, np.uint8)
    for x, colour, number in ((24, (40, 40, 200), "12"), (128, (200, 120, 40), "3")):
        cv2.rectangle(image, (x, 72), (x + 72, 144), colour, -1)
        cv2.putText(image, number, (x + 12, 122), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (255, 255, 255), 3)
    return cv2.imencode(".png", image)[1].tobytes()


def _brief(said: Any) -> str:
    return " ".join(str(said).split())[:300]
