"""Speed of scoring VSI-Bench: 5,130 made-up answers by each protocol; run by `make bench`."""

import random
import time

from gpt4scene.benchmarks import vsibench
from gpt4scene.benchmarks.sample import BenchmarkSample, Prediction

ANSWERS = 5130
BAR_S = 1.0
TYPES = (*vsibench.NUMERIC_TASKS, *vsibench.CHOICE_TYPES)


def made_up(number: int, draw: random.Random) -> tuple[BenchmarkSample, Prediction]:
    kind = TYPES[number % len(TYPES)]
    is_number = kind in vsibench.NUMERIC_TASKS
    truth = str(round(draw.uniform(0.3, 40), 1)) if is_number else draw.choice("ABCD")
    row = {
        "id": number,
        "dataset": "scannet",
        "scene_name": f"scene{number % 288:04}_00",
        "question_type": kind,
        "question": "What is it?",
        "options": None if is_number else ["A. a bed", "B. a chair", "C. a sofa", "D. a lamp"],
        "ground_truth": truth,
    }
    said = f"about {truth} metres" if draw.random() < 0.2 else truth if draw.random() < 0.5 else draw.choice("ABCD3456")
    return vsibench.sample_of(row, f"row {number}"), Prediction(said)


def main() -> None:
    draw = random.Random(0)
    pairs = [made_up(number, draw) for number in range(ANSWERS)]
    samples = [sample for sample, _ in pairs]
    answers = {sample.id: prediction for sample, prediction in pairs}
    print(f"{'VSI-Bench, answers scored':<34} {'seconds':>8} {'bar':>6} {'overall':>8}")
    for protocol in vsibench.PROTOCOLS:
        start = time.perf_counter()
        report = vsibench.score(samples, answers, protocol=protocol)
        seconds = time.perf_counter() - start
        overall = report.value("Overall")
        print(f"{f'{ANSWERS:,} by {protocol}':<34} {seconds:>8.3f} {BAR_S:>6.1f} {overall:>8.2f}")
        assert seconds <= BAR_S, f"{protocol} took {seconds:.2f} s"


if __name__ == "__main__":
    main()
