"""What tokens cost: which row holds for which name and server, a user's own list, and sums."""

import json
import re
from datetime import date
from pathlib import Path

import pytest

from bev.errors import UserError
from gpt4scene.vlm.price_tables import ANTHROPIC, GOOGLE, OPENAI
from gpt4scene.vlm.prices import age_warning, cost_usd, price_of
from gpt4scene.vlm.protocol import Price, Usage

_GEMINI = "https://generativelanguage.googleapis.com/v1beta/openai/"


@pytest.fixture(autouse=True)
def _no_list_of_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GPT4SCENE_PRICES", raising=False)


@pytest.mark.parametrize(
    ("provider", "model", "row"),
    [
        ("openai", "gpt-4o", "gpt-4o"),
        ("openai", "gpt-4o-2024-08-06", "gpt-4o"),
        ("openai", "gpt-4o-2024-05-13", "gpt-4o-2024-05-13"),
        ("openai", "gpt-4o-mini", "gpt-4o-mini"),
        ("openai", "gpt-4o-mini-2024-07-18", "gpt-4o-mini"),
        ("openai", "gpt-4.1-2025-04-14", "gpt-4.1"),
        ("openai", "gpt-5-chat-latest", "gpt-5"),
        ("openai", "gpt-4.5-preview-2025-02-27", "gpt-4.5"),
        ("openai", "GPT-6.1-Sol", "gpt-6.1-sol"),
        ("anthropic", "claude-sonnet-4-20250514", "claude-sonnet-4"),
        ("anthropic", "claude-sonnet-4-5-20250929", "claude-sonnet-4-5"),
        ("anthropic", "claude-3-5-sonnet-latest", "claude-3-5-sonnet"),
        ("anthropic", "claude-opus-4-1@20250805", "claude-opus-4-1"),
    ],
)
def test_a_dated_name_is_found_under_its_model(provider: str, model: str, row: str) -> None:
    table = {"openai": OPENAI, "anthropic": ANTHROPIC}[provider]
    assert price_of(provider, model) == table[row][0].price


@pytest.mark.parametrize(
    "model", ["gpt-4o-audio-preview", "gpt-4", "gpt-99", "ft:gpt-4o-2024-08-06:me::1", "o1-mini", "claude-opus-4-9", ""]
)
def test_what_is_not_in_the_list_has_no_price(model: str) -> None:
    assert price_of("openai", model) is None
    assert price_of("anthropic", model) is None


def test_a_model_of_one_provider_is_not_priced_at_another_s() -> None:
    assert price_of("anthropic", "gpt-4o") is None
    assert price_of("openai", "claude-opus-5") is None


@pytest.mark.parametrize(
    "base_url",
    [
        "http://127.0.0.1:8000/v1",
        "http://localhost:11434/v1",
        "http://[::1]:8000/v1",
        "http://192.168.1.20:8000/v1",
        "http://10.0.0.5/v1",
        "http://gpu-box:8000/v1",
        "https://gpu.lan/v1",
    ],
)
def test_a_server_of_one_s_own_charges_nothing(base_url: str) -> None:
    price = price_of("openai", "gpt-4o", base_url)
    assert price is not None
    assert cost_usd(Usage(10**6, 10**6), price) == 0
    assert age_warning(price, today=date(2040, 1, 1)) is None


def test_the_server_decides_whose_prices_hold() -> None:
    assert price_of("openai", "gpt-4o", "https://api.openai.com/v1") == price_of("openai", "gpt-4o")
    assert price_of("openai", "gpt-4o", "https://mine.openai.azure.com/openai/v1") == price_of("openai", "gpt-4o")
    assert price_of("openai", "gemini-2.5-flash", _GEMINI) == GOOGLE["gemini-2.5-flash"][0].price
    assert price_of("openai", "models/gemini-2.5-flash-lite-001", _GEMINI) == GOOGLE["gemini-2.5-flash-lite"][0].price
    assert price_of("openai", "gpt-4o", "https://openrouter.ai/api/v1") is None
    assert price_of("openai", "gpt-4o", "https://notopenai.com/v1") is None
    assert price_of("openai", "gpt-4o", "https://8.8.8.8/v1") is None


def test_an_announced_price_holds_from_its_day_on() -> None:
    def argon(day: str) -> float:
        price = price_of("openai", "gemini-4-argon", _GEMINI, today=date.fromisoformat(day))
        assert price is not None
        return price.input

    assert (argon("2026-11-30"), argon("2026-12-01"), argon("2027-05-05")) == (2, 4, 4)


def test_every_row_is_sound() -> None:
    for name, rows in (OPENAI | ANTHROPIC | GOOGLE).items():
        assert re.fullmatch(r"[a-z0-9.-]+", name)
        assert rows[0].since == "" and [row.since for row in rows] == sorted({row.since for row in rows})
        for row in rows:
            price = row.price
            date.fromisoformat(price.as_of)
            assert 0 < price.cached_input <= price.input <= price.cache_write < price.output, name
            assert price.over is None or price.over[1].input > price.input


