"""The section `kubernetes:` of a job file."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from launcher.jobfile.quantities import Duration, Size
from launcher.jobfile.section import Section, as_tuple
from vitmodels.secrets import looks_secret
from vitmodels.validation.rule import RuleError

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_KEY = re.compile(r"([a-z0-9][a-z0-9.-]*/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@sha256:[0-9a-f]{64}|@sha512:[0-9a-f]{128})?"
)
_CREDENTIALS = re.compile(r"://[^/\s@]+@")


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise RuleError(expected="1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends")
    return text


def _subdomain(text: str) -> str:
    if not _SUBDOMAIN.fullmatch(text) or ".." in text:
        raise RuleError(expected="1 to 253 of a-z, 0-9, - and ., with a letter or digit at both ends")
    return text


def _folder(text: str) -> str:
    path = text.rstrip("/") or "/"
    if not text.startswith("/") or ":" in text or not text.isprintable():
        raise RuleError(expected="a whole path without a colon, such as /mnt/data")
    if any(part in ("", ".", "..") for part in path.split("/")[1:]) and path != "/":
        raise RuleError(expected="a path without //, . and .., such as /mnt/data")
    return path


DnsLabel = Annotated[str, AfterValidator(_label)]
DnsName = Annotated[str, AfterValidator(_subdomain)]
Folder = Annotated[str, AfterValidator(_folder)]


class KubernetesVolume(Section):
    """A file system in every pod. Exactly one of `pvc`, `host_path` and `nfs`."""

    pvc: DnsName | None = Field(
        None, description="PersistentVolumeClaim of the namespace.", examples=["imagenet"]
    )
    host_path: Folder | None = Field(
        None, description="Folder of the node, which must exist there.", examples=["/data/imagenet"]
    )
    nfs: str | None = Field(None, description="Export of an NFS server.", examples=["192.0.2.10:/data"])
    mount: Folder = Field(description="Where it appears in the pods.", examples=["/mnt/data"])
    read_only: bool = Field(False, description="Mount without the right to write.")

    @field_validator("nfs")
    @classmethod
    def _server_and_path(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[^:/\s]+:/\S*", value):
            raise RuleError(expected="a server and a path, such as 192.0.2.10:/data")
        return value

    @model_validator(mode="after")
    def _one_source(self) -> KubernetesVolume:
        named = [name for name in ("pvc", "host_path", "nfs") if getattr(self, name) is not None]
        if len(named) != 1:
            raise RuleError(
                expected="exactly one of pvc, host_path and nfs",
                found=" and ".join(named) or "none",
                others=(("pvc",), ("host_path",), ("nfs",)),
            )
        return self


class KubernetesToleration(Section):
    """A taint of nodes that the pods accept."""

    key: str | None = Field(None, description="Key of the taint; default: every key.")
    value: str | None = Field(None, description="Value of the taint; default: every value.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; default: every effect."
    )
    after: Duration | None = Field(
        None,
        description="With NoExecute: so long a pod stays on a node that gets the taint; default: for ever.",
    )

    @model_validator(mode="after")
    def _as_the_server_takes_it(self) -> KubernetesToleration:
        if self.value is not None and self.key is None:
            raise RuleError(expected="a key beside the value", at=("value",))
        if self.after is not None and self.effect != "NoExecute":
            raise RuleError(
                "a time counts for the effect NoExecute only", at=("after",), others=(("effect",),)
            )
        return self


class KubernetesOptions(Section):
    """Options of the back end `kubernetes`. What is not given is left to the cluster's own defaults."""

    ADDRESSES: ClassVar[tuple[str, ...]] = (
        "image",
        "namespace",
        "context",
        "python",
        "volumes[].host_path",
        "volumes[].nfs",
        "volumes[].mount",
    )

    kind: Literal["vcjob", "ascendjob", "job"] = Field(
        "vcjob",
        description="vcjob: a Job of Volcano. ascendjob: an AscendJob of MindCluster's operator. job: a plain Job, for any scheduler; launcher then makes the rank table itself.",
    )
    platform: Literal["mindcluster", "cce"] = Field(
        "mindcluster",
        description="Who gives NPUs and rank tables: MindCluster's device plugin and operator, or those of Huawei's CCE and ModelArts Lite Cluster.",
    )
    context: str | None = Field(
        None, description="Context of the kubeconfig; default: its current one.", examples=["training"]
    )
    namespace: DnsLabel = Field("default", description="Namespace of the job.", examples=["vision"])
    queue: DnsName | None = Field(
        None,
        description="Queue of Volcano, which must exist and be open; default: `default`.",
        examples=["npu"],
    )
    image: str | None = Field(
        None,
        description="Image with CANN, Python and launcher; with a tag or a digest.",
        examples=["registry.example.com/ascend-launcher:0.1"],
    )
    image_pull_secrets: tuple[DnsName, ...] = Field(
        (),
        description="Secrets of the namespace with the registry's account.",
        examples=[["registry-account"]],
    )
    python: str = Field("python", min_length=1, description="Python in the image.")
    node_selector: dict[str, str] = Field(
        default_factory=dict,
        description="Labels that a node must have.",
        examples=[{"accelerator-type": "module-910b-8"}],
    )
    schedule_policy: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="How MindCluster places chips: value of the annotation huawei.com/schedule_policy.",
        examples=["chip8-node8"],
    )
    tolerations: tuple[KubernetesToleration, ...] = Field(
        (),
        description="Taints of nodes that the pods accept.",
        examples=[[{"key": "npu", "effect": "NoSchedule"}]],
    )
    cpus: int | None = Field(None, ge=1, le=4096, description="CPUs per pod.")
    memory: Size | None = Field(None, ge=1 << 20, description="Memory per pod.", examples=["200GB"])
    volumes: tuple[KubernetesVolume, ...] = Field(
        (), description="File systems in every pod.", examples=[[{"pvc": "imagenet", "mount": "/mnt/data"}]]
    )
    secret: DnsName | None = Field(
        None,
        description="Secret of the namespace with the store's credentials as variables (AWS_ACCESS_KEY_ID, …); default: `submit` makes one for the job from your own credentials.",
        examples=["obs-keys"],
    )
    service_account: DnsName | None = Field(
        None,
        description="Service account of the pods; default: that of the namespace, without its token.",
        examples=["trainer"],
    )
    host_network: bool = Field(False, description="Pods use the network of their node.")
    priority_class: DnsName | None = Field(None, description="Priority class of the job.", examples=["high"])
    grace: Duration = Field(
        360, description="Time a pod has after SIGTERM to save and upload a checkpoint, before it is killed."
    )
    labels: dict[str, str] = Field(
        default_factory=dict,
        description="Further labels of the job and its pods.",
        examples=[{"team": "vision"}],
    )
    annotations: dict[str, str] = Field(
        default_factory=dict,
        description="Further annotations of the job and its pods.",
        examples=[{"sp-block": "16"}],
    )
    fault_scheduling: Literal["grace", "force"] | None = Field(
        None,
        description="MindCluster restarts the job after failures and lost nodes, in all retry.max_restarts times: all pods are made anew, after a gentle end (grace) or at once (force); default: launcher restarts the ranks itself.",
    )
    after: tuple[str, ...] = Field(
        (), description="Runs of this back end that must have SUCCEEDED before this one starts."
    )
    max_parallel: int | None = Field(
        None,
        ge=1,
        description="So many runs of a sweep at a time; a small pod, the starter, makes their jobs.",
    )
    starter_account: DnsName | None = Field(
        None,
        description="Service account of the starter, which `after` and `max_parallel` need; it may make jobs (docs/kubernetes-starter.yaml).",
        examples=["ascend-launcher-starter"],
    )
    patch: dict[str, Any] = Field(
        default_factory=dict,
        description="JSON merge patch (RFC 7386) for the job's manifest: what no field here says; null removes a field.",
        examples=[{"spec": {"ttlSecondsAfterFinished": 86400}}],
    )

    _sequence = field_validator("image_pull_secrets", "tolerations", "volumes", "after", mode="before")(
        as_tuple
    )

    @field_validator("image")
    @classmethod
    def _an_image(cls, value: str | None) -> str | None:
        if value is None:
            return value
        if _CREDENTIALS.search(value):
            raise RuleError("credentials don't belong into a job file; name a Secret in image_pull_secrets")
        if "://" in value:
            raise RuleError(expected="an image without a scheme, such as registry.example.com/name:tag")
        if not _IMAGE.fullmatch(value):
            raise RuleError(
                expected="registry/name:tag or registry/name@sha256:…, with a name in small letters and a whole digest"
            )
        return value

    @field_validator("labels", "node_selector", "annotations")
    @classmethod
    def _keys(cls, values: dict[str, str]) -> dict[str, str]:
        for key in values:
            if not _KEY.fullmatch(key):
                raise RuleError(f"'{key}' is no key of a label or annotation", at=(key,), of_key=True)
            if looks_secret(key.rpartition("/")[2]):
                raise RuleError(f"'{key}' looks like a secret; everybody can read it", at=(key,), of_key=True)
        return values

    @field_validator("labels", "node_selector")
    @classmethod
    def _values(cls, values: dict[str, str]) -> dict[str, str]:
        for key, value in values.items():
            if not _VALUE.fullmatch(value):
                raise RuleError(
                    expected="at most 63 of letters, digits, -, _ and ., with a letter or digit at both ends",
                    found=f"'{value}'",
                    at=(key,),
                )
        return values
