"""How often the verdict on a failure is right: rank and rule over the corpus of the tests, and what is taken for what.

python benchmarks/diagnosis.py            # the corpus, wrong verdicts, confusion by rule, seconds per log
python benchmarks/diagnosis.py FILE...    # the verdict on logs of your own, each as the only rank's
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from launcher.diagnosis.verdict import Ended, Judgement, find_first
from tests.launcher.diagnosis.corpus_logs import corpus_rows, ended


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    args = parser.parse_args(argv)
    if args.files:
        for path in args.files:
            print(
                path.name, *shown(find_first([Ended("rank 0", 0, 1, 0.0, path.read_text(errors="replace"))]))
            )
        return 0
    return corpus()


def corpus() -> int:
    """Print the share of right verdicts and every wrong one. Exit code 1 when fewer than 95 % are right."""
    rows = corpus_rows()
    wrong: Counter[tuple[str, str]] = Counter()
    right, blamed, began = 0, 0, time.process_time()
    for row in rows:
        found, answer = find_first(ended(row)), row["answer"]
        good = (found.process.rank, found.rule.id) == (answer["rank"], answer["rule"])
        right += good
        if not good:
            wrong[answer["rule"], found.rule.id] += 1
            blamed += found.rule.role == "consequence"
            print(f"WRONG {row['name']}: rank {answer['rank']} {answer['rule']}, found", *shown(found))
    spent = time.process_time() - began
    many = sum(len(row["ranks"]) > 1 for row in rows)
    print(f"{right} of {len(rows)} right ({right / len(rows):.1%}), {many} of them with several ranks")
    print(f"{blamed} times a consequence was named in place of a cause")
    for (answer_rule, found_rule), count in wrong.most_common():
        print(f"  {answer_rule} taken for {found_rule}: {count}")
    print(f"{1000 * spent / sum(len(row['ranks']) for row in rows):.1f} ms of CPU per log")
    return 0 if right >= 0.95 * len(rows) else 1


def shown(found: Judgement) -> tuple[str, ...]:
    return (f"rank {found.process.rank}", found.rule.id, found.code, f"| {found.line[:120]}")


if __name__ == "__main__":
    sys.exit(main())
