"""Keys and addresses of servers, checked before they are used and never repeated where they may hold a secret."""

import ipaddress
import os
from urllib.parse import urlsplit

from bev.errors import UserError

_OWN_NAMES = (".local", ".localhost", ".lan", ".internal", ".home.arpa")


def key_in(variable: str) -> str:
    """A key from the environment; empty where there is none.

    Raises:
        UserError: it can be no key, for no header can hold it.
    """
    key = os.environ.get(variable, "").strip()
    if not all("!" <= letter <= "~" for letter in key):
        raise UserError(f"{variable}: holds a space, a line break or a letter that no key has; copy the key anew")
    return key


def check_address(base_url: str, *, variable: str = "") -> None:
    """Complain of what is no address of a server.

    Args:
        base_url: as a user wrote it.
        variable: where it is from, if from the environment.

    Raises:
        UserError: it is none, or holds a password.
    """
    said = f"{variable}: " if variable else ""
    try:
        parts = urlsplit(base_url)
        _ = parts.port  # which is parsed, and complained of, only now
    except ValueError as error:
        raise UserError(f"{said}{base_url}: is no address ({error}); write http://HOST:PORT/v1") from error
    if parts.username is not None or parts.password is not None:
        # not repeated: it may be a secret, and names are kept beside answers
        raise UserError(f"{said}an address may hold no user name or password, keys come from the environment alone")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UserError(f"{said}{base_url}: names no host; write http://HOST:PORT/v1")


def is_own_server(base_url: str) -> bool:
    """Whether an address is of this machine or of a private network, by its number, or by a name that has no dot or
    ends as only names of such networks do."""
    host = urlsplit(base_url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(_OWN_NAMES))
    return address.is_loopback or address.is_private or address.is_link_local
