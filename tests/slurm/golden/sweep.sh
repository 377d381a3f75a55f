#!/bin/bash
#SBATCH --job-name=digits-20261122-010203-0000
#SBATCH --comment=launcher:digits-20261122-010203-0000
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:USR1@300
#SBATCH --dependency=afterok:17
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --output=/tmp/launcher-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --chdir=/
#SBATCH --export=ALL
#SBATCH --requeue
#SBATCH --array=0-2%2

runs=(
    digits-20261122-010203-0000 (sha256 of plan.json)
    digits-20261122-010203-0001 (sha256 of plan.json)
    digits-20261122-010203-0002 (sha256 of plan.json)
)
run=${runs[$((2 * SLURM_ARRAY_TASK_ID))]} plan_sha256=${runs[$((2 * SLURM_ARRAY_TASK_ID)) + 1]}
run_dir=/home/me/ascend/work/$run
python=/opt/python
export LAUNCHER_BEGAN=$(date +%s)
mkdir -p "$run_dir" && rm -f "$run_dir/stop" "$run_dir/cancel.json" "$run_dir/again"
interrupted= ; ended=
trap 'interrupted=1; echo "the time limit of the allocation is near" > "$run_dir/stop"' USR1
trap 'interrupted=1; echo "{}" > "$run_dir/cancel.json"' USR2
trap 'interrupted=1; ended=1' TERM

job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID # the id alone may mean all tasks
restarts=${SLURM_RESTART_COUNT:-0}
export LAUNCHER_SLURM_JOB=$job LAUNCHER_COMMENT=launcher:digits-20261122-010203-0000
export LAUNCHER_RUN=$run LAUNCHER_PLAN=$plan_sha256 LAUNCHER_LAUNCH_ID=$SLURM_JOB_ID.$restarts LAUNCHER_FIRST_ATTEMPT=1
export LAUNCHER_EXIT=leader LAUNCHER_AGAIN=
[ "$restarts" -ge 20 ] || LAUNCHER_AGAIN=$run_dir/again
export LAUNCHER_BOOT='{"store": {"url": "file:///work/demo/runs", "endpoint": null, "region": null, "profile": null, "ca_bundle": null, "addressing": "auto"}, "work_dir": "/home/me/ascend/work", "code": "0000000000000000000000000000000000000000000000000000000000000000", "packages": ["pydantic", "yaml"]}'
read -r -d '' boot <<'BOOT'
(the text of slurm_boot.py)
BOOT
look='command -v "$0" > /dev/null && exec "$0" "$@"
words="$(hostname): $0 can not be run here; slurm.python names the Python of the nodes"
echo "error: $words" >&2
scontrol update JobId="$LAUNCHER_SLURM_JOB" Comment="$LAUNCHER_COMMENT $words"
exit 78
'
for pause in 1 2 4 8 15 30; do # without an answer nobody knows which devices are ours
    LAUNCHER_JOB=$(scontrol -o -d show job "$job") && break
    sleep $pause
done
export LAUNCHER_JOB
LAUNCHER_SLURM_ATTEMPT=$(bash -c "$look" "$python" -c "$boot" attempt) || exit
export LAUNCHER_SLURM_ATTEMPT

# Slurm counts the steps of each start from 0. An srun that was cut off ends its step by that number when it comes back:
# ours gets another one.
for _ in $(seq $((restarts % 8))); do srun --nodes=1 --ntasks=1 --quiet true; done
srun --nodes=1 --ntasks=1 --ntasks-per-node=1 --kill-on-bad-exit=1 --wait=0 --cpu-bind=none --mpi=none --export=ALL bash -c "$look" "$python" -c "$boot" node &
gang=$!
while :; do
    interrupted= ; wait "$gang"; code=$?
    [ -n "$interrupted" ] || break
done

# Once more? Not when somebody ended the job, nor for a job that Slurm has started again elsewhere meanwhile.
[ "$code" -lt 128 ] || [ -n "$ended" ] || [ "$restarts" -ge 3 ] || : >> "$run_dir/again"
if [ -z "$ended" ] && [ -e "$run_dir/again" ] &&
    scontrol -o show job "$job" | grep -q " Restarts=$restarts "; then
    trap '' TERM
    scontrol requeue "$job" || exit "$code"
    for pause in 0 1 1 1; do
        sleep $pause
        [ ! -s "$run_dir/again" ] || scontrol update JobId="$job" ExcNodeList="$(cat "$run_dir/again")" || continue
        break
    done
fi
exit "$code"
