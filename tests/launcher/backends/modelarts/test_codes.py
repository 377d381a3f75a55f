"""Error codes in words: every documented one has a meaning, a mover and advice that can be followed."""

import re

import pytest

from launcher.backends.modelarts.codes import Meaning, code_table, meaning_of
from launcher.backends.modelarts.errors import ServiceError
from launcher.cli import COMMANDS
from launcher.jobfile.spec_modelarts import ModelArtsOptions
from launcher.jobfile.spec_modelarts_parts import ModelArtsRestarts
from tests.launcher.backends.modelarts import codes

FIELDS = {f"modelarts.{name}" for name in ModelArtsOptions.model_fields}
FIELDS |= {f"modelarts.restarts.{name}" for name in ModelArtsRestarts.model_fields}


def test_every_documented_code_has_a_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert codes.main() == 0
    assert "149 of 149 documented codes have a meaning" in capsys.readouterr().out


def test_a_documented_code_without_a_row_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        codes, "documented", lambda: [("ModelArts.2763", 400, ""), ("ModelArts.2899", 400, "New")]
    )
    assert codes.main() == 1
    assert "missing: ModelArts.2899 HTTP 400 New" in capsys.readouterr().out


@pytest.mark.parametrize("row", code_table(), ids=lambda row: f"{row.code}-{row.status}")
def test_a_row_is_sentences_that_name_what_exists(row: Meaning) -> None:
    assert not row.means.endswith(".")
    assert not row.do.endswith(".")
    assert set(re.findall(r"\bmodelarts\.[a-z_]+(?:\.[a-z_]+)?", row.do)) <= FIELDS
    assert set(re.findall(r"`launcher (\w+)", row.do)) <= set(COMMANDS)


def test_no_row_is_there_twice_or_hidden_behind_a_family() -> None:
    keys = [(row.code, row.status) for row in code_table()]
    assert len(keys) == len(set(keys))
    assert [
        row.code
        for row in code_table()
        if row.status is None and meaning_of(row.code) != row and "?" not in row.code and "*" not in row.code
    ] == []


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("ModelArts.0116", 100, "quota"),
        ("ModelArts.0215", 401, "credentials"),
        ("ModelArts.2899", 400, "does not know"),
        ("APIGW.0301", 401, "clock"),
        ("APIGW.0399", 401, "keys"),
        ("APIGW.0999", 500, "gateway"),
        ("502", 502, "in trouble"),
        ("", 403, "refused the credentials"),
    ],
)
def test_other_codes_have_the_meaning_of_their_family(code: str, status: int, words: str) -> None:
    meaning = meaning_of(code, status)
    assert meaning is not None
    assert words in meaning.hint


def test_what_no_row_is_about_has_no_meaning() -> None:
    assert meaning_of("ModelArts.9999") is None
    assert ServiceError("words", code="ModelArts.9999").hint == ""


def test_one_code_with_two_statuses_means_two_things() -> None:
    refused, absent = meaning_of("ModelArts.0210", 403), meaning_of("ModelArts.0210", 400)
    assert refused is not None
    assert absent is not None
    assert refused.means != absent.means
    assert "another account or region" in ServiceError("x", status=403, code="ModelArts.0210").hint


def test_whose_move_it_is_stands_in_the_hint() -> None:
    agency = ServiceError("not authorised", status=403, code="ModelArts.2785")
    assert agency.hint.startswith(
        "ModelArts is not authorised to work for this account; ask your administrator: "
    )
    quiet = ServiceError("busy", status=409, code="ModelArts.2878")
    assert quiet.hint.startswith("the job changed its phase meanwhile (this may pass); ")
    assert quiet.temporary
    assert not agency.temporary
