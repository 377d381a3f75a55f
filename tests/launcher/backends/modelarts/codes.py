"""How many of the documented error codes have a meaning of their own.

    python -m tests.launcher.backends.modelarts.codes

`documented_codes.csv` holds code, HTTP status and name of each row of the page "Error Codes" of the service's API reference that is about
training (27xx, 28xx) or shared by all of ModelArts (00xx to 02xx).
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from launcher.backends.modelarts.codes import Meaning, code_table, meaning_of

DOCUMENTED = Path(__file__).with_name("documented_codes.csv")


def documented() -> list[tuple[str, int, str]]:
    """Code, status and name of each documented row."""
    with DOCUMENTED.open() as file:
        return [(row["code"], int(row["status"]), row["name"]) for row in csv.DictReader(file)]


def own_meaning(code: str, status: int) -> Meaning | None:
    """The meaning of a code by itself, not by its family."""
    meaning = meaning_of(code, status)
    return meaning if meaning is not None and meaning.code == code else None


def main() -> int:
    """0 when every documented code has a meaning."""
    rows = documented()
    missing = [row for row in rows if own_meaning(*row[:2]) is None]
    sys.stdout.write(f"{len(rows) - len(missing)} of {len(rows)} documented codes have a meaning\n")
    for move in ("you", "administrator", "platform"):
        count = sum(
            own_meaning(code, status) is not None and own_meaning(code, status).move == move
            for code, status, _ in rows
        )  # type: ignore[union-attr]
        sys.stdout.write(f"  {count:4} {move}\n")
    sys.stdout.writelines(f"  missing: {code} HTTP {status} {name}\n" for code, status, name in missing)
    others = len(code_table()) - len({meaning for row in rows if (meaning := own_meaning(*row[:2]))})
    sys.stdout.write(f"and {others} rows of the table are of the gateway and of families\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
