"""Lets in who has the token, and adds the headers that keep foreign text from acting."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs, urlencode

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "launcher_dashboard"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """The token comes once in the address, and then in a cookie. A request that changes something comes from our own pages."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._answer(Request(scope))
        await (answer or self._app)(scope, receive, with_headers)

    def _answer(self, request: Request) -> Response | None:
        """None: the request may pass."""
        query = parse_qs(request.url.query, keep_blank_values=True)
        if self._is_token(query.pop("token", [""])[0]):
            rest = urlencode(query, doseq=True)
            answer = RedirectResponse(request.url.path + (f"?{rest}" if rest else ""), status_code=303)
            answer.set_cookie(self._cookie(request), self._token, httponly=True, samesite="lax")
            return answer
        if not self._is_token(request.cookies.get(self._cookie(request), "")):
            return PlainTextResponse(
                "open the address with the token that `launcher dashboard` printed\n", 403
            )
        if request.method not in ("GET", "HEAD") and request.headers.get("origin") != _origin(request):
            return PlainTextResponse("this request came from another page\n", 403)
        return None

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self._token.encode())

    @staticmethod
    def _cookie(request: Request) -> str:
        """Two dashboards on one machine have two cookies: cookies don't know ports."""
        return f"{COOKIE}_{request.url.port or 80}"


def _origin(request: Request) -> str:
    return f"{request.url.scheme}://{request.headers.get('host', '')}"
