"""The section `track:` of a job file: experiment trackers that get the curves while the run goes on."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from launcher.jobfile.quantities import Duration
from launcher.jobfile.section import Section, as_tuple
from launcher.jobfile.urls import TrackingUri
from vitmodels.validation.rule import RuleError

TrackerName = Literal["csv", "mlflow", "tensorboard"]


class TrackSpec(Section):
    """Trackers that get the curves while the run goes on. One that fails never fails the run."""

    to: tuple[TrackerName, ...] = Field(
        (),
        description="tensorboard: event files in the run's folder `tensorboard`; csv: `tracked.csv` there; mlflow: a tracking server. The first and the last need an extra of the same name where node 0 runs.",
        examples=[["tensorboard", "csv"]],
    )
    mlflow_uri: TrackingUri | None = Field(
        None,
        description="Tracking URI of MLflow, without credentials; default: MLFLOW_TRACKING_URI where node 0 runs. Account and password are MLflow's own variables.",
        examples=["https://mlflow.example.com"],
    )
    every: Duration = Field(30, ge=1, description="How often the trackers get what is new.")

    @field_validator("to", mode="before")
    @classmethod
    def _no_swanlab(cls, names: Any) -> Any:
        """SwanLab takes back no point, so steps that a restart repeats would be lost there."""
        names = as_tuple(names)
        if isinstance(names, tuple) and "swanlab" in names:
            raise RuleError(
                "SwanLab gets the curves of a run by `launcher export RUN --to swanlab`, not by track",
                at=(names.index("swanlab"),),
                choices=get_args(TrackerName),
            )
        return names

    @field_validator("to")
    @classmethod
    def _each_once(cls, names: tuple[TrackerName, ...]) -> tuple[TrackerName, ...]:
        for place, name in enumerate(names):
            if name in names[:place]:
                raise RuleError(f"{name} is here twice", at=(place,))
        return names

    @model_validator(mode="after")
    def _uri_is_used(self) -> TrackSpec:
        if self.mlflow_uri is not None and self.to and "mlflow" not in self.to:
            raise RuleError("this address is for mlflow, which is not among track.to", at=("mlflow_uri",))
        return self
