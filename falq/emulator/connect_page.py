"""The page on which the owner of a Maton connection enters a fal key.

Owns the page's words, its look and its form. It keeps no key and shows none;
`connections` decides whether one is good. Everything that is not written here is
escaped, and the page may load nothing: its style is named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from urllib.parse import parse_qs

from falq.emulator.connections import Connection, Connections
from falq.emulator.messages import Reply, Request

LARGEST_FORM_BYTES = 4096

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1b22; --soft: #5d5b6a; --paper: #ffffff;
  --ground: #f3f2f7; --line: #d9d7e2; --accent: #5b3fd6; --bad: #b3261e; --good: #12734a; }
@media (prefers-color-scheme: dark) { :root { --ink: #efeef5; --soft: #a9a7b8;
  --paper: #1f1e27; --ground: #14131a; --line: #3a3847; --accent: #a994ff; --bad: #ff8a80;
  --good: #6ddba5; } }
* { box-sizing: border-box; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; padding: 1.5rem;
  background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, sans-serif; }
main { width: 100%; max-width: 28rem; padding: 2rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: 0.75rem; }
h1 { margin: 0 0 0.5rem; font-size: 1.35rem; line-height: 1.25; }
p { margin: 0 0 1rem; }
main > :last-child { margin-bottom: 0; }
.soft { color: var(--soft); font-size: 0.875rem; overflow-wrap: anywhere; }
.bad { color: var(--bad); }
.good { color: var(--good); }
label { display: block; margin-bottom: 0.375rem; font-weight: 600; }
input { width: 100%; padding: 0.625rem 0.75rem; font: inherit; color: inherit;
  background: transparent; border: 1px solid var(--line); border-radius: 0.5rem; }
button { margin: 1rem 0; padding: 0.625rem 1.25rem; font: inherit; font-weight: 600;
  color: var(--paper); background: var(--accent); border: 0; border-radius: 0.5rem;
  cursor: pointer; }
input:focus-visible, button:focus-visible { outline: 2px solid var(--accent);
  outline-offset: 2px; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = (
    ("content-type", "text/html; charset=utf-8"),
    ("cache-control", "no-store"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
    (
        "content-security-policy",
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'",
    ),
)


def answer_page(connections: Connections, request: Request, wall_s: float) -> Reply:
    """Answer a browser that opened a connection's address or sent its form.

    Args:
        connections: Where the connection is looked for.
        request: What the browser sent; its query holds the token.
        wall_s: Unix time of the request.
    """
    [token] = parse_qs(request.query).get("session_token", [""])[-1:]
    connection = connections.find_token(token)
    if connection is None:
        return _page(404, "Unknown address", "<p>There is no connection for this address.</p>")
    if request.method == "GET":
        return _show(connection)
    if request.method != "POST":
        return _page(405, "Not like this", "<p>Open this address in a browser.</p>")
    if connection.status == "ACTIVE":
        # An address that was used is spent: it replaces no key that works.
        return _show(connection)
    if len(request.body) > LARGEST_FORM_BYTES:
        return _page(413, "Too long", "<p>That is no fal key.</p>")
    form = parse_qs(request.body.decode("utf-8", "replace"))
    connections.enter(connection, form.get("key", [""])[-1].strip(), wall_s)
    return _show(connection)


def _show(connection: Connection) -> Reply:
    about = f'<p class="soft">Connection {escape(connection.connection_id)}</p>'
    if connection.status == "ACTIVE":
        said = '<p class="good">The key was accepted. You can close this page.</p>'
        return _page(200, "fal.ai is connected", said + about)
    refusal = (
        '<p class="bad" role="alert">This key was not accepted. Enter another one.</p>'
        if connection.status == "FAILED"
        else ""
    )
    form = (
        "<p>Enter your fal.ai API key. Jobs that you send through Maton use it.</p>"
        f"{refusal}"
        '<form method="post"><label for="key">fal.ai API key</label>'
        '<input id="key" name="key" type="password" required autofocus autocomplete="off" '
        'placeholder="key id:key secret"><button>Connect</button></form>'
        '<p class="soft">This is the emulator of falq: give it a key that it knows, never a '
        "real one.</p>"
    )
    return _page(200, "Connect fal.ai", form + about)


def _page(status_code: int, title: str, content: str) -> Reply:
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{content}</main></body></html>"
    )
    return Reply(status_code=status_code, headers=_HEADERS, body=page.encode())
