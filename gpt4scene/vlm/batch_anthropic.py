"""Anthropic's batch API: all requests go in one body, and the results are a stream of lines.

Source: platform.claude.com/docs/en/build-with-claude/batch-processing and the reference of POST /v1/messages/batches
(read November 2026): at most 100,000 requests and 256 MB (the reference: 10,000), 24 hours, half the price. A batch
carries no label, and what is in it shows only when it has ended: of a submission whose confirmation was lost, that
is when it can be known.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gpt4scene.vlm.batch_shards import BatchAPI, Found, Progress, Shard
from gpt4scene.vlm.hosted import one_line
from gpt4scene.vlm.protocol import Reply, Usage

_CLOCKS = timedelta(hours=1)
"""How far this machine's clock may be from the provider's."""
_WHY = {"canceled": "the batch was cancelled before this request's turn", "expired": "no answer within 24 hours"}


class AnthropicBatches(BatchAPI):
    """Batches of a model of Anthropic's."""

    most_requests = 10_000
    most_bytes = 240_000_000
    frame = (b'{"requests": [', b",\n", b"]}")

    def line(self, key: str, body: Mapping[str, Any]) -> bytes:
        return json.dumps({"custom_id": key, "params": body}, allow_nan=False).encode()

    def upload(self, path: Path, shard: Shard) -> str:
        return ""

    def create(self, path: Path, shard: Shard) -> str:
        once = self._client.with_options(max_retries=0)
        headers = {"content-type": "application/json", "content-length": str(shard.size)}
        with path.open("rb") as file:  # sent as it is read: the SDK's own method would hold all of it
            made = once.post("/v1/messages/batches", cast_to=object, content=file, options={"headers": headers})
        return made["id"]

    def find(self, shard: Shard, others: frozenset[str]) -> Found:
        earliest = datetime.fromisoformat(shard.sent_at) - _CLOCKS
        unsure = Found()
        for batch in self._client.messages.batches.list(limit=100):  # the newest first
            if batch.created_at.astimezone(UTC) < earliest:
                break
            counts = batch.request_counts
            total = counts.processing + counts.succeeded + counts.errored + counts.canceled + counts.expired
            if batch.id in others or total != len(shard.keys):
                continue
            if batch.processing_status != "ended":
                unsure = Found(unsure=f"{batch.id}, begun at {batch.created_at:%H:%M}, may be it: known when that ends")
            elif batch.results_url and self._holds(batch.id, shard):
                return Found(batch.id)
        return unsure

    def look(self, shard: Shard) -> Progress:
        batch = self._client.messages.batches.retrieve(shard.batch)
        counts = batch.request_counts
        said = f"{batch.processing_status}, {counts.succeeded} of {len(shard.keys)} answered"
        for name in ("errored", "canceled", "expired"):
            if count := getattr(counts, name):
                said += f", {count} {name}"
        return Progress(said, batch.processing_status == "ended", (batch.id,) if batch.results_url else ())

    def download(self, shard: Shard, path: Path) -> None:
        with path.open("wb") as file:
            for output in shard.outputs:
                with self._client.messages.batches.with_streaming_response.results(output) as response:
                    for piece in response.iter_bytes():
                        file.write(piece)

    def result(self, line: Mapping[str, Any]) -> tuple[str, Reply]:
        result = line.get("result") or {}
        kind = result.get("type")
        if kind == "succeeded":
            return line["custom_id"], self._model.read(result.get("message") or {})
        error = result.get("error") or {}
        error = error.get("error") or error
        said = _WHY.get(str(kind)) or one_line(error.get("message") or error.get("type") or "no reason given")
        outcome = "refused" if "content filtering policy" in said else "failed"
        return line["custom_id"], Reply("", outcome, self._model.model, Usage(0, 0), said)

    def _holds(self, batch: str, shard: Shard) -> bool:
        """Whether an ended batch is that part: by the first of its results."""
        first = next(iter(self._client.messages.batches.results(batch)), None)
        return first is not None and first.custom_id in shard.keys
