"""A plain torch script: DistributedDataParallel over gloo on made-up data. It knows nothing of the launcher.

    torchrun --nproc-per-node 2 examples/plain_torch.py

Rank 0 saves checkpoint.pth after each epoch; --resume goes on from it.
"""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler


def points() -> TensorDataset:
    """The same 512 points on each rank, in two classes that a line separates."""
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randn(512, 8, generator=draws)
    return TensorDataset(inputs, (inputs.sum(1) > 0).long())


def main() -> None:
    """Train, and save a checkpoint after each epoch."""
    parser = argparse.ArgumentParser(description="Train a small network with several ranks.")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--resume", default="", help="checkpoint file to go on from")
    args = parser.parse_args()
    torch.manual_seed(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 2)))
    optimizer = torch.optim.SGD(model.parameters(), args.lr, momentum=0.9)
    begun = 0
    if args.resume:
        saved = torch.load(args.resume, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        begun = saved["epoch"]
        print(f"resumed after epoch {begun} from {args.resume}", flush=True)
    sampler = DistributedSampler(points(), seed=1)
    loader = DataLoader(points(), batch_size=32, sampler=sampler)
    for epoch in range(begun + 1, args.epochs + 1):
        sampler.set_epoch(epoch)
        for inputs, classes in loader:
            loss = nn.functional.cross_entropy(model(inputs), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch: {epoch} loss={loss.item():.4f}", flush=True)
        if rank == 0:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
            torch.save(state, "checkpoint.pth")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
