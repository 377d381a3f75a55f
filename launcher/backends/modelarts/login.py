"""How launcher logs in to ModelArts: which address, which project, whose credentials. They stay in the SDK's client."""

from __future__ import annotations

import configparser
import importlib.util
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launcher.errors import BackendError, UsageError

PROJECT = "HUAWEICLOUD_SDK_PROJECT_ID"
SDK = "huaweicloudsdkmodelarts"
INSTALL = f"pip install {SDK}"
OUTSIDE_SDK = {"eu-west-101": "https://modelarts.eu-west-101.myhuaweicloud.eu"}
"""Addresses of regions that the SDK lacks."""


@dataclass(frozen=True, slots=True)
class Project:
    """One project of one region: where the service is, and for whom it works. Holds no credential."""

    region: str | None
    endpoint: str | None
    project_id: str | None
    workspace: str = "0"

    @property
    def address(self) -> str:
        """For messages."""
        return self.endpoint or f"ModelArts in {self.region}"


def sdk_missing() -> bool:
    return importlib.util.find_spec(SDK) is None


def connect(project: Project, timeout_s: tuple[float, float]) -> tuple[Any, Any]:
    """The SDK's client and the credentials in it; contacts nobody but a cloud machine's agency. Raises BackendError, UsageError."""
    if sdk_missing():
        raise BackendError("the SDK of ModelArts is not installed", hint=INSTALL)
    from huaweicloudsdkcore.http.http_config import HttpConfig
    from huaweicloudsdkmodelarts.v1 import ModelArtsClient

    credentials = find_credentials()
    credentials.project_id = project.project_id or credentials.project_id or os.environ.get(PROJECT)
    if not credentials.project_id:
        raise UsageError(
            "no project id: the service works for one project",
            where="modelarts.project_id",
            hint=f"set it, or {PROJECT}; the console shows it under My Credentials",
        )
    builder = (
        ModelArtsClient.new_builder()
        .with_credentials(credentials)
        .with_http_config(HttpConfig(timeout=timeout_s))
    )
    made = builder.with_endpoint(endpoint_of(project)).build()
    _silence(made)
    return made, credentials


def endpoint_of(project: Project) -> str:
    """Raises UsageError for a region that the SDK does not have."""
    if project.endpoint:
        return project.endpoint
    from huaweicloudsdkmodelarts.v1.region.modelarts_region import ModelArtsRegion

    if project.region in OUTSIDE_SDK:
        return OUTSIDE_SDK[project.region]
    try:
        return str(ModelArtsRegion.value_of(project.region).endpoints[0])
    except (KeyError, ValueError, TypeError):
        raise UsageError(
            f"the SDK knows no region '{project.region}'",
            where="modelarts.region",
            hint="look at its spelling, or set modelarts.endpoint",
        ) from None


def find_credentials(env: Mapping[str, str] = os.environ) -> Any:
    """Credentials of the SDK: environment, profile file, or a cloud machine's agency. Raises UsageError.

    The agency comes last, because asking for it takes seconds on other machines.
    """
    from huaweicloudsdkcore.auth import provider
    from huaweicloudsdkcore.exceptions.exceptions import SdkException

    providers: tuple[Any, ...] = (
        provider.EnvCredentialProvider.get_basic_credential_env_provider,
        provider.ProfileCredentialProvider.get_basic_credential_profile_provider,
        provider.MetadataCredentialProvider.get_basic_credential_metadata_provider,
    )
    if env.get("LAUNCHER_NO_AGENCY"):
        providers = providers[:2]
    for make in providers:
        try:
            credentials = make().get_credentials()
        except (
            SdkException,
            OSError,
            ValueError,
            TypeError,
            AttributeError,
        ):  # also an answer that can't be read
            continue
        except configparser.Error as error:  # the parser's message would repeat a line of the file
            raise UsageError(
                f"the file of credentials has no sections with key = value: {type(error).__name__}",
                where=os.environ.get("HUAWEICLOUD_SDK_CREDENTIALS_FILE") or "~/.huaweicloud/credentials",
                hint="it begins with [basic]; ak = ..., sk = ..., project_id = ... follow, each on a line of its own",
            ) from None
        if credentials is not None and ((credentials.ak and credentials.sk) or credentials.idp_id):
            return credentials
    raise UsageError(
        "no credentials for ModelArts",
        hint="set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or write ~/.huaweicloud/credentials (section [basic], keys ak and sk), or give this cloud machine an agency",
    )


def _silence(client: Any) -> None:
    """The SDK logs its failures to the console; our errors report them once."""
    logger = logging.getLogger("HuaweiCloud-SDK-ModelArtsClient")
    for each in {logger, getattr(client, "_logger", logger)}:
        if not each.handlers:
            each.addHandler(logging.NullHandler())
