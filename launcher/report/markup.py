"""Foreign text as HTML: the only way into a page for what is no markup."""

from __future__ import annotations

import html

from launcher.printable import printable_lines


def escape(text: str) -> str:
    """Text that can be neither markup nor a control character; it keeps its lines."""
    return html.escape(printable_lines(text))
