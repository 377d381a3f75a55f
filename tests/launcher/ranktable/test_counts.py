"""How many devices of a machine a job may use."""

from __future__ import annotations

import pytest

from launcher.ranktable import check_devices_per_node, legal_device_counts


@pytest.mark.parametrize(
    ("chip", "legal", "illegal"),
    [
        ("ascend910", (1, 2, 4, 8), (0, 3, 5, 6, 7, 16)),
        ("ascend910b", (1, 3, 5, 8), (0, 9, 11, 13, 15, 17)),
        ("atlas-a3", (1, 2, 6, 16), (3, 5, 17)),
        ("cpu", (1, 2, 3), (0,)),
    ],
)
def test_device_counts(chip: str, legal: tuple[int, ...], illegal: tuple[int, ...]) -> None:
    for count in legal:
        assert count in legal_device_counts(chip)
        assert check_devices_per_node(chip, count, 2) is None
    for count in illegal:
        finding = check_devices_per_node(chip, count, 1)
        assert finding is not None
        assert (finding.rule, finding.severity) == ("RT007", "error")


@pytest.mark.parametrize("count", [10, 12, 14, 16])
def test_a_server_with_16_cards_takes_even_counts(count: int) -> None:
    finding = check_devices_per_node("ascend910b", count, 1)
    assert finding is not None
    assert finding.severity == "warning"
    odd = check_devices_per_node("ascend910b", count - 1, 1)
    assert odd is not None
    assert odd.fix == "Use 1 to 8, 10, 12, 14 or 16."


def test_device_count_advice() -> None:
    odd = check_devices_per_node("ascend910", 8, 3)
    assert odd is not None
    assert odd.severity == "info"
    many = check_devices_per_node("ascend910b", 16, 1)
    assert many is not None
    assert many.severity == "warning"
    none = check_devices_per_node("ascend910", 8, 0)
    assert none is not None
    assert none.severity == "error"
