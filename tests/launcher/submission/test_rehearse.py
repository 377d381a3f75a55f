"""What a rehearsal changes, and that its record says so."""

import os
from pathlib import Path

from launcher.jobfile.load import load_job
from launcher.submission.launch import rehearsed_origins
from launcher.submission.prepare import prepared
from launcher.submission.rehearse import rehearsal_plan

CONFIGS = Path(__file__).parents[3] / "vitmodels" / "configs"


def test_values_that_the_rehearsal_changed_do_not_claim_to_be_from_the_job_file(
    launcher_home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(
        f"name: short\nmodel: {{config: {CONFIGS}/vit_digits.yaml, set: {{epochs: 7}}}}\ndata: {{url: {tmp_path}/none}}\n"
        f"output: {{url: {tmp_path}/runs}}\n"
    )
    job = load_job(path)
    changed = rehearsed_origins(prepared(job, rehearsal_plan(job, os.environ, tmp_path)))
    assert changed["recipe.epochs"] == "rehearsal"
    assert "recipe.arch" not in changed
