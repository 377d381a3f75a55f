"""What an error code of ModelArts means for a person, and what to do about it."""

from __future__ import annotations

import re

from launcher.errors import BackendError

ADVICE: dict[str, str] = {
    "ModelArts.2750": "a job of this name exists; submit again, a new run gets a new name",
    "ModelArts.2751": "a job of this name exists; submit again, a new run gets a new name",
    "ModelArts.2753": "look at modelarts.inputs and modelarts.outputs: names and folders of the channels",
    "ModelArts.2757": "the account that the platform works for can't read the code folder beside the runs; give its agency the right to read the bucket",
    "ModelArts.2758": "the account that the platform works for can't read the code folder beside the runs; give its agency the right to read the bucket",
    "ModelArts.2759": "the code folder holds more than 1,000 files: something else writes into .code beside the runs; remove it",
    "ModelArts.2760": "the code folder is nested too deep: something else writes into .code beside the runs; remove it",
    "ModelArts.2761": "the code is larger than 5 GB; keep data and weights out of modelarts.code",
    "ModelArts.2763": "look at modelarts.flavor; a dedicated pool has its own kinds of machines",
    "ModelArts.2775": "the job is not there any more: it was deleted, or it belongs to another project",
    "ModelArts.2776": "the log is not ready yet; ask again in a while",
    "ModelArts.2777": "the metrics are not ready yet; ask again in a while",
    "ModelArts.2780": "look at modelarts.engine; the console lists the engines of the region",
    "ModelArts.2781": "look at modelarts.flavor and the number of cards",
    "ModelArts.2787": "a defect in launcher: the request was no JSON to the service; please report it",
    "ModelArts.2788": "look at the field that the message names; `launcher submit --dry-run` shows the request",
    "ModelArts.2791": "look at output.url and data.url: the bucket must exist, in the region of the pool",
    "ModelArts.2793": "ask for fewer nodes, or for another pool",
    "ModelArts.0102": "look at the project, region and endpoint of the section modelarts",
    "ModelArts.0108": "the account may not do this; give it the right to create, read and stop training jobs",
    "ModelArts.0116": "the quota of the account is used up; stop or delete jobs, or ask for more",
    "ModelArts.0118": "the quota of the account is used up; stop or delete jobs, or ask for more",
    "APIGW.0101": "the service does not know this address; look at modelarts.endpoint and modelarts.region",
    "APIGW.0301": "the signature was refused: look at access key, secret key and the clock of this machine; temporary keys need their token, too",
    "APIGW.0302": "this account may not use the service; subscribe to it in the console",
    "APIGW.0303": "the service does not take these credentials",
    "APIGW.0308": "too many requests at once; wait a moment",
}
_FAMILIES: tuple[tuple[str, str], ...] = (
    (
        r"ModelArts\.02\d\d",
        "the credentials have expired or lack a right; log in again, and give temporary keys their token",
    ),
    (
        r"APIGW\.03\d\d|APIG\.\d+",
        "the gateway refused the credentials; look at the keys, their token and the clock of this machine",
    ),
    (r"429", "too many requests at once; wait a moment"),
    (r"40[13]", "the service refused the credentials"),
    (r"5\d\d", "the service is in trouble; try again later"),
)


def advice_of(code: str) -> str:
    """What to do; empty for an unknown code."""
    if code in ADVICE:
        return ADVICE[code]
    return next((text for pattern, text in _FAMILIES if re.fullmatch(pattern, code)), "")


class ServiceError(BackendError):
    """The service refused, or gave no answer (`status` 0). `code` is its own error code.

    `nothing_made`: of a creation, that it was refused, and no earlier question may have been carried out.
    """

    nothing_made = False

    def __init__(
        self, message: str, *, status: int = 0, code: str = "", request_id: str = "", where: str = ""
    ) -> None:
        label = " ".join(
            filter(None, [code if not code.isdigit() else "", f"HTTP {status}" if status else ""])
        )
        words = f"{message} ({label})" if label else message
        if request_id:
            words += f", request {request_id}"
        super().__init__(words, where=where, hint=advice_of(code) or advice_of(str(status)))
        self.status, self.code, self.message = status, code, message

    @property
    def unclear(self) -> bool:
        """Whether the request may have been carried out all the same."""
        return self.status == 0 or self.status >= 500

    @property
    def temporary(self) -> bool:
        """Whether the same request may go well in a moment."""
        return self.unclear or self.status == 429

    @property
    def absent(self) -> bool:
        """Whether there is no such job."""
        return self.code == "ModelArts.2775" or (self.status == 404 and not self.code.startswith("APIG"))
