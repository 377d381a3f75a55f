"""Fault campaign: runs with two ranks, each disturbed once at a moment that a seed chooses, and then examined.

    python -m benchmarks.faults --count 120 --out faults.jsonl         continues a file that it began
    python -m benchmarks.faults --report faults.jsonl                  the tables of docs/reliability.md

After each run: it ended SUCCEEDED (a run whose node program was ended is resumed first, as a user would), every failure on
the way has a reason that fits the fault, no process and no lock is left, every checkpoint that was ever reported as safe
is in the store and is what its manifest says, and the final parameters equal those of an undisturbed run, bit for bit.

    injections   the run under way, the faults, and the moments they can come at
    bench        what is trained, and one disturbed run from submission to its row
    examine      everything that can be wrong afterwards
    table        the rows as Markdown
"""
