"""In come the logs and the ends of processes; out comes the one cause with its rule, rank, line and advice.

`rules` reads the table of causes, `lines` finds the lines worth a look, `evidence` says what each of them proves, `verdict`
weighs the evidence of all processes. Nothing here touches a disk but the table.
"""
