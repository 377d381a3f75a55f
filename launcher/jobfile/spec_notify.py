"""The section `notify:` of a job file: of what people are told, where, and what for."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field, field_validator, model_validator

from launcher.jobfile.section import Section, as_tuple
from vitmodels.secrets import looks_secret, mask
from vitmodels.validation.rule import RuleError

Event = Literal["end", "failure", "hang", "restart", "first-checkpoint", "metric"]
VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""How a target names a variable of the environment. It is replaced where the message is sent, and stored nowhere."""
METRIC = re.compile(r"\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*(>=|<=|>|<)\s*([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*")
_WITHOUT_SECRETS = ("dbus", "gnome", "kde", "macosx", "windows", "syslog", "json", "jsons", "xml", "form")
"""Services of apprise that need no key."""
_TOKEN = re.compile(r"(?=[A-Za-z_-]*[0-9])(?=[0-9_-]*[A-Za-z])[A-Za-z0-9_-]{16,}")
"""A part of a path that is long and mixes letters with digits, as the keys of chat services do."""
_BY_VARIABLE = "stores and plans keep this text; put the secret into a variable and write ${NAME} for it"


class NotifyTarget(Section):
    """One place that gets messages; exactly one of webhook, apprise and command. `${NAME}` is a variable of the environment where the message is sent: so secrets are stored nowhere."""

    webhook: str | None = Field(
        None,
        description="URL that gets each message as JSON by POST (docs/notify.md has the body).",
        examples=["https://ci.example.com/hooks/${HOOK_KEY}"],
    )
    apprise: str | None = Field(
        None,
        description="Target of the package apprise (extra `notify`): mail, Slack, Feishu, DingTalk, WeCom, desktop and others.",
        examples=["slack://${SLACK_TOKENS}/#training", "mailto://${MAIL_USER}:${MAIL_PASSWORD}@example.com"],
    )
    command: str | None = Field(
        None,
        description="Command for `sh`, with the message as JSON on its standard input and in LAUNCHER_NOTICE_ variables. It runs in the folder of the submission, on a machine without that folder in the run's.",
        examples=['notify-send "$LAUNCHER_NOTICE_TITLE"'],
    )
    on: tuple[Event, ...] | None = Field(
        None, description="Events that this target hears of; default: `notify.on`.", examples=[["failure"]]
    )

    _sequence = field_validator("on", mode="before")(as_tuple)

    @field_validator("webhook")
    @classmethod
    def _is_web_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not VARIABLE.match(value) and urlsplit(value).scheme not in ("http", "https"):
            raise RuleError(
                expected="an address that begins with http:// or https://, or with ${NAME}",
                hint="" if "://" in value else "put https:// or http:// in front of it",
            )
        return _without_secrets(value)

    @field_validator("apprise")
    @classmethod
    def _names_variables(cls, value: str | None) -> str | None:
        if value is None:
            return None
        scheme = value.split("://", 1)[0].lower()
        if not VARIABLE.search(value) and scheme not in _WITHOUT_SECRETS:
            raise RuleError(
                "this target holds its key as text; " + _BY_VARIABLE,
                hint=f"for example {scheme if '://' in value else 'slack'}://${{NOTIFY_KEY}}",
            )
        return _without_secrets(value)

    @field_validator("command")
    @classmethod
    def _shows_no_secret(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not value.strip():
            raise RuleError(expected="a command")
        if mask(bare := VARIABLE.sub("", value)) != bare:
            raise RuleError("this command looks as if it held a secret; " + _BY_VARIABLE)
        return value

    @model_validator(mode="after")
    def _one_way(self) -> NotifyTarget:
        ways = ("webhook", "apprise", "command")
        given = [name for name in ways if getattr(self, name) is not None]
        if len(given) != 1:
            raise RuleError(
                expected="exactly one of webhook, apprise and command",
                found=", ".join(given) or "none",
                others=tuple((name,) for name in ways),
            )
        return self

    @property
    def kind(self) -> str:
        """`webhook`, `apprise` or `command`."""
        return "webhook" if self.webhook is not None else "apprise" if self.apprise is not None else "command"

    @property
    def text(self) -> str:
        """The target as written, with its variables unreplaced."""
        return self.webhook or self.apprise or self.command or ""

    @property
    def variables(self) -> tuple[str, ...]:
        """Variables that launcher replaces. Those of a command are its shell's."""
        return () if self.command is not None else tuple(dict.fromkeys(VARIABLE.findall(self.text)))


class NotifySpec(Section):
    """Who is told of the run, and of what. A message that can't be sent never fails a run."""

    to: tuple[NotifyTarget, ...] = Field(
        (), description="Targets of messages.", examples=[[{"webhook": "https://ci.example.com/${HOOK_KEY}"}]]
    )
    on: tuple[Event, ...] = Field(
        ("end", "failure", "hang"),
        description="Events that targets hear of. One happening makes one message: a failure is an end, too.",
        examples=[["failure", "restart", "first-checkpoint"]],
    )
    metric: str | None = Field(
        None,
        description="Condition of the event `metric`: top1, top5, loss, epoch, step, images_per_s or the name of a result, compared with a number. Shares are fractions.",
        examples=["top1 >= 0.75"],
    )
    link: str | None = Field(
        None,
        description="Address in messages, `{run}` being the run id; default: the run's folder.",
        examples=["https://dash.example.com/runs/{run}"],
    )

    _sequence = field_validator("to", "on", mode="before")(as_tuple)

    @field_validator("metric")
    @classmethod
    def _is_condition(cls, value: str | None) -> str | None:
        if value is not None and condition(value) is None:
            raise RuleError(expected="a name, one of >= <= > <, and a number, such as top1 >= 0.75")
        return value

    @field_validator("link")
    @classmethod
    def _link_without_secrets(cls, value: str | None) -> str | None:
        return None if value is None else _without_secrets(value)

    @model_validator(mode="after")
    def _metric_has_condition(self) -> NotifySpec:
        if self._names_metric and self.metric is None:
            raise RuleError(expected="a condition for the event metric", found="none", at=("metric",))
        return self

    @property
    def _names_metric(self) -> bool:
        return "metric" in self.on or any("metric" in (target.on or ()) for target in self.to)

    def events_of(self, target: NotifyTarget) -> tuple[Event, ...]:
        """What this target hears of. A condition that no list of events names counts for all targets without a list of their own."""
        if target.on is not None:
            return target.on
        return (*self.on, "metric") if self.metric is not None and not self._names_metric else self.on


def condition(text: str) -> tuple[str, str, float] | None:
    """Name, comparison and number of a metric's condition; None where the text is none."""
    if (found := METRIC.fullmatch(text)) is None:
        return None
    try:
        return found[1], found[2], float(found[3])
    except ValueError:
        return None


def _without_secrets(url: str) -> str:
    """Refuses what looks like a secret outside of a variable."""
    bare = VARIABLE.sub("", url)
    parts = urlsplit(bare)
    password = parts.netloc.rpartition("@")[0].partition(":")[2]
    named = [key for key, value in parse_qsl(parts.query) if value and _is_key(key)]
    if password or named or any(_TOKEN.fullmatch(part) for part in parts.path.split("/")):
        raise RuleError("this address looks as if it held a secret; " + _BY_VARIABLE)
    return url


def _is_key(name: str) -> bool:
    return looks_secret(name) or name.lower() in ("key", "sig", "sign")
