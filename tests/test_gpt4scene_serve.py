"""`gpt4scene serve`: the engines' commands flag by flag, adapters that cannot be served, and the life of the server."""

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from bev.errors import UserError
from gpt4scene.cli.serve import _run, serve
from gpt4scene.vlm.canary import CanaryAnswer, CanaryAnswers, compare
from gpt4scene.vlm.lora_folder import read_lora, vllm_rank
from gpt4scene.vlm.server_process import ServerProcess, check_port, exchange, free_port
from gpt4scene.vlm.serving import ServePlan, Server, choose_engine, plan_serving

ROOT = Path(__file__).parents[1]
KEYS = "base_model.model.model.language_model.layers.0.self_attn.q_proj"

FAKE_VLLM = """
import json, os, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
arguments = sys.argv[1:]
port = int(arguments[arguments.index("--port") + 1])
behaviour = os.environ.get("FAKE_VLLM", "")
print("INFO loading", flush=True)
if behaviour == "dies":
    sys.exit("torch.OutOfMemoryError: tried to allocate 12 GiB")
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("WORKER", worker.pid, flush=True)
class Handler(BaseHTTPRequestHandler):
    asked = 0
    def log_message(self, *_): pass
    def _say(self, status, said):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self._say(503 if behaviour == "never ready" else 200, {"data": []})
        if behaviour == "dies later":
            time.sleep(1)
            os._exit(3)
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/chat/completions"):
            return self._say(404, {})
        text = "<OBJ012>" if asked["model"].endswith("run") and behaviour != "same" else "A square."
        token = {"token": text, "logprob": -0.5, "top_logprobs": []}
        choice = {"message": {"content": text}, "logprobs": {"content": [token]}}
        self._say(200, {"choices": [choice]})
        Handler.asked += 1
        if behaviour == "ends after the canary" and Handler.asked == 6:
            os._exit(0)
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


def _base(folder: Path, *, width: int = 8, model_type: str = "qwen2_5_vl") -> Path:
    folder.mkdir(parents=True)
    config = {"model_type": model_type, "text_config": {"hidden_size": width, "max_position_embeddings": 128000}}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _lora(folder: Path, base: Path | str, *, r: int = 64, width: int = 8, keys: str = KEYS, **config: Any) -> Path:
    folder.mkdir(parents=True)
    said = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": r, "lora_alpha": 2 * r, **config}
    (folder / "adapter_config.json").write_text(json.dumps(said))
    header = {}
    for part, shape in (("lora_A", [r, width]), ("lora_B", [width, r])):
        header[f"{keys}.{part}.weight"] = {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}
    data = json.dumps(header).encode()
    (folder / "adapter_model.safetensors").write_bytes(len(data).to_bytes(8, "little") + data)
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return _base(tmp_path / "models" / "Qwen2.5-VL-7B-Instruct")


@pytest.fixture
def lora(tmp_path: Path, base: Path) -> Path:
    return _lora(tmp_path / "out" / "run", base)


@pytest.fixture
def fake_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An executable that stands for vLLM, first on PATH."""
    script = tmp_path / "bin" / "vllm"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\n{FAKE_VLLM}")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return script


def _flags(command: tuple[str, ...]) -> dict[str, str | bool]:
    """What follows each flag; True for those without a value."""
    found: dict[str, str | bool] = {}
    for at, word in enumerate(command):
        if word.startswith("--"):
            following = command[at + 1] if at + 1 < len(command) else "--"
            found[word] = True if following.startswith("--") else following
    return found


def test_the_command_of_vllm_flag_by_flag(base: Path, lora: Path) -> None:
    plan = plan_serving(f"{base}+{lora}", engine="vllm", port=8001, tensor_parallel=2, extra=["--max-num-seqs", "8"])
    command = plan.server.command
    assert command[1:3] == ("serve", str(base))
    assert _flags(command) == {
        "--served-model-name": "Qwen2.5-VL-7B-Instruct",
        "--host": "127.0.0.1",
        "--port": "8001",
        "--limit-mm-per-prompt": '{"image":33,"video":0}',
        "--max-model-len": "32768",
        "--tensor-parallel-size": "2",
        "--mm-encoder-tp-mode": "data",
        "--max-num-seqs": "8",
        "--enable-lora": True,
        "--lora-modules": f"qwen2_5_vl-run={lora}",
        "--max-lora-rank": "64",
    }
    assert plan.server.model == "qwen2_5_vl-run" and plan.server.base_url == "http://127.0.0.1:8001/v1"
    assert plan.plain is not None and plan.plain.model == "Qwen2.5-VL-7B-Instruct"
    assert shlex.split(plan.server.line) == ["HF_HUB_OFFLINE=1", *command]


