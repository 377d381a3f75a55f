"""A store whose reads are late, as those of a store that is only consistent in the end."""

from typing import Any

from launcher.errors import NotFound
from launcher.storage import ObjectStore


class LateStore:
    """The next reads give `answers`, None for no such object; then what the store has."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.answers: list[bytes | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        if not self.answers:
            return self._store.read(key, start, length)
        answer = self.answers.pop(0)
        if answer is None:
            raise NotFound("no such object", where=key)
        return answer
