"""The folder in which node programs meet: what was listed is read, also from a store whose reads are late."""

from pathlib import Path

from launcher.node.messages import Machine, NodeMessage
from launcher.node.rendezvous.folder import LATE_READS, MessageFolder
from launcher.storage import ObjectStore, open_store
from tests.launcher.node.latestore import LateStore


def message(host: str) -> NodeMessage:
    return NodeMessage(node=1, machine=Machine(host=host))


def hosts(folder: MessageFolder) -> list[str]:
    """What is read of each object that changed; empty for one that was not there."""
    read = [folder.read(name, NodeMessage) for name in folder.changed()]
    return [each.machine.host if each else "" for each in read]


def late(name: str) -> tuple[MessageFolder, ObjectStore, LateStore]:
    store = open_store(f"memory://{name}/run")
    reads = LateStore(store)
    return MessageFolder(reads, "r/"), store, reads  # type: ignore[arg-type]


def test_a_message_is_given_out_once(tmp_path: Path) -> None:
    folder, store, _ = late(tmp_path.name)
    MessageFolder(store, "r/").write("node-1.json", message("a"))
    assert hosts(folder) == ["a"]
    assert hosts(folder) == []


def test_a_message_that_a_read_does_not_find_yet_is_given_out_again(tmp_path: Path) -> None:
    folder, store, reads = late(tmp_path.name)
    MessageFolder(store, "r/").write("node-1.json", message("a"))
    reads.answers = [None, None]
    assert [hosts(folder) for _ in range(4)] == [[""], [""], ["a"], []]


def test_a_message_whose_read_is_from_before_is_given_out_again(tmp_path: Path) -> None:
    folder, store, reads = late(tmp_path.name)
    writer = MessageFolder(store, "r/")
    writer.write("node-1.json", message("a"))
    before = store.read("r/node-1.json")
    assert hosts(folder) == ["a"]
    writer.write("node-1.json", message("b"))
    reads.answers = [before]
    assert [hosts(folder) for _ in range(3)] == [["a"], ["b"], []]


def test_where_etags_are_no_digests_reading_ends(tmp_path: Path) -> None:
    folder, store, reads = late(tmp_path.name)
    MessageFolder(store, "r/").write("node-1.json", message("a"))
    reads.answers = [message("a").model_dump_json().encode()] * 100  # other bytes than the ETag says
    assert [hosts(folder) for _ in range(LATE_READS + 1)] == [["a"]] * LATE_READS + [[]]
