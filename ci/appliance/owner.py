"""The owner of a board, by the API: signed in with his password, as the page signs in.

In: a board, a password. Out: answers, files. Never: a token, or a certificate that is not verified.
"""

from __future__ import annotations

import json
import shutil
import ssl
import urllib.request
from pathlib import Path
from typing import Any


class Owner:
    """Signed in until the board or its password changes."""

    def __init__(self, board, password: str):  # type: ignore[no-untyped-def]
        self.url = board.url
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(board.ca))), urllib.request.HTTPCookieProcessor())
        self.ask("sign-in", {"password": password})

    def ask(self, path: str, body: dict[str, Any] | None = None, method: str | None = None) -> Any:
        """What is answered to a GET, or with a body to a POST."""
        headers = {"Content-Type": "application/json", "Origin": self.url.rstrip("/")}
        data = None if body is None else json.dumps(body).encode()
        with self.opener.open(urllib.request.Request(f"{self.url}api/v1/{path}", data, headers, method=method), timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def download(self, path: str, to: Path) -> Path:
        """Keeps a file."""
        with self.opener.open(f"{self.url}api/v1/{path}", timeout=60) as answer, to.open("wb") as file:
            shutil.copyfileobj(answer, file)
        return to
