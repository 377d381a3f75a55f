"""Refusals of ModelArts as errors of the tree. Decisions read `status` and `code`; what a code means is in codes.yaml."""

from __future__ import annotations

from launcher.backends.modelarts.codes import meaning_of
from launcher.errors import BackendError

JOB_ABSENT, CANNOT_STOP = "ModelArts.2775", "ModelArts.2796"
NAME_TAKEN = ("ModelArts.2750", "ModelArts.2751")
ASK_AGAIN = ("ModelArts.2799", "ModelArts.2878")
"""Refused because of other requests, or because the job changed meanwhile."""
NOT_READY = ("ModelArts.2776", "ModelArts.2777", "ModelArts.2818", "ModelArts.2819", "ModelArts.2820")
"""Log or metrics that are not there yet, or not any more."""
LOG_CLEARED = ("ModelArts.2819", "ModelArts.2820")


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
        self.meaning = meaning_of(code, status)
        super().__init__(words, where=where, hint=self.meaning.hint if self.meaning else "")
        self.status, self.code, self.message = status, code, message

    @property
    def unclear(self) -> bool:
        """Whether the request may have been carried out all the same."""
        return self.status == 0 or self.status >= 500

    @property
    def temporary(self) -> bool:
        """Whether the same request may go well in a moment."""
        return self.unclear or self.status == 429 or self.code in ASK_AGAIN

    @property
    def absent(self) -> bool:
        """Whether there is no such job. Other things that are missing have codes of their own."""
        return self.code == JOB_ABSENT

    @property
    def bare_404(self) -> bool:
        """A 404 without a code of the service or its gateway: of the job, or of an address that is wrong."""
        return self.status == 404 and self.code in ("", "404")