def test_a_model_without_adapter_and_more_images(base: Path) -> None:
    plan = plan_serving(str(base), engine="vllm", images=100, dtype="bfloat16", name="tuned")
    flags = _flags(plan.server.command)
    assert (flags["--max-model-len"], flags["--dtype"]) == ("55296", "bfloat16")
    assert flags["--served-model-name"] == plan.server.model == "tuned"
    assert "--enable-lora" not in flags and "--mm-encoder-tp-mode" not in flags and plan.plain is None
    most = plan_serving(str(base), engine="vllm", images=1000)
    assert _flags(most.server.command)["--max-model-len"] == "128000"  # what the model was made for


@pytest.mark.parametrize(("rank", "flag"), [(1, 1), (4, 8), (16, 16), (64, 64), (96, 128), (300, 320)])
def test_the_rank_is_one_that_vllm_takes(tmp_path: Path, base: Path, rank: int, flag: int) -> None:
    assert vllm_rank(read_lora(_lora(tmp_path / "a", base, r=rank))) == flag


def test_the_rank_is_the_largest_of_the_patterns(tmp_path: Path, base: Path) -> None:
    lora = _lora(tmp_path / "a", base, rank_pattern={"o_proj": 128}, alpha_pattern={"o_proj": 256})
    plan = plan_serving(str(lora), engine="vllm")
    assert _flags(plan.server.command)["--max-lora-rank"] == "128"
    with pytest.raises(UserError, match="rank 1024, vLLM takes 512 at most"):
        plan_serving(str(_lora(tmp_path / "b", base, r=1024)), engine="vllm")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "is a DoRA"),
        ({"modules_to_save": ["lm_head"]}, "holds whole modules"),
        ({"bias": "all"}, "trains biases"),
        ({"init_lora_weights": "pissa_niter_4"}, "begun with 'pissa_niter_4'"),
        ({"rank_pattern": {"q_proj": 4}}, "scales model.language_model.layers.0.self_attn.q_proj otherwise"),
        ({"alpha_pattern": {"q_proj": 4}}, "otherwise than the rest"),
        ({"keys": "base_model.model.model.visual.blocks.0.attn.qkv"}, "2 of its 2 tensors are for the vision tower"),
    ],
)
def test_what_vllm_does_not_apply_is_refused(tmp_path: Path, base: Path, config: dict[str, Any], said: str) -> None:
    lora = _lora(tmp_path / "a", base, **config)
    with pytest.raises(UserError) as caught:
        plan_serving(str(lora), engine="vllm")
    assert said in str(caught.value) and "merge the adapter" in str(caught.value) and "\n" not in str(caught.value)


def test_tower_adapters_are_served_where_vllm_is_told_to(tmp_path: Path, base: Path) -> None:
    lora = _lora(tmp_path / "a", base, keys="base_model.model.model.visual.blocks.0.attn.qkv")
    plan = plan_serving(str(lora), engine="vllm", extra=["--enable-tower-connector-lora"])
    assert "--enable-tower-connector-lora" in plan.server.command


def test_names_that_vllm_may_pass_over_are_told_of(tmp_path: Path, base: Path, lora: Path) -> None:
    text = _lora(tmp_path / "a", base, keys="base_model.model.model.layers.0.self_attn.q_proj")
    (note,) = plan_serving(str(text), engine="vllm").notes
    assert "base_model.model.model.layers" in note
    assert plan_serving(str(lora), engine="vllm").notes == ()


