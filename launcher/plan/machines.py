"""What a plan must know of the machines that its ranks run on; each back end answers for its own (`Backend.machines`)."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from launcher.storage.address import StoreAddress


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines of one job.

    `options`: the job file's section of the back end.
    `home`: parent of the cache and the work folder, where the job file names none.
    `base`: what relative folders of the job file are relative to.
    `region`: of `obs://` buckets for which the job file names neither region nor endpoint.
    `code_folders`: folders that are copied to the machines, below `{code}`; None: a program's files are where they are here.
    `links_files`: the run is on this machine, so its working folders may have links to files of the submission.
    `fetch_code`: the machines take launcher's code from the run's folder, and verify packages and the program's files.
    `elsewhere`: folders of the job file are those of other machines, so the links of this one say nothing about them.
    `keep_free`: share of the cache's disk that must stay free, since the platform removes what is on a disk that is nearly full.
    `after_runs`: runs that must succeed before this one begins, as the job file names them.
    """

    python: str
    options: BaseModel
    home: Path
    base: Path
    region: str | None = None
    code_folders: tuple[str, ...] | None = None
    fetch_code: bool = False
    links_files: bool = False
    after_runs: tuple[str, ...] = ()
    elsewhere: bool = False
    keep_free: float = 0.0

    def folder(self, path: str | None, default: str) -> Path:
        """A folder of the job file, or `default` below `home`."""
        if not path:
            return self.home / default
        if self.elsewhere:
            return Path(posixpath.normpath(posixpath.join(self.base.as_posix(), path)))
        return (self.base / Path(path).expanduser()).resolve()

    def address(self, address: StoreAddress) -> StoreAddress:
        """The address of a store as these machines use it."""
        if self.region is None or address.region or address.endpoint or not address.url.startswith("obs://"):
            return address
        return address.model_copy(update={"region": self.region})
