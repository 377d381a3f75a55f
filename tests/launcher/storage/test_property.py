"""Random sequences of operations: every kind of store must behave as a plain dictionary would."""

from __future__ import annotations

import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launcher.errors import NotFound
from launcher.storage import ObjectStore, open_store
from tests.seeds import examples
from tests.servers.stores import open_on

NAMES = st.text(alphabet="abAB09 é日+%&=-_.~()", min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..") and name == name.strip(" .")
)
KEYS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
DATA = st.binary(max_size=300)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, DATA),
        st.tuples(st.just("file"), KEYS, DATA),
        st.tuples(st.just("delete"), KEYS, st.just(b"")),
        st.tuples(st.just("read"), KEYS, st.just(b"")),
    ),
    min_size=1,
    max_size=12,
)


def fits(key: str, model: dict[str, bytes]) -> bool:
    """No store here is asked to hold a key that is also the folder of another: staging refuses those anyway."""
    return not any(other.startswith(key + "/") or key.startswith(other + "/") for other in model)


def apply(store: ObjectStore, steps: list[tuple[str, str, bytes]], folder: Path) -> dict[str, bytes]:
    model: dict[str, bytes] = {}
    for action, key, data in steps:
        if action in ("put", "file") and fits(key, model):
            if action == "put":
                assert store.put(key, data).size == len(data)
            else:
                (folder / "source").write_bytes(data)
                assert store.put_file(key, folder / "source").size == len(data)
            model[key] = data
        elif action == "delete" and (key in model or fits(key, model)):  # rclone deletes `0` with `0/0`
            store.delete(key)
            model.pop(key, None)
        elif action == "read":
            if key in model:
                assert store.read(key) == model[key]
                assert store.read(key, 1, 5) == model[key][1:6]
            else:
                assert store.head(key) is None
                with pytest.raises(NotFound):
                    store.read(key)
    return model


def check(store: ObjectStore, model: dict[str, bytes], folder: Path) -> None:
    listed = list(store.list())
    assert [info.key for info in listed] == sorted(model, key=str.encode)
    for info in listed:
        head = store.head(info.key)
        assert head is not None
        assert (head.size, head.etag) == (len(model[info.key]), info.etag)
        store.get_file(info.key, folder / "got", info)
        assert (folder / "got").read_bytes() == model[info.key]
    for prefix in {key[:2] for key in model}:
        expected = sorted((key for key in model if key.startswith(prefix)), key=str.encode)
        assert [info.key for info in store.list(prefix)] == expected


@pytest.mark.random
@pytest.mark.parametrize(
    ("kind", "few", "many"),
    [("memory", 35, 1000), ("file", 17, 500), ("rclone", 5, 120), ("radosgw", 3, 60)],
)
def test_every_store_is_a_dictionary(request: pytest.FixtureRequest, kind: str, few: int, many: int) -> None:
    server = request.getfixturevalue(kind) if kind in ("rclone", "radosgw") else None

    @settings(max_examples=examples(few, many), suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def run(steps: list[tuple[str, str, bytes]]) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if server is not None:
                store = open_on(server)
            elif kind == "file":
                store = open_store(str(folder / "store"))
            else:
                store = open_store(f"memory://{uuid.uuid4().hex}")
            check(store, apply(store, steps, folder), folder)

    run()
