"""How often machines upload: as ever in small runs, less often each in large ones."""

import pytest

from launcher.node.cadence import Cadence


@pytest.mark.parametrize("nodes", [1, 2, 16])
def test_few_machines_do_as_the_job_says(nodes: int) -> None:
    assert {Cadence.of_node(node, nodes, 15.0) for node in range(nodes)} == {Cadence(15.0, 15.0)}


def test_of_many_machines_each_uploads_less_often() -> None:
    last = Cadence.of_node(1023, 1024, 15.0)
    assert (last.next_s, last.growing_s, last.confirm) == (1024 / 3, 2048.0, False)


def test_node_0_has_the_state_of_the_run_and_does_as_the_job_says() -> None:
    assert Cadence.of_node(0, 1024, 15.0) == Cadence(15.0, 15.0)


def test_the_first_uploads_of_many_machines_are_spread() -> None:
    first = [Cadence.of_node(node, 1024, 15.0).first_s for node in range(1, 1024)]
    assert first == sorted(set(first))
    assert 15.0 < first[0] < 16.0
    assert 340.0 < first[-1] < 1024 / 3


def test_a_job_that_uploads_less_often_is_left_alone() -> None:
    assert Cadence.of_node(5, 64, 600.0).next_s == 600.0
