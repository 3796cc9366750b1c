"""Addresses of servers that speak OpenAI's protocol, and which key goes to which of them.

OPENAI_API_KEY goes to OpenAI alone, and to the address in OPENAI_BASE_URL, which is set beside it; GEMINI_API_KEY to
Google; GPT4SCENE_API_KEY to any other server. A server on this machine or on its private network gets no key where
that is not set; one elsewhere is not asked at all then.
"""

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from bev.errors import UserError
from gpt4scene.vlm.access import check_address, is_own_server, key_in

OPENAI_URL = "https://api.openai.com/v1"
NO_KEY = "none"
"""What is sent in place of a key to servers that want none; the SDK insists on one."""

_URL_VARIABLE, _OWN_VARIABLE = "OPENAI_BASE_URL", "GPT4SCENE_API_KEY"


@dataclass(frozen=True)
class Address:
    """Where a server is, and whose it is."""

    base_url: str
    host: str
    owner: Literal["openai", "google", "other"]
    key_variable: str
    """The environment variable that holds its key."""

    @classmethod
    def of(cls, base_url: str | None) -> "Address":
        """The address as given; None: that in OPENAI_BASE_URL, as the SDK has it, or OpenAI's.

        Raises:
            UserError: it is none.
        """
        preset = os.environ.get(_URL_VARIABLE, "").strip()
        check_address(base_url or preset or OPENAI_URL, variable="" if base_url else _URL_VARIABLE)
        url = (base_url or preset or OPENAI_URL).rstrip("/")
        host = urlsplit(url).hostname or ""
        owner: Literal["openai", "google", "other"] = "other"
        if re.search(r"(^|\.)openai\.com$", host):
            owner = "openai"
        elif host == "generativelanguage.googleapis.com":
            owner = "google"
        variable = {"openai": "OPENAI_API_KEY", "google": "GEMINI_API_KEY"}.get(owner, _OWN_VARIABLE)
        if url == preset.rstrip("/"):
            variable = "OPENAI_API_KEY"
        return cls(url, host, owner, variable)

    def key(self, name: str) -> str:
        """The key from the environment.

        Raises:
            UserError: it is not set, and the server wants one; `name` is the model's.
        """
        key = key_in(self.key_variable)
        if key:
            return key
        if self.key_variable != _OWN_VARIABLE:
            raise UserError(f"{name}: no key for {self.host}: set the environment variable {self.key_variable}")
        if is_own_server(self.base_url):
            return NO_KEY
        raise UserError(
            f"{name}: no key for {self.host}: set the environment variable {_OWN_VARIABLE} to the key of that server, "
            f"or to {NO_KEY!r} if it wants none (OPENAI_API_KEY is sent to OpenAI alone)"
        )


def refused_here(address: Address) -> str | None:
    """Why nothing listens at an address on this machine, at once, where the SDK would try for seconds; else None."""
    if not _is_loopback(address.host):
        return None
    parts = urlsplit(address.base_url)
    try:
        socket.create_connection((address.host, parts.port or (443 if parts.scheme == "https" else 80)), 5.0).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
