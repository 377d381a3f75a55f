"""`launcher submit --rehearse`: a short run of the whole job on this machine, followed to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.cli.common import out, out_json, say

if TYPE_CHECKING:
    from launcher.api import Run
    from launcher.plan.model import Plan
    from launcher.submission.prepare import Prepared


def rehearse(job: Prepared, *, length: str | None, as_json: bool) -> int:
    """Blocks until the rehearsal has ended; its exit code. `length`: of a program's rehearsal, as it was typed."""
    import os
    from pathlib import Path

    from launcher.errors import UsageError
    from launcher.submission.rehearse import rehearsal_plan

    for finding in job.findings:  # of the real job, on its own devices
        say(str(finding))
    if job.job.spec.program is not None:
        return _rehearse_program(job, length, as_json)
    if length is not None:
        raise UsageError("a recipe's rehearsal has a length of its own", where="--rehearse-for")
    started = _start(job, rehearsal_plan(job.job, os.environ, Path.cwd()))
    from launcher.cli.follow import follow

    code = follow(started, quiet=as_json)
    return _finish(
        started, code, as_json, "the rehearsal went through stage, train, eval, export, collect and fetch"
    )


def _rehearse_program(job: Prepared, length: str | None, as_json: bool) -> int:
    import os
    from pathlib import Path

    from launcher.cli.follow import follow
    from launcher.runfolder.states import State
    from launcher.submission.rehearseprogram import Length, RehearsalEnd, parse_length, program_rehearsal

    wanted = parse_length(length) if length is not None else Length()
    started = _start(job, program_rehearsal(job.job, os.environ, Path.cwd(), wanted))
    end = RehearsalEnd(started.entry, started.index, wanted)
    end.start()
    code = follow(started, quiet=as_json)
    end.over.set()
    end.join()
    if end.stopped and started.view().state is State.CANCELLED:
        code = 0
        how = f"the program ran for {wanted}, was asked to stop, and did"
    else:
        how = "the program ran to its end"
    return _finish(started, code, as_json, how)


def _start(job: Prepared, plan: Plan) -> Run:
    from launcher.api import submit_prepared
    from launcher.submission.prepare import prepared

    rehearsal = prepared(job.job, plan)
    for note in dict.fromkeys(rehearsal.plan.notes):
        say(f"note: {note}")
    return submit_prepared(rehearsal)


def _finish(started: Run, code: int, as_json: bool, how: str) -> int:
    from launcher.runfolder import paths

    target = paths.home() / "rehearsal" / started.id / "results"
    report = started.fetch(target)
    if as_json:
        out_json(
            {
                "run_id": started.id,
                "backend": started.entry.backend,
                "url": started.url,
                "results": str(target),
                "files": report.files,
                "exit_code": code,
            }
        )
        return code
    out(f"fetched and verified {report.files} files into {target}")
    if code == 0:
        out(how)
    return code
