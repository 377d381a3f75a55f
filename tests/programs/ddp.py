"""A torch script that knows nothing of the launcher: the ranks add their numbers up over gloo."""

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
total = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(total)
print(f"rank {dist.get_rank()} of {dist.get_world_size()} has {total.item():g}", flush=True)
dist.destroy_process_group()
