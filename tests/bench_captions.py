"""Speed of the caption metrics, and how often their tokenizer agrees with Stanford's: a table; run by `make bench`.

The tokenizer is held against the Java program on three kinds of invented text; each text on which the two differ is
listed. Without Java that part is left out.
"""

import random
import resource
import time

from caption_texts import captions, mixtures, noise

from bev.errors import UserError
from gpt4scene.metrics.captions import caption_metrics
from gpt4scene.metrics.ptb_tokenizer import ptb_tokenize, ptb_tokenize_by_java

COUNT, REFERENCES = 10_000, 5
SEED = 20_250_101


def cpu_s() -> float:
    """Of this process and those it has started, in user and system mode."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def scored() -> list[tuple[str, str, str]]:
    """The metrics of captions whose references are like them, as those of one object are."""
    drawn = random.Random(SEED)
    sentences = captions(SEED, 2 * COUNT * REFERENCES)
    texts = [f"{first} {second}" for first, second in zip(sentences[::2], sentences[1::2], strict=True)]
    references = [texts[i * REFERENCES : (i + 1) * REFERENCES] for i in range(COUNT)]
    candidates = [" ".join(word for word in drawn.choice(own).split(" ") if drawn.random() < 0.8) for own in references]
    words = sum(len(text.split()) for own in references for text in own) / (COUNT * REFERENCES)
    start, start_cpu = time.perf_counter(), cpu_s()
    found = caption_metrics(candidates, references, meteor=False)
    cpu, wall = cpu_s() - start_cpu, time.perf_counter() - start
    start_cpu = cpu_s()
    ptb_tokenize(text for own in [candidates, *references] for text in own)
    alone = cpu_s() - start_cpu
    values = ", ".join(f"{metric.name} {metric.value:.1f}" for metric in found.metrics)
    return [
        (f"{COUNT:,} captions x {REFERENCES} references of {words:.0f} words: CPU", f"{cpu:.1f} s", "<= 40 s"),
        ("  wall", f"{wall:.1f} s", ""),
        ("  of that the tokenizer", f"{alone:.1f} s", ""),
        (f"  {values}", "", ""),
    ]


def agreement() -> list[tuple[str, str, str]]:
    rows = []
    for kind, bar in ((captions, ">= 99.9 %"), (mixtures, ""), (noise, "")):
        texts = kind(SEED + 1, COUNT)
        pairs = zip(texts, ptb_tokenize(texts), ptb_tokenize_by_java(texts), strict=True)
        differing = [(text, ours, theirs) for text, ours, theirs in pairs if ours != theirs]
        for text, ours, theirs in differing:
            print(f"differs: {text!r}: {ours!r}, the Java program {theirs!r}")
        rows.append((f"tokenizer, {COUNT:,} {kind.__name__}: equal", f"{1 - len(differing) / COUNT:.2%}", bar))
    return rows


def main() -> None:
    rows = scored()
    try:
        rows += agreement()
    except UserError as error:
        print(f"the tokenizer was not compared: {error}")
    for name, figure, bar in rows:
        print(f"{name:<75} {figure:>14}   {bar}")


if __name__ == "__main__":
    main()
