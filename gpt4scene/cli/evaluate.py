"""`gpt4scene eval`: models on a benchmark, in one table."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from bev.errors import UserError
from gpt4scene.cli.ask import check_numbers


def evaluate(
    benchmark: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="BENCHMARK")],
    /,
    *,
    root: Path,
    model: Annotated[tyro.conf.UseAppendAction[tuple[str, ...]], tyro.conf.arg(aliases=["-m"])],
    scenes: Path | None = None,
    split: str | None = None,
    protocol: tyro.conf.UseAppendAction[tuple[str, ...]] = (),
    limit: int | None = None,
    seed: int = 0,
    skip_missing_scenes: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    scans: Path | None = None,
    attributes: tuple[Path, Path] | None = None,
    prompts: Literal["ours", "official"] = "ours",
    judge: str | None = None,
    preset: Literal["default", "paper", "paper-32"] = "default",
    bev: bool = True,
    marks: bool = True,
    drop_marks: float = 0.0,
    drop_seed: int = 0,
    frame_detail: Literal["auto", "low", "high"] = "auto",
    max_new_tokens: int = 512,
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None,
    batch: Path | None = None,
    dry_run: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    max_cost: float | None = None,
    cache: Path | None = None,
    retry_failed: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    in_flight: int | None = None,
    timeout_s: float | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> None:
    """Ask models the questions of a benchmark, score their answers, and put them beside each other.

    All models get the same questions, in the same words, about the same images. What was answered once is not asked
    and not paid again, so an interrupted run goes on where it was. What it will cost is told before anything is sent.

    The exit code is 0 only if every question that could be asked brought a reply, be that a refusal, and all is
    scored: 1 says that some never came, or that --max-cost or a batch under way left some out.

    Args:
        benchmark: scanqa, sqa3d, scan2cap, scanrefer, multi3drefer, vsibench, vstibench, sparbench, mmsi, cvbench,
            blink or openeqa.
        root: the folder of the benchmark's own files.
        model: openai:MODEL[@BASE_URL], anthropic:MODEL, local:PATH_OR_ID[+ADAPTER] or replay:FILE; once for each.
        scenes: holds a scene folder of `gpt4scene prepare` for each scene, by its name; of no use to benchmarks that
            bring their own images.
        split: the one that most papers report when left out.
        protocol: way of scoring; the one that most papers report when left out; once for each.
        limit: ask only so many questions, spread over the types of question.
        seed: which ones; a smaller limit asks some of those that a larger one does.
        skip_missing_scenes: leave out the questions about scenes that are not there, rather than ask none at all.
        scans: ScanNet's folders of scans, with their annotation: true boxes, for grounding and captions.
        attributes: or two attribute files of GPT4Scene: of the true objects and of the proposed ones that the scenes
            were prepared with.
        prompts: in whose words a question is put: ours, or those of the benchmark's own code. What the images are is
            told in ours.
        judge: the model that compares answers with the truth, for openeqa; named as --model is.
        preset: which frames in which layout; "paper" is 8 frames in a grid, "paper-32" 32 frames.
        bev: show the bird's-eye view.
        marks: draw the objects' numbers.
        drop_marks: share of the objects that lose their number, 0 to 1.
        drop_seed: which of them.
        frame_detail: how closely a hosted model looks at frames; at the bird's-eye view it looks closely.
        max_new_tokens: at most so many tokens of an answer.
        out: the folder for results and report; eval/BENCHMARK-SPLIT when left out.
        batch: a folder: the questions go to the provider's batches, at half the price and within a day; the same
            command again takes what has come, until all is there.
        dry_run: print tokens and money, and send nothing; needs no key.
        max_cost: send nothing that might lead beyond so many US dollars, all models together.
        cache: the file that keeps the answers; the user's own when left out.
        retry_failed: ask again what was refused or cut short before.
        in_flight: how many questions are under way at once; hosted models.
        timeout_s: how long to wait for an answer, seconds; hosted models.
        device: cuda or cpu; local models.
        dtype: bfloat16 or float32; local models.
    """
    check_numbers(max_new_tokens, None, max_cost)
    _check_models(model)
    if judge is not None and benchmark != "openeqa":
        raise UserError(f"--judge {judge}: only openeqa is judged by a model; leave it out")
    if judge is None and benchmark == "openeqa":
        raise UserError("OpenEQA's answers are marked by a language model: name one with --judge MODEL")
    from gpt4scene.asking import Showing
    from gpt4scene.cli.evaluating import evaluate_models
    from gpt4scene.cli.evaluation_plan import Evaluating
    from gpt4scene.evaluation.evaluation import official_words, open_split, with_scenes
    from gpt4scene.evaluation.requests import Wording

    opened = open_split(benchmark, root, split=split, protocols=protocol)
    evaluation = with_scenes(opened, scenes, limit=limit, seed=seed, skip_missing_scenes=skip_missing_scenes)
    wording = Wording(
        Showing(preset, bev, marks, drop_marks, drop_seed, frame_detail),
        max_new_tokens,
        official_words(evaluation) if prompts == "official" else None,
    )
    run = Evaluating(
        evaluation=evaluation,
        wording=wording,
        models=model,
        settings={"in_flight": in_flight, "timeout_s": timeout_s, "device": device, "dtype": dtype},
        out=out or Path("eval") / f"{benchmark}-{evaluation.split}",
        cache=cache,
        scans=scans,
        attributes=attributes,
        judge=judge,
        batch=batch,
        max_cost_usd=max_cost,
        retry_failed=retry_failed,
    )
    evaluate_models(run, dry_run=dry_run)


def _check_models(models: tuple[str, ...]) -> None:
    if not models:
        raise UserError("no model is named; give one or more, as in --model openai:gpt-4o --model local:FOLDER")
    twice = next((name for name in models if models.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"--model {twice}: is named twice; name each model once")