def test_cached_and_written_tokens_cost_their_own_price() -> None:
    price = Price(input=4.0, output=20.0, cached_input=0.4, cache_write=5.0, as_of="2026-11-20")
    usage = Usage(input_tokens=1000, output_tokens=100, cached_input_tokens=600, cache_write_tokens=300)
    expected = (100 * 4 + 600 * 0.4 + 300 * 5 + 100 * 20) / 1e6
    assert cost_usd(usage, price) == pytest.approx(expected)
    assert cost_usd(usage, price, batch=True) == pytest.approx(expected / 2)


def test_a_long_request_costs_what_long_requests_cost() -> None:
    price = price_of("anthropic", "claude-haiku-5-5")
    assert price is not None
    assert cost_usd(Usage(100_000, 0), price) == pytest.approx(0.01)
    assert cost_usd(Usage(100_001, 1000), price) == pytest.approx(0.0500005 + 0.0025)
    assert price.at(100_000) is price


def test_an_old_list_is_told_of() -> None:
    price = price_of("openai", "gpt-4o")
    assert price is not None and price.as_of == "2026-10-09"
    assert age_warning(price, today=date(2027, 4, 8)) is None
    said = age_warning(price, today=date(2027, 4, 9))
    assert said is not None and "2026-10-09" in said and "6 months" in said and "\n" not in said
    assert age_warning(price, today=date(2027, 4, 9), months=12) is None


def _list(folder: Path, document: object) -> Path:
    path = folder / "prices.json"
    path.write_text(json.dumps(document) if not isinstance(document, str) else document, encoding="utf-8")
    return path


def test_a_user_s_own_list_goes_before_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _list(
        tmp_path,
        {
            "as_of": "2026-11-20",
            "prices": {
                "openai": {"gpt-4o": {"input": 1, "output": 2, "cached_input": 0.5}},
                "openrouter.ai": {"gpt-4o": {"input": 3, "output": 4}},
                "gpu-box:8000": {"tuned": {"input": 0.1, "output": 0.2}},
            },
        },
    )
    expected = Price(1.0, 2.0, 0.5, 1.0, "2026-11-20")
    assert price_of("openai", "gpt-4o-2024-08-06", prices_file=path) == expected
    assert price_of("openai", "gpt-4o", "https://api.openai.com/v1", path) == expected
    assert price_of("openai", "gpt-4o", "https://openrouter.ai/api/v1", path) == Price(3, 4, 3, 3, "2026-11-20")
    own = price_of("openai", "tuned", "http://gpu-box:8000/v1", path)
    assert own is not None and own.input == 0.1
    free = price_of("openai", "gpt-4o", "http://gpu-box:9000/v1", path)
    assert free is not None and free.input == 0  # nor is the provider's own price taken for another server's
    assert price_of("openai", "gpt-4.1", prices_file=path) == OPENAI["gpt-4.1"][0].price
    monkeypatch.setenv("GPT4SCENE_PRICES", str(path))
    assert price_of("openai", "gpt-4o") == expected
    _list(tmp_path, {"as_of": "2026-11-21", "prices": {}})
    assert price_of("openai", "gpt-4o") == OPENAI["gpt-4o"][0].price


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "is no JSON"),
        ([], 'holds no "prices"'),
        ({"prices": {}}, "\"as_of\" is ''"),
        ({"as_of": "last week", "prices": {}}, "'last week'"),
        ({"as_of": "2026-11-20", "prices": {}, "price": {}}, "'price' is no field"),
        ({"as_of": "2026-11-20", "prices": {"openai": []}}, "prices of 'openai'"),
        ({"as_of": "2026-11-20", "prices": {"openai": {"m": 3}}}, "openai, m is 3"),
        ({"as_of": "2026-11-20", "prices": {"openai": {"m": {"input": 1}}}}, "openai, m lacks 'output'"),
        ({"as_of": "2026-11-20", "prices": {"openai": {"m": {"input": -1, "output": 1}}}}, "input is -1"),
        ({"as_of": "2026-11-20", "prices": {"openai": {"m": {"input": "1", "output": 1}}}}, "input is '1'"),
        ({"as_of": "2026-11-20", "prices": {"openai": {"m": {"input": True, "output": 1}}}}, "input is True"),
        ({"as_of": "2026-11-20", "prices": {"openai": {"m": {"inputs": 1, "output": 1}}}}, "a field 'inputs'"),
    ],
)
def test_what_is_wrong_in_a_list_is_told_in_a_line(tmp_path: Path, document: object, said: str) -> None:
    path = _list(tmp_path, document)
    with pytest.raises(UserError) as caught:
        price_of("openai", "m", prices_file=path)
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_list_that_is_not_there_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no price list can be read there"):
        price_of("openai", "gpt-4o", prices_file=tmp_path / "nothing.json")
