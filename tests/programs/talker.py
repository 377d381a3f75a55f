"""A program that knows nothing of the launcher: it prints what LossMonitor and TimeMonitor print, and writes no progress."""

import os
import time

EPOCHS, STEPS = int(os.environ.get("EPOCHS", "3")), 4
for epoch in range(1, EPOCHS + 1):
    time.sleep(float(os.environ.get("EPOCH_S", "0.05")))
    loss = os.environ.get("LOSS", f"{2.5 / epoch}")
    print(f"epoch: {epoch} step: {STEPS}, loss is {loss}", flush=True)
    print("Train epoch time: 100.000 ms, per step time: 25.000 ms", flush=True)
while os.environ.get("CHATTER"):
    print("still here", flush=True)
    time.sleep(0.1)