def test_an_adapter_of_another_base_is_refused(tmp_path: Path, base: Path) -> None:
    other = _base(tmp_path / "models" / "other")
    lora = _lora(tmp_path / "a", other)
    with pytest.raises(UserError, match=r"was trained on .*other, not on .*add --any-base"):
        plan_serving(f"{base}+{lora}", engine="vllm")
    assert plan_serving(f"{base}+{lora}", engine="vllm", any_base=True).lora is not None
    wide = _lora(tmp_path / "b", base, width=16)
    with pytest.raises(UserError, match=r"is for a model 16 wide, .* is 8 wide"):
        plan_serving(f"{base}+{wide}", engine="vllm", any_base=True)


def test_a_base_of_the_same_name_elsewhere_is_the_same(tmp_path: Path, base: Path) -> None:
    lora = _lora(tmp_path / "a", "Qwen/Qwen2.5-VL-7B-Instruct")
    assert plan_serving(f"{base}+{lora}", engine="vllm").lora is not None


def _message(model: str, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        plan_serving(model, engine=options.pop("engine", "vllm"), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_missing_is_named(tmp_path: Path, base: Path, lora: Path) -> None:
    assert "no such folder" in _message(f"{base}+{tmp_path / 'none'}")
    assert "holds no adapter_config.json" in _message(f"{base}+{base}")
    assert f"did you mean {lora}?" in _message(f"{base}+{lora.parent}")
    assert "holds no config.json" in _message(str(tmp_path))
    assert "is an adapter itself" in _message(f"{lora}+{lora}")
    assert "add --download" in _message("Qwen/Qwen2.5-VL-7B-Instruct")
    gone = _lora(tmp_path / "gone", tmp_path / "moved")
    assert f"as in MODEL+{gone}" in _message(str(gone))
    assert "--name, --max-model-len and --tensor-parallel are vLLM's" in _message(
        str(base), engine="transformers", name="x"
    )
    (lora / "adapter_model.safetensors").write_bytes(b"\xff" * 40)
    assert "no whole safetensors file" in _message(str(lora))
    (lora / "adapter_config.json").write_text("{")
    assert "is no JSON" in _message(str(lora))


def test_the_hub_is_asked_only_when_allowed() -> None:
    plan = plan_serving("Qwen/Qwen2.5-VL-7B-Instruct", engine="vllm", download=True)
    assert plan.server.environment == {} and plan.server.model == "Qwen/Qwen2.5-VL-7B-Instruct"


def test_transformers_gets_a_folder_of_links(
    tmp_path: Path, base: Path, lora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    (base / "tokenizer.json").write_text("base's")
    (base / "processor_config.json").write_text("base's")
    (lora / "tokenizer.json").write_text("adapter's")
    (lora / "optimizer.pt").write_text("training's")
    plan = plan_serving(f"{base}+{lora}", engine="transformers", port=8002)
    joined = Path(plan.server.model)
    assert plan.server.command[1:] == ("serve", str(joined), "--host", "127.0.0.1", "--port", "8002")
    assert "qwen2_5_vl-run" in joined.name
    assert {path.name for path in joined.iterdir()} == {
        "config.json",
        "processor_config.json",
        "tokenizer.json",
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    assert (joined / "tokenizer.json").read_text() == "adapter's"
    assert plan.plain is not None and plan.plain.model == str(base)
    assert plan.plain.base_url != plan.server.base_url
    assert plan_serving(f"{base}+{lora}", engine="transformers").server.model == str(joined)


def test_a_merged_model_is_served_under_a_telling_name(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert plan_serving(str(base), engine="transformers").server.model == str(base)
    merged = _base(tmp_path / "merged", model_type="qwen3_vl")
    assert "qwen3_vl-merged" in plan_serving(str(merged), engine="transformers").server.model
    assert plan_serving(str(merged), engine="vllm").server.model == "qwen3_vl-merged"


def test_the_engine_is_chosen_by_what_is_there(fake_vllm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine() == "vllm"
    assert choose_engine("transformers") == "transformers"
    fake_vllm.unlink()
    assert choose_engine() == "transformers"
    with pytest.raises(UserError, match="vllm is not installed: run `pip install vllm`"):
        choose_engine("vllm")
    monkeypatch.setattr("gpt4scene.vlm.serving._can_transformers_serve", lambda: False)
    with pytest.raises(UserError, match=r"no engine is installed: .*gpt4scene\[serve\]"):
        choose_engine()


def test_print_only_runs_nothing(fake_vllm: Path, lora: Path, capsys: pytest.CaptureFixture[str]) -> None:
    serve(str(lora), print_only=True)
    printed = shlex.split(capsys.readouterr().out)
    assert printed[:3] == ["HF_HUB_OFFLINE=1", str(fake_vllm), "serve"]


def _answers(
    model: str, *texts: tuple[str, str], score: tuple[float, float] | None = None, share: float | None = None
) -> CanaryAnswers:
    scores: list[Mapping[str, float]] = [{"0 x": s} for s in score] if score else [{}, {}]
    answers = tuple(tuple(CanaryAnswer(t, s) for t, s in zip(pair, scores, strict=True)) for pair in texts)
    return CanaryAnswers(model, answers, ({"A": share},) * 2 if share is not None else ())


SAME = (("a", "a"), ("b", "b"), ("c", "c"))


@pytest.mark.parametrize(
    ("base", "tuned", "outcome"),
    [
        (_answers("b", *SAME), _answers("t", ("x", "x"), *SAME[1:]), "active"),
        (_answers("b", *SAME), _answers("t", *SAME), "same as base"),
        # a text that the base itself does not repeat shows nothing
        (_answers("b", ("a", "x"), *SAME[1:]), _answers("t", ("x", "x"), *SAME[1:]), "cannot be told"),
        (_answers("b", *SAME, score=(-1, -1)), _answers("t", *SAME, score=(-1, -1)), "same as base"),
        (_answers("b", *SAME, score=(-1, -1)), _answers("t", *SAME, score=(-1.5, -1.5)), "active"),
        # what rounding does: little, or no more than between two answers of one model
        (_answers("b", *SAME, score=(-1, -1)), _answers("t", *SAME, score=(-1.001, -1.001)), "cannot be told"),
        (_answers("b", *SAME, score=(-1, -1.4)), _answers("t", *SAME, score=(-1.5, -1)), "cannot be told"),
        # the second answers come from a kept prefix and are rounded otherwise, in both models alike
        (_answers("b", *SAME, score=(-1, -1.4)), _answers("t", *SAME, score=(-1, -1.4)), "same as base"),
        (_answers("b", *SAME, share=-1.0), _answers("t", *SAME, share=-1.00001), "active"),
        (_answers("b", *SAME, share=-1.0), _answers("t", *SAME, share=-1.0), "same as base"),
    ],
)
def test_the_canary_judges(base: CanaryAnswers, tuned: CanaryAnswers, outcome: str) -> None:
    assert compare(base, tuned).outcome == outcome


class _Run:
    """`gpt4scene serve` as a process of its own, as a user has it."""

    def __init__(self, *arguments: str, behaviour: str = "") -> None:
        program = textwrap.dedent(
            """
            import sys, tyro
            from bev.errors import UserError
            from gpt4scene.cli.serve import serve
            try:
                tyro.cli(serve)
            except UserError as error:
                sys.exit(f"UserError: {error}")
            """
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "FAKE_VLLM": behaviour},
        )
        self.out, self.family = "", []

    def until_ready(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.out += line
            if "gpt4scene ask" in line:
                break
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        assert not psutil.wait_procs(self.family, timeout=20)[1], "something was left behind"
        return self.process.returncode, self.out + out, err


def test_it_serves_proves_the_adapter_and_ends_with_ctrl_c(fake_vllm: Path, lora: Path) -> None:
    run = _Run(str(lora), "--port", "0")
    run.until_ready()
    assert len(run.family) >= 2  # the server and its worker
    run.process.send_signal(signal.SIGINT)
    code, out, err = run.ended()
    assert code == 0
    assert "--lora-modules" in out.splitlines()[0]
    assert "INFO loading" in err  # passed through
    assert "the adapter is active: 3 of 3 answers differ" in err
    port = _flags(tuple(shlex.split(out.splitlines()[0])))["--port"]
    assert out.splitlines()[-1] == (
        f'  gpt4scene ask SCENE "QUESTION" --model openai:qwen2_5_vl-run@http://127.0.0.1:{port}/v1'
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_server_too(fake_vllm: Path, lora: Path, number: signal.Signals) -> None:
    run = _Run(str(lora), "--port", "0")
    run.until_ready()
    run.process.send_signal(number)
    assert run.ended()[0] == 128 + number


def test_a_kill_ends_the_server_too(fake_vllm: Path, lora: Path) -> None:
    """The kernel ends the server; what that started is its own to end, and this one ends nothing."""
    if sys.platform != "linux":
        pytest.skip("only Linux ends a process with its parent")
    run = _Run(str(lora), "--port", "0")
    run.until_ready()
    server = next(p for p in run.family if "--lora-modules" in p.cmdline())
    workers = [p for p in run.family if p != server]
    run.process.kill()
    try:
        assert not psutil.wait_procs([server], timeout=20)[1]
    finally:
        for worker in workers:
            worker.kill()
    run.process.communicate(timeout=20)


def test_an_adapter_that_changes_nothing_is_an_error(fake_vllm: Path, lora: Path) -> None:
    code, out, err = _Run(str(lora), "--port", "0", behaviour="same").ended()
    assert code == 1 and "ready" not in out
    assert "the adapter is not active" in err and "merge it into its base" in err
    assert "base_model.model.model.language_model.layers" in err
    run = _Run(str(lora), "--port", "0", "--no-canary", behaviour="same")
    run.until_ready()
    run.process.send_signal(signal.SIGINT)
    assert run.ended()[0] == 0


def test_a_base_that_needs_a_server_of_its_own_is_asked_before(
    fake_vllm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def server(model: str) -> Server:
        port = free_port()
        command = (str(fake_vllm), "serve", model, "--port", str(port))
        return Server(command, f"http://127.0.0.1:{port}/v1", model, {"FAKE_VLLM": "ends after the canary"})

    _run(ServePlan("vllm", server("run"), server("base"), None, ()), canary=True, timeout_s=30.0)
    out, err = capsys.readouterr()
    assert "--model openai:run@" in out
    first, second = err.split("INFO loading")[1:]
    assert "the adapter is active: 3 of 3 answers differ from those of base" in second and "active" not in first


def test_an_early_death_is_told_with_its_last_words(fake_vllm: Path, lora: Path) -> None:
    code, _, err = _Run(str(lora), "--port", "0", behaviour="dies").ended()
    assert code == 1
    assert err.splitlines()[-1] == (
        "UserError: the server ended with code 1 before it was ready; it last said: "
        "INFO loading | torch.OutOfMemoryError: tried to allocate 12 GiB"
    )


def test_a_death_while_serving_is_an_error(fake_vllm: Path, lora: Path) -> None:
    run = _Run(str(lora), "--port", "0", "--no-canary", behaviour="dies later")
    run.until_ready()
    code, _, err = run.ended()
    assert code == 1 and "ended with code 3 while it was serving" in err


def test_a_server_that_is_never_ready_is_given_up(fake_vllm: Path, lora: Path) -> None:
    code, _, err = _Run(str(lora), "--port", "0", "--timeout-s", "1", behaviour="never ready").ended()
    assert code == 1 and "was not ready after 1 s (" in err and "answered status 503" in err


def test_a_taken_port_is_told_before_anything_starts() -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(UserError, match="give another --port"):
            check_port("127.0.0.1", other.getsockname()[1])


def test_a_server_that_ignores_the_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt4scene.vlm.server_process._END_S", 0.5)
    port = free_port()
    stubborn = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    said: list[bytes] = []
    with ServerProcess(
        [sys.executable, "-c", stubborn + "time.sleep(600)"], base_url=f"http://127.0.0.1:{port}/v1", echo=said.append
    ) as server:
        process = psutil.Process(server.pid)
        end = time.monotonic() + 20
        while not said and time.monotonic() < end:
            time.sleep(0.02)
    assert said and not process.is_running()


def test_no_proxy_stands_between(fake_vllm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    assert exchange(f"{url}/models", timeout_s=2.0) == (0, None)
    with ServerProcess([str(fake_vllm), "serve", "--port", str(port)], base_url=url) as server:
        server.wait_until_ready(30.0)
        assert exchange(f"{url}/models", timeout_s=5.0) == (200, {"data": []})
