"""Answers on disk: what they are kept under, what is journalled, many writers at once, files that are no cache."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from bev.errors import UserError
from gpt4scene.prompting.conversation import Conversation, Image, Message, Text
from gpt4scene.vlm.cache import AnswerCache, default_cache_path, request_key
from gpt4scene.vlm.protocol import Reply, Request, Usage
from gpt4scene.vlm.replay import ReplayVLM

ROOT = Path(__file__).parents[1]
ANSWER = Reply("It is <OBJ012>.", "answered", "m-2026-01-01", Usage(900, 12, 800, 7))
REFUSAL = Reply("", "refused", "m-2026-01-01", Usage(900, 1), "the model declined")


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[AnswerCache]:
    with AnswerCache(tmp_path / "answers.sqlite") as opened:
        yield opened


@pytest.fixture
def model(tmp_path: Path) -> ReplayVLM:
    (tmp_path / "script.jsonl").write_text('{"reply": "Yes."}')
    return ReplayVLM("replay:script.jsonl", tmp_path / "script.jsonl")


def request(*images: Image, question: str = "What?") -> Request:
    return Request(Conversation((Message("system", (Text("Look."),)), Message("user", (*images, Text(question))))))


def rows(cache: AnswerCache, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(cache.path) as connection:
        return connection.execute(query).fetchall()


# what an answer is kept under


def test_the_key_is_of_the_bytes_of_images_wherever_they_lie(model: ReplayVLM, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"pixels")
    here, there = (request_key(model, request(Image(str(tmp_path / name)))) for name in ("a.jpg", "b.jpg"))
    in_memory = request_key(model, request(Image("c.jpg", data=b"pixels")))
    assert here == there == in_memory
    assert len(here) == 64 and int(here, 16)
    (tmp_path / "a.jpg").write_bytes(b"others")
    os.utime(tmp_path / "a.jpg", ns=(1, 1))
    assert request_key(model, request(Image(str(tmp_path / "a.jpg")))) != here


def test_the_key_changes_with_all_that_an_answer_depends_on(model: ReplayVLM, tmp_path: Path) -> None:
    image, other = Image("a.jpg", data=b"a"), Image("b.jpg", data=b"b")
    plain = request(image, other)
    said = plain.conversation
    schema = {"properties": {"a": {}, "b": {}}}
    turned = {"properties": {"b": {}, "a": {}}}
    text_first = Conversation((said.messages[0], Message("user", (image, Text("What?"), other))))
    requests = [
        plain,
        request(other, image),
        request(image),
        request(image, replace(other, detail="low")),
        request(image, other, question="What? "),
        Request(text_first),
        Request(Conversation(said.messages[1:])),
        Request(said.then("assistant", "A chair.").then("user", "What?")),
        replace(plain, max_new_tokens=8),
        replace(plain, temperature=0.0),
        replace(plain, temperature=0.5),
        replace(plain, json_schema=schema),
        replace(plain, json_schema=turned),
        replace(plain, repeat=1),
    ]
    keys = [request_key(model, one) for one in requests]
    (tmp_path / "other.jsonl").write_text('{"reply": "No."}')
    keys.append(request_key(ReplayVLM("replay:script.jsonl", tmp_path / "other.jsonl"), plain))
    assert len(set(keys)) == len(keys)


def test_the_key_does_not_change_with_how_the_same_is_written(model: ReplayVLM) -> None:
    plain = replace(request(), temperature=0.0, json_schema={"type": "object", "properties": {"a": {}}})
    nested = MappingProxyType({"type": "object", "properties": MappingProxyType({"a": {}})})
    assert request_key(model, plain) == request_key(model, replace(plain, temperature=0, json_schema=nested))


def test_the_key_is_the_same_in_every_process_and_version(model: ReplayVLM) -> None:
    model.identity = "openai https://api.openai.com/v1 m"
    asked = replace(
        request(Image("a.jpg", "low", b"a"), question="Wo ist der Stühl \ud83e?"), temperature=0.5, repeat=2
    )
    # a change here asks everybody's questions again: then raise the key's version
    assert request_key(model, asked) == "f01eeb71c7433608775e8d2a87c7858458f855a95ad7b9235869dbcc90a5ca63"


# what is kept


def test_an_answer_is_given_back_as_it_was(cache: AnswerCache) -> None:
    odd = replace(ANSWER, text="Half a pair \ud83e, a null \0, a line\u2028and \N{CHAIR}", why="half \ud83e")
    for key, reply in (("a", ANSWER), ("b", REFUSAL), ("c", odd), ("d", replace(ANSWER, usage=None))):
        cache.finished(key, reply, 0.25)
        assert cache.get(key) == reply
    cache.close()
    with AnswerCache(cache.path) as again:
        assert again.get("c") == odd
        assert again.get("e") is None


def test_failures_are_journalled_and_not_kept(cache: AnswerCache) -> None:
    attempt = cache.started("a", 0.5)
    cache.finished(
        "a", Reply("half an ans", "failed", "m", None, "the connection was cut \ud83e"), None, attempt=attempt
    )
    assert cache.get("a") is None
    assert rows(cache, "SELECT outcome, why FROM attempts") == [("failed", "the connection was cut \\ud83e")]
    assert cache.lost("a") == []
    assert cache.spent_usd(["a"]) == 0.5


def test_what_answered_once_stays_what_was_refused_gives_way(cache: AnswerCache) -> None:
    truncated = replace(ANSWER, text="It", outcome="truncated")
    for kept in (REFUSAL, truncated, ANSWER):
        cache.finished("a", kept, 0.1)
        assert cache.get("a") == kept
    for later in (REFUSAL, truncated, replace(ANSWER, text="Another."), replace(ANSWER, outcome="failed")):
        cache.finished("a", later, 0.1)
        assert cache.get("a") == ANSWER
    assert cache.spent_usd(["a"]) == pytest.approx(0.7)


def test_attempts_that_never_ended_are_told_until_one_ends(cache: AnswerCache) -> None:
    cache.started("a", 0.5)
    cache.started("b", 9.0)
    assert cache.lost("a") == [0.5]
    cache.started("a", None)
    assert cache.lost("a") == [0.5, None]
    last = cache.started("a", 0.125)
    cache.finished("a", ANSWER, 0.1, attempt=last)
    assert cache.lost("a") == []
    assert cache.lost("b") == [9.0]
    cache.started("a", 0.25)  # asked again with --retry-failed, and killed
    assert cache.lost("a") == [0.25]


def test_an_attempt_of_another_process_is_closed_by_its_key(cache: AnswerCache) -> None:
    cache.started("a", 0.5)
    with AnswerCache(cache.path) as collecting:
        collecting.finished("a", ANSWER, 0.25)
    assert cache.get("a") == ANSWER
    assert (cache.lost("a"), cache.spent_usd(["a", "never asked"])) == ([], 0.25)


def test_what_was_spent_is_known_only_if_all_of_it_is(cache: AnswerCache) -> None:
    cache.finished("a", ANSWER, 0.25, attempt=cache.started("a", 0.5))
    cache.started("a", 0.5)
    assert cache.spent_usd(["a"]) == 0.75
    cache.finished("b", ANSWER, None, attempt=cache.started("b", None))
    assert cache.spent_usd(["b"]) is None


def test_an_answer_and_the_end_of_its_attempt_are_written_together_or_not_at_all(cache: AnswerCache) -> None:
    with sqlite3.connect(cache.path) as connection:
        connection.execute(
            "CREATE TRIGGER fails BEFORE INSERT ON answers BEGIN SELECT RAISE(ABORT, 'it was killed here'); END"
        )
    attempt = cache.started("a", 0.5)
    with pytest.raises(sqlite3.IntegrityError):
        cache.finished("a", ANSWER, 0.25, attempt=attempt)
    assert (cache.get("a"), cache.lost("a")) == (None, [0.5])


def test_people_can_read_which_question_was_answered(cache: AnswerCache) -> None:
    cache.finished("a", ANSWER, 0.25, request=request(Image("a.jpg", data=b"a"), question="Where is the chair?"))
    query = "SELECT json_extract(request, '$.question'), json_array_length(request, '$.images') FROM answers"
    assert rows(cache, query) == [("Where is the chair?", 1)]


# many at once


def test_threads_share_a_cache(cache: AnswerCache) -> None:
    def work(worker: int) -> None:
        for i in range(40):
            key = f"{worker} {i}"
            cache.finished(key, replace(ANSWER, text=key), 0.5, attempt=cache.started(key, 1.0))
            assert cache.get(key) is not None

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [f"{worker} {i}" for worker in range(8) for i in range(40)]
    assert [reply and reply.text for reply in map(cache.get, keys)] == keys
    assert cache.spent_usd(keys) == 160


def _at_once(processes: int, code: str, *arguments: object) -> None:
    """Run code in several processes that know the cache, their number and the arguments, and start together."""
    ready = "import sys, time\nfrom gpt4scene.vlm.cache import AnswerCache\nfrom gpt4scene.vlm.protocol import Reply\n"
    command = [sys.executable, "-c", f"{ready}print(flush=True)\nsys.stdin.readline()\n{code}"]
    running = [
        subprocess.Popen(
            [*command, str(number), *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for number in range(processes)
    ]
    for process in running:
        assert process.stdout is not None
        process.stdout.readline()
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in running:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said


def test_processes_begin_a_new_cache_at_once(tmp_path: Path) -> None:
    code = (
        "for i in range(80):\n"
        "    time.sleep(max(0.0, float(sys.argv[3]) + i * 0.03 - time.time()))\n"
        "    AnswerCache(f'{sys.argv[2]}/{i}/answers.sqlite').close()\n"
    )
    _at_once(6, code, tmp_path, time.time() + 2)


def test_processes_write_at_once(tmp_path: Path) -> None:
    code = (
        "with AnswerCache(sys.argv[2]) as cache:\n"
        "    for i in range(100):\n"
        "        key = f'{sys.argv[1]} {i}'\n"
        "        cache.finished(key, Reply(key, 'answered', 'm'), 0.5, attempt=cache.started(key, 1.0))\n"
    )
    path = tmp_path / "answers.sqlite"
    _at_once(6, code, path)
    keys = [f"{number} {i}" for number in range(6) for i in range(100)]
    with AnswerCache(path) as cache:
        assert [reply and reply.text for reply in map(cache.get, keys)] == keys
        assert cache.spent_usd(keys) == 300


# the file


def test_only_its_owner_reads_a_new_cache(cache: AnswerCache) -> None:
    cache.started("a", None)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in cache.path.parent.glob("answers.sqlite*")}
    assert modes and set(modes.values()) == {0o600}


def _spoiled(path: Path, kind: str) -> None:
    if kind == "text":
        path.write_text("Dear diary, " * 100)
    elif kind == "folder":
        path.mkdir()
    elif kind == "below a file":
        path.parent.rmdir()
        path.parent.write_text("")
    elif kind == "damaged":
        with AnswerCache(path) as cache:
            for i in range(200):
                cache.finished(str(i), ANSWER, None)
        data = bytearray(path.read_bytes())
        data[100:4096] = os.urandom(3996)  # the schema's page, the file's header apart
        path.write_bytes(data)
    else:
        statement = {
            "another database": "CREATE TABLE shopping (item)",
            "another program": "PRAGMA application_id = 7",
            "later version": "PRAGMA user_version = 9",
        }[kind]
        if kind == "later version":
            AnswerCache(path).close()
        with sqlite3.connect(path) as connection:
            connection.execute(statement)
        connection.close()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("text", "is no cache of answers"),
        ("folder", "Is a directory"),
        ("below a file", "Not a directory|File exists"),
        ("damaged", "is damaged"),
        ("another database", "a database of something else"),
        ("another program", "a database of something else"),
        ("later version", "of version 9, this program reads 1"),
    ],
)
def test_a_file_that_is_no_cache_is_told_in_one_line_and_left_alone(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "folder" / "answers.sqlite"
    path.parent.mkdir()
    _spoiled(path, kind)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UserError, match=said) as told, AnswerCache(path) as cache:
        cache.get("a")
    assert str(path) in str(told.value) and "\n" not in str(told.value)
    if kind != "damaged":
        assert before == (path.read_bytes() if path.is_file() else None)


def test_a_file_that_may_only_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    AnswerCache(path).close()
    path.chmod(0o400)
    if os.access(path, os.W_OK):
        pytest.skip("this user may write everything")
    with pytest.raises(UserError, match="name another file with --cache or GPT4SCENE_CACHE"):
        AnswerCache(path)


def test_a_full_disk_is_told(cache: AnswerCache) -> None:
    # the limit of pages ends in the very error that a full disk does
    cache._connection.execute("PRAGMA max_page_count = 10")
    with pytest.raises(UserError, match="the disk is full"):
        for i in range(1000):
            cache.finished(str(i), ANSWER, None)


def test_a_cache_that_stays_locked_is_told(cache: AnswerCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt4scene.vlm.cache._BUSY_S", 0.05)
    held = "another process has held it"
    with AnswerCache(cache.path) as second, cache._writing(), pytest.raises(UserError, match=held):
        second.started("a", None)


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {}, "/me/.cache/gpt4scene/answers.sqlite"),
        ("linux", {"XDG_CACHE_HOME": "/fast"}, "/fast/gpt4scene/answers.sqlite"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/me/.cache/gpt4scene/answers.sqlite"),
        ("linux", {"XDG_CACHE_HOME": "/fast", "GPT4SCENE_CACHE": "mine.sqlite"}, "mine.sqlite"),
        ("darwin", {}, "/me/Library/Caches/gpt4scene/answers.sqlite"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/gpt4scene/answers.sqlite"),
        ("win32", {}, "/me/AppData/Local/gpt4scene/answers.sqlite"),
    ],
)
def test_where_answers_are_kept(
    platform: str, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GPT4SCENE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/me"))
    assert default_cache_path() == Path(expected)
