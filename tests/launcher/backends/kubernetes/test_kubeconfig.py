"""All ways in which a kubeconfig says where a cluster is and who asks, and a pod's own account, on a real API server."""

import base64
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from urllib3.exceptions import InsecureRequestWarning

from launcher.backends.kubernetes import connect
from launcher.backends.kubernetes.client import Cluster
from launcher.backends.kubernetes.errors import ClusterError
from launcher.errors import BackendError
from tests.servers.kube import KubeServer
from tests.servers.proxy import password_proxy

CONTEXT = "current-context: t\ncontexts: [{name: t, context: {cluster: c, user: u}}]\n"
PLACE = "users: [{name: u, user: {}}]\nclusters: [{name: c, cluster: {server: 'https://h'"
NAMESPACE = "/api/v1/namespaces/vision"
Config = dict[str, Any]
Write = Callable[[Config], Path]


@pytest.fixture
def config(here: KubeServer) -> Config:
    """The kubeconfig of an administrator, to be changed."""
    value = yaml.safe_load(here.kubeconfig.read_text())
    assert isinstance(value, dict)
    return value


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Make a kubeconfig the one of this process."""

    def write(config: Config) -> Path:
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        monkeypatch.setenv("KUBECONFIG", str(path))
        return path

    return write


def answers(context: str | None = None) -> bool:
    found = Cluster(context, 1.0).get(NAMESPACE)
    return bool(found and found["metadata"]["name"] == "vision")


def plug_in(folder: Path, *lines: str) -> str:
    """A login program, by a path that counts from the kubeconfig."""
    path = folder / "login"
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return "./login"


def credentials(**status: str) -> str:
    return json.dumps(
        {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    )


def exec_of(command: str, **env: str) -> Config:
    variables = [{"name": name, "value": value} for name, value in env.items()]
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": command,
            "args": ["token"],
            "env": variables,
            "interactiveMode": "Never",
        }
    }


def test_a_login_program_gives_the_token(
    here: KubeServer, config: Config, write: Write, tmp_path: Path
) -> None:
    answer = credentials(token="TOKEN").replace("TOKEN", "'$WORD'")
    config["users"][0]["user"] = exec_of(
        plug_in(tmp_path, f"test \"$1\" = token && echo '{answer}'"), WORD=here.token
    )
    write(config)
    assert answers()


@pytest.mark.parametrize("lines", [("echo 'session has ended' >&2", "exit 1"), ("echo '{}'",)])
def test_a_login_program_that_fails_is_an_error_with_its_words(
    lines: tuple[str, ...], config: Config, write: Write, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config["users"][0]["user"] = exec_of(plug_in(tmp_path, *lines))
    path = write(config)
    with pytest.raises(BackendError, match="has no credentials") as error:
        answers()
    assert error.value.where == str(path)
    if len(lines) > 1:
        assert "session has ended" in error.value.what
    assert capfd.readouterr().err == "", "the package has set up no logging of its own"


def test_an_error_quotes_no_token(here: KubeServer, config: Config, write: Write) -> None:
    config["users"][0]["user"]["auth-provider"] = {"name": "gcp", "config": None}
    write(config)
    with pytest.raises(BackendError, match="Expected key config") as error:
        answers()
    assert here.token not in str(error.value)


def test_a_token_in_a_file_beside_the_kubeconfig(
    here: KubeServer, config: Config, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(here.token)
    config["users"][0]["user"] = {"tokenFile": "token"}
    write(config)
    assert answers()


def test_a_client_certificate_names_the_user(here: KubeServer, config: Config, write: Write) -> None:
    files = {name: (here.kubeconfig.parent / f"{name}.pem").read_bytes() for name in ("cert", "key")}
    user = {
        "client-certificate-data": base64.b64encode(files["cert"]).decode(),
        "client-key-data": base64.b64encode(files["key"]).decode(),
    }
    config["users"][0]["user"] = user
    place = config["clusters"][0]["cluster"]
    place["certificate-authority-data"] = user["client-certificate-data"]
    del place["certificate-authority"]
    write(config)
    with pytest.raises(ClusterError, match=r'User "127\.0\.0\.1"') as refusal:
        answers()
    assert refusal.value.status == 403


def test_contexts_from_several_files(
    here: KubeServer, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, places = tmp_path / "users", tmp_path / "places"
    users.write_text(yaml.safe_dump({"users": config.pop("users")}))
    config["contexts"].append({"name": "wrong", "context": {"cluster": "away", "user": "admin"}})
    config["clusters"].append({"name": "away", "cluster": {"server": "https://127.0.0.1:9"}})
    config["current-context"] = "wrong"
    places.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{places}:{users}")
    assert answers("test")
    with pytest.raises(ClusterError, match="no answer"):
        answers()


def test_another_name_in_the_certificate_and_no_check_of_it(config: Config, write: Write) -> None:
    place = config["clusters"][0]["cluster"]
    place |= {"tls-server-name": "elsewhere.example.com"}
    write(config)
    with pytest.raises(ClusterError, match="elsewhere"):
        answers()
    place["insecure-skip-tls-verify"] = bool(place.pop("certificate-authority"))
    write(config)
    with pytest.warns(InsecureRequestWarning):
        assert answers()


@pytest.mark.parametrize("of_kubeconfig", [True, False])
def test_a_proxy_that_wants_a_password(
    of_kubeconfig: bool, config: Config, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    with password_proxy() as proxy:
        if of_kubeconfig:
            monkeypatch.setenv(
                "NO_PROXY", "127.0.0.1"
            )  # a proxy that is named for the cluster counts all the same
            config["clusters"][0]["cluster"]["proxy-url"] = proxy.address()
        else:
            monkeypatch.setenv("HTTPS_PROXY", proxy.address())
            monkeypatch.delenv("NO_PROXY", raising=False)
            monkeypatch.delenv("no_proxy", raising=False)
        write(config)
        assert answers()
        assert len(proxy.passed) == 1
        config["clusters"][0]["cluster"]["proxy-url"] = proxy.address("not-this-one")
        write(config)
        with pytest.raises(ClusterError, match="407") as error:
            answers()
        assert "not-this-one" not in str(error.value)


def test_the_account_of_the_pod_that_launcher_is_in(
    here: KubeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text(here.token)
    (account / "ca.crt").write_bytes((here.kubeconfig.parent / "cert.pem").read_bytes())
    monkeypatch.setattr(connect, "ACCOUNT", account / "token")
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_TOKEN_FILENAME", str(account / "token"))
    monkeypatch.setattr("kubernetes.config.incluster_config.SERVICE_CERT_FILENAME", str(account / "ca.crt"))
    host, _, port = here.address.removeprefix("https://").partition(":")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    assert answers()
    (tmp_path / "absent").write_text(yaml.safe_dump({"clusters": []}))
    with pytest.raises(BackendError, match="can't be used"):
        answers()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- 1\n",
        "a: [",
        "text",
        "current-context: x\n",
        "contexts: 3\n",
        CONTEXT,
        f"{CONTEXT}{PLACE}, certificate-authority-data: x}}}}]\n",
        f"{CONTEXT}{PLACE}, certificate-authority: absent.pem}}}}]\n",
    ],
)
def test_a_kubeconfig_that_can_not_be_used_is_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    with pytest.raises(BackendError) as error:
        answers()
    assert error.value.where == str(path)
