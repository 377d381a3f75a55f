"""Settings that can't work, found before the first request: a newline in a key, an endpoint of the wrong scheme, a missing file.

The sign of a wrong scheme that only the server can give is asked for once a connection has broken.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from launcher.errors import StoreRefused, UsageError
from launcher.storage.s3.keyfile import Keys
from launcher.threads import environment

PROBE_S = 3.0
MAX_HOST = 255
_USUAL_PORTS = {443: "https", 80: "http"}
_CERTIFICATE = b"CERTIFICATE-----"
_LABEL = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)")
"""A region, or what stands between the dots of a host name, as botocore accepts them."""
_BUCKET = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,255}")
_NO_SLASHES = re.compile(r"https?:(?!//)", re.IGNORECASE)


def stray_character(text: str) -> str:
    """What can't be in a key or an address: a blank, a newline, or one that is not ASCII; or ''."""
    for char in text:
        if char in "\r\n":
            return "a newline"
        if char.isspace():
            return "a blank"
        if not "!" <= char <= "~":
            return "a character that is not plain ASCII"
    return ""


def check_keys(keys: Keys) -> None:
    """Raises StoreRefused, which names where the keys are from and shows nothing of them."""
    for name, value in (
        ("access key", keys.access_key),
        ("secret key", keys.secret_key),
        ("session token", keys.token or ""),
    ):
        stray = stray_character(value)
        if not stray and len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            stray = "the quotes around it"
        if stray:
            raise StoreRefused(
                f"the {name} contains {stray}",
                where=keys.origin,
                hint="set it again without that; text from a file often ends in a newline",
            )


def check_bucket(name: str, scheme: str) -> None:
    """Raises UsageError for a text that is no name of a bucket in any store: the rest of an address would follow from it."""
    if not _BUCKET.fullmatch(name) and not name.startswith("arn:"):
        raise UsageError(
            f"{name!r} is no name of a bucket",
            hint=f"write {scheme}://bucket/folder; a bucket's name has letters, digits, '-', '_' and '.' alone",
        )


def check_region(region: str) -> None:
    """Raises UsageError for a text that is no name of a region."""
    if stray := stray_character(region):
        raise UsageError(
            f"the region {region!r} contains {stray}", hint="set AWS_REGION, or region:, without that"
        )
    if not _LABEL.fullmatch(region) or region.isdigit():
        raise UsageError(
            f"{region!r} is no name of a region",
            hint="set AWS_REGION, or region:, to letters, digits and hyphens, as in cn-north-4",
        )


def check_endpoint(endpoint: str) -> None:
    """Raises UsageError for a full address whose text or port can't be that of an endpoint."""
    shown = endpoint if "@" not in endpoint else "..."
    if stray := stray_character(endpoint):
        raise UsageError(
            f"the endpoint {shown!r} contains {stray}", hint="write https://host or http://host:port"
        )
    try:
        parts = urlsplit(endpoint)
    except ValueError as error:  # half an address of version 6
        raise UsageError(
            f"endpoint {shown!r} is not an address", hint="write https://host or http://host:port"
        ) from error
    if "@" in parts.netloc:
        raise UsageError("an endpoint must not contain credentials", hint="remove everything before '@'")
    try:
        port = parts.port
    except ValueError as error:
        raise UsageError(
            f"endpoint {endpoint!r} has no valid port", hint="write https://host:port"
        ) from error
    if (
        parts.scheme not in ("http", "https")
        or not _is_host(parts.hostname or "")
        or parts.query
        or parts.fragment
        or _NO_SLASHES.match(endpoint.partition("://")[2])
    ):
        raise UsageError(
            f"endpoint {endpoint!r} is not an address", hint="write https://host or http://host:port"
        )
    usual = _USUAL_PORTS.get(port or 0, parts.scheme)
    if usual != parts.scheme:
        raise UsageError(
            f"endpoint {endpoint!r}: port {port} is that of {usual}", hint=f"write {usual}:// or another port"
        )


def _is_host(host: str) -> bool:
    """Whether it can be a host: a name, or an address of version 4 or 6."""
    import ipaddress

    labels = host.removesuffix(".").split(".")
    if len(host) <= MAX_HOST and all(_LABEL.fullmatch(label) for label in labels):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def check_proxy(endpoint: str) -> None:
    """Raises UsageError when what the environment names as proxy for this endpoint can be none. Shows nothing of it: it may hold a password."""
    if not _names_proxies():
        return
    from urllib.request import getproxies  # takes long to import

    parts = urlsplit(endpoint)
    address = getproxies().get(parts.scheme, "")
    if not address or bypasses_proxy(endpoint) or _is_proxy(address):
        return
    raise UsageError(
        f"{parts.scheme}_proxy in the environment is no address of a proxy",
        hint="write http://host:port or http://user:password@host:port, with %2F %23 %3F %40 %25 for / # ? @ % in the password; "
        "other proxies than HTTP's, and characters beyond ASCII, can't be used",
    )


def bypasses_proxy(endpoint: str) -> bool:
    """Whether NO_PROXY names an endpoint's host: as Python reads it, or by a network as 10.0.0.0/8, which Python does not know."""
    if not _names_proxies():
        return False
    import ipaddress
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(endpoint)
    if proxy_bypass(parts.netloc):
        return True
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return False
    for text in getproxies().get("no", "").split(","):
        with suppress(ValueError):
            if address in ipaddress.ip_network(text.strip().strip("[]"), strict=False):
                return True
    return False


def _names_proxies() -> bool:
    return any(name.lower().endswith("_proxy") and value for name, value in environment().items())


def _is_proxy(address: str) -> bool:
    """Whether boto3 can use it; the scheme may be missing."""
    try:
        parts = urlsplit(address if re.match("https?:", address) else f"http://{address}")
        known = parts.hostname and parts.port != 0 and unquote(parts.netloc).isascii()
    except ValueError:
        return False
    odd = "\\" in parts.netloc or parts.path not in ("", "/") or parts.query or parts.fragment
    host = parts.netloc.rpartition("@")[2]
    whole = address == address.strip() and len(address.splitlines()) == 1
    return bool(known) and whole and not odd and not stray_character(host)


def check_bundle(file: str) -> None:
    """Raises UsageError unless it is a file with certificates."""
    hint = "set AWS_CA_BUNDLE, or ca_bundle:, to a PEM file with the certificates to trust"
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"can't read the certificates: {error.strerror}", where=file, hint=hint) from error
    if _CERTIFICATE not in content:
        raise UsageError("the file holds no certificate", where=file, hint=hint)
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError as error:
        raise UsageError("a certificate in the file is damaged", where=file, hint=hint) from error


def speaks_tls(endpoint: str) -> bool:
    """Whether the server of an http:// endpoint answers a TLS greeting. Asks it, for some seconds at most."""
    import socket
    import ssl

    parts = urlsplit(endpoint)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 80), timeout=PROBE_S) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname),
        ):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")  # it refuses ours, and speaks it
    except (OSError, ValueError):
        return False
