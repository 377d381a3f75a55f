"""A plain MindSpore training script: LeNet on a folder with one folder of images per class. It knows nothing of the launcher.

    python examples/plain_mindspore.py --data demo/digits/train

Checkpoints go to ./ckpt; --resume goes on from one of them. jobs/lenet_program.yaml runs the same script on several ranks.
"""

import argparse
import os
from pathlib import Path

import mindspore as ms
from mindspore import dataset as ds
from mindspore import nn
from mindspore.communication import get_group_size, get_rank, init
from mindspore.dataset import transforms, vision
from mindspore.train import CheckpointConfig, LossMonitor, Model, ModelCheckpoint, TimeMonitor

SIZE = 32


def arguments() -> argparse.Namespace:
    """What can be typed."""
    parser = argparse.ArgumentParser(description="Train LeNet on a folder of images.")
    parser.add_argument("--data", required=True, help="folder with one folder of images per class")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=32, help="images per rank")
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--resume", default="", help="checkpoint file to go on from")
    parser.add_argument("--device", default="CPU", choices=["CPU", "Ascend"])
    return parser.parse_args()


def lenet(classes: int) -> nn.Cell:
    """LeNet-5 on images of three channels."""
    return nn.SequentialCell(
        nn.Conv2d(3, 6, 5, pad_mode="valid"),  # (N, 6, 28, 28)
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Conv2d(6, 16, 5, pad_mode="valid"),  # (N, 16, 10, 10)
        nn.ReLU(),
        nn.MaxPool2d(2, 2),
        nn.Flatten(),
        nn.Dense(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Dense(120, 84),
        nn.ReLU(),
        nn.Dense(84, classes),
    )


def images(folder: str, batch_size: int, rank: int, ranks: int) -> ds.Dataset:
    """Batches of this rank's share of the images."""
    found = ds.ImageFolderDataset(folder, shuffle=True, num_shards=ranks, shard_id=rank)
    steps = [vision.Decode(), vision.Resize((SIZE, SIZE)), vision.Rescale(1 / 255, 0.0), vision.HWC2CHW()]
    found = found.map(steps, "image").map(transforms.TypeCast(ms.int32), "label")
    return found.batch(batch_size, drop_remainder=True)


def main() -> None:
    """Train, and save a checkpoint after each epoch."""
    args = arguments()
    ms.set_seed(1)
    ms.set_context(mode=ms.GRAPH_MODE, device_target=args.device)
    rank, ranks = 0, int(os.environ.get("RANK_SIZE", "1"))
    if ranks > 1:
        init()
        rank, ranks = get_rank(), get_group_size()
        ms.set_auto_parallel_context(
            parallel_mode=ms.ParallelMode.DATA_PARALLEL, gradients_mean=True, device_num=ranks
        )
    data = images(args.data, args.batch_size, rank, ranks)
    net = lenet(len(list(Path(args.data).iterdir())))
    optimizer = nn.Momentum(net.trainable_params(), args.lr, 0.9)
    begun = 0
    if args.resume:
        saved = ms.load_checkpoint(args.resume)
        ms.load_param_into_net(net, saved)
        ms.load_param_into_net(optimizer, saved)
        begun = int(saved["epoch_num"].asnumpy())
        print(f"resumed after epoch {begun} from {args.resume}", flush=True)
    steps = data.get_dataset_size()
    callbacks = [LossMonitor(steps), TimeMonitor()]
    if rank == 0:
        config = CheckpointConfig(
            save_checkpoint_steps=steps, keep_checkpoint_max=3, append_info=["epoch_num"]
        )
        callbacks.append(ModelCheckpoint("lenet", "./ckpt", config))
    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    model = Model(net, loss, optimizer, metrics={"accuracy"})
    if begun < args.epochs:
        model.train(args.epochs, data, callbacks, dataset_sink_mode=False, initial_epoch=begun)
    print("result:", model.eval(data, dataset_sink_mode=False), flush=True)


if __name__ == "__main__":
    main()
