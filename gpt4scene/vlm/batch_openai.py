"""OpenAI's batch API: a file of requests is uploaded, a batch made of it, and its results are files again.

Source: developers.openai.com/api/docs/guides/batch and the reference of POST /v1/batches (read November 2026): at most
50,000 requests and 200 MB in a file, 24 hours, half the price, metadata of 16 pairs.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from gpt4scene.vlm.batch_shards import BatchAPI, Found, Progress, Shard
from gpt4scene.vlm.hosted import one_line
from gpt4scene.vlm.openai_chat import REFUSALS
from gpt4scene.vlm.protocol import Reply, Usage

_LABEL = "gpt4scene"
"""The field of a batch's metadata that holds a part's label."""
_CLOCKS_S = 3600
"""How far this machine's clock may be from the provider's."""
_ENDED = ("completed", "failed", "expired", "cancelled")


class OpenAIBatches(BatchAPI):
    """Batches of a model of OpenAI's, or of a server that has the same API for them."""

    most_requests = 50_000
    most_bytes = 190_000_000
    frame = (b"", b"\n", b"\n")

    def line(self, key: str, body: Mapping[str, Any]) -> bytes:
        line = {"custom_id": key, "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(line, allow_nan=False).encode()

    def upload(self, path: Path, shard: Shard) -> str:
        # a second upload, after a lost confirmation, costs nothing and expires by itself
        with path.open("rb") as file:
            return self._client.files.create(file=(f"{_LABEL}-{shard.label}.jsonl", file), purpose="batch").id

    def create(self, path: Path, shard: Shard) -> str:
        once = self._client.with_options(max_retries=0)
        batch = once.batches.create(
            input_file_id=shard.upload,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={_LABEL: shard.label},
        )
        return batch.id

    def find(self, shard: Shard, others: frozenset[str]) -> Found:
        earliest = datetime.fromisoformat(shard.sent_at).timestamp() - _CLOCKS_S
        for batch in self._client.batches.list(limit=100):  # the newest first
            if (batch.metadata or {}).get(_LABEL) == shard.label:
                return Found(batch.id)
            if batch.created_at < earliest:
                break
        return Found()

    def look(self, shard: Shard) -> Progress:
        batch = self._client.batches.retrieve(shard.batch)
        counts = batch.request_counts
        said = batch.status
        if counts is not None and counts.total:
            said += f", {counts.completed} of {counts.total} answered, {counts.failed} failed"
        errors = (batch.errors and batch.errors.data) or []
        if errors:
            said += f": {one_line(errors[0].message or errors[0].code)}"
        outputs = tuple(name for name in (batch.output_file_id, batch.error_file_id) if name)
        return Progress(said, batch.status in _ENDED, outputs)

    def download(self, shard: Shard, path: Path) -> None:
        with path.open("wb") as file:
            for output in shard.outputs:
                with self._client.files.with_streaming_response.content(output) as response:
                    for piece in response.iter_bytes():
                        file.write(piece)
                file.write(b"\n")

    def result(self, line: Mapping[str, Any]) -> tuple[str, Reply]:
        response = line.get("response") or {}
        body = response.get("body")
        body = body if isinstance(body, Mapping) else {}
        if response.get("status_code") == 200:
            return line["custom_id"], self._model.read(body)
        error = line.get("error") or body.get("error") or {}
        code, said = str(error.get("code") or ""), one_line(error.get("message") or error.get("code") or "no reason")
        outcome = "refused" if code in REFUSALS else "failed"
        return line["custom_id"], Reply("", outcome, self._model.model, Usage(0, 0), said)
