"""The training loop of one rank: epochs of steps, evaluation, checkpoints, resuming."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitmodels.config import Recipe
from vitmodels.device.compilecache import seal, separate_cache
from vitmodels.device.runtime import Group
from vitmodels.errors import CheckpointError
from vitmodels.images.batches import Batches
from vitmodels.progress import Metrics, write_json
from vitmodels.training import checkpoint as ck
from vitmodels.training.curves import write_csv, write_plot
from vitmodels.training.report import Reporter
from vitmodels.training.schedule import learning_rate
from vitmodels.training.scoring import Score
from vitmodels.training.trainer import Trainer


@dataclass
class Position:
    """Where training is. `offset` is the global step of epoch 0: not 0 after a resume at another batch."""

    per_epoch: int
    epoch: int = 0  # finished epochs
    index: int = 0  # updates made in the current one
    offset: int = 0
    loss_sum: float = 0.0  # of the current epoch's updates

    @property
    def step(self) -> int:
        """Updates since the beginning, over all attempts."""
        return self.offset + self.epoch * self.per_epoch + self.index

    @property
    def local_step(self) -> int:
        """The step in terms of this run's epochs, for the learning rate."""
        return self.epoch * self.per_epoch + self.index

    def next_epoch(self) -> None:
        self.epoch, self.index, self.loss_sum = self.epoch + 1, 0, 0.0


class Loop:
    """One rank's run. Rank 0 writes the shared files; everything else is the same on all ranks."""

    def __init__(
        self,
        recipe: Recipe,
        run_dir: Path,
        group: Group,
        trainer: Trainer,
        batches: Batches,
        evaluate: Callable[[], Score],
        reporter: Reporter,
        stop_wanted: Callable[[], bool],
    ) -> None:
        self.recipe, self.run_dir, self.group = recipe, run_dir, group
        self.trainer, self.batches, self.evaluate = trainer, batches, evaluate
        self.reporter, self.stop_wanted = reporter, stop_wanted
        self.progress = reporter.progress
        self.at = Position(batches.slicing.steps)
        self.folder = run_dir / "checkpoints"
        self.saver = ck.Saver(self.folder, recipe.keep_checkpoint_max)
        self.metrics = Metrics(run_dir)
        self.writes = group.rank.first
        self.lr = 0.0
        self.cache: Path | None = None  # of compiled graphs
        self.closers: tuple[Callable[[], None], ...] = ()  # what else ends with the loop

    def run(self) -> bool:
        """Train up to the target epoch. False when a signal ended it early; a checkpoint is saved then."""
        try:
            return self._run()
        finally:
            for close in self.closers:
                close()

    def _run(self) -> bool:
        self.resume()
        self.reporter.total_steps = self.at.offset + self.recipe.epochs * self.at.per_epoch
        if self.at.epoch >= self.recipe.epochs:
            self.reporter.note(
                f"nothing left to do: epoch {self.at.epoch} of {self.recipe.epochs} is reached"
            )
        else:
            self._separate_cache()
            self.progress.phase("compiling")
            if self.recipe.warmup_length >= self.recipe.epochs > 1:
                self.reporter.note(
                    f"the warm-up of {self.recipe.warmup_length:g} epochs is as long as the training"
                )
        first = True
        while self.at.epoch < self.recipe.epochs:
            if not self._steps(first):
                self._save({})
                self.saver.join()
                self.reporter.note(f"stopped by a signal at step {self.at.step}; start again to resume")
                return False
            self._end_epoch()
            first = False
        self.saver.join()
        if self.writes:
            self._write_curves()
        self.progress.phase("done")
        return True

    def _separate_cache(self) -> None:
        """A compile cache folder of this rank; its graphs are numbered, so their order is part of the key."""
        at = self.at
        settings = {
            **self.recipe.json_dict(),
            "device": self.group.device,
            "rank": self.group.rank.id,
            "ranks": self.group.size,
            "evaluates first": at.index == at.per_epoch,
        }
        for key in ("epochs", "seed", "data_url", "val_data_url", "pretrained"):  # no graph depends on these
            del settings[key]
        self.cache = separate_cache("train", settings)

    def _steps(self, first: bool) -> bool:
        """The remaining updates of the current epoch. False when any rank was asked to stop."""
        at, self._begin = self.at, time.monotonic()
        self.reporter.restart_clock()
        for micros in self.batches.epoch(at.epoch, at.index):
            self.lr = learning_rate(self.recipe, at.local_step, at.per_epoch, self.group.size)
            result = self.trainer.step(micros, self.lr, self.stop_wanted())
            at.index += 1
            at.loss_sum += result.loss
            if first:  # the first update includes compilation
                seal(self.cache)
                self.progress.phase("training")
            self.reporter.step(
                epoch=at.epoch + 1,
                step=at.step,
                loss=result.loss,
                lr=self.lr,
                loss_scale=self.trainer.scale.value,
                force=first or result.stop or at.index == at.per_epoch,
            )
            if first:
                self.reporter.restart_clock()
                first = False
            if result.stop:
                return False
            every = self.recipe.save_every_steps
            if every and at.index < at.per_epoch and at.step % every == 0:
                self._save({})
        return True

    def _end_epoch(self) -> None:
        """Report, evaluate and save after the last update of an epoch."""
        at, recipe = self.at, self.recipe
        number, step = at.epoch + 1, at.step
        loss, seconds = at.loss_sum / at.per_epoch, round(time.monotonic() - self._begin, 3)
        self.progress.event(
            "epoch", epoch=number, epochs=recipe.epochs, step=step, loss=loss, seconds=seconds
        )
        last = number == recipe.epochs
        score = self._evaluate(number, step) if last or number % recipe.eval_every == 0 else None
        rate = self.reporter.rate
        if self.writes:
            self.metrics.append(
                epoch=number,
                step=step,
                loss=loss,
                lr=self.lr,
                top1=score.top1 if score else None,
                top5=score.top5 if score else None,
                images_per_s=round(rate, 2),
                seconds=seconds,
            )
        text = f"epoch {number}/{recipe.epochs}  step {step}  loss {loss:.4f}  lr {self.lr:.3g}"
        text += f"  top1 {score.top1:.4f}  top5 {score.top5:.4f}" if score else ""
        self.reporter.line(f"{text}  {rate:.0f} images/s  {seconds:.1f} s")
        at.next_epoch()
        best = self._improved(score, step)
        if last or best or number % recipe.save_every == 0:
            self._save({"top1": score.top1, "top5": score.top5} if score else {}, best)
        if last and score and self.writes:
            self._write_last(score, number, step)

    def _evaluate(self, number: int, step: int) -> Score:
        self.progress.phase("evaluating")
        score = self.evaluate()
        seal(self.cache)
        self.cache = None  # nothing else is compiled
        self.progress.event(
            "eval", epoch=number, step=step, top1=score.top1, top5=score.top5, images=score.images
        )
        if number < self.recipe.epochs:
            self.progress.phase("training")
        return score

    def _improved(self, score: Score | None, step: int) -> dict[str, Any] | None:
        """The new content of best.json, when this epoch is the best one so far."""
        if score is None or not self.writes:
            return None
        self.saver.join()  # best.json may still be on its way
        best = ck.read_best(self.folder)
        return {"step": step, "top1": score.top1} if best is None or score.top1 > best["top1"] else None

    def _write_last(self, score: Score, number: int, step: int) -> None:
        place = {"source": "checkpoint", "file": f"checkpoints/step-{step}", "step": step, "epoch": number}
        write_json(self.run_dir / "eval" / "last.json", {**score.as_dict(), **place})

    def _write_curves(self) -> None:
        rows = self.metrics.rows()
        write_csv(rows, self.run_dir / "metrics.csv")
        try:
            write_plot(rows, self.run_dir / "curves.png", f"{self.recipe.arch}, {self.recipe.set}")
        except ImportError as error:
            self.reporter.note(f"no plot: {error}")

    def _save(self, metrics: dict[str, float], best: dict[str, Any] | None = None) -> None:
        """Begin to write a set; returns before it is on disk."""
        if not self.writes:
            return
        at = self.at
        extra = {"per_epoch": at.per_epoch, "index": at.index, "offset": at.offset, "loss_sum": at.loss_sum}
        snapshot = ck.Snapshot(
            at.step, at.epoch, self.recipe.arch, self.trainer.weights(), self.trainer.state(), metrics, extra
        )
        self.saver.save(snapshot, best)
        self.progress.event("checkpoint", step=at.step, epoch=at.epoch, path=f"checkpoints/step-{at.step}")

    def resume(self) -> None:
        """Continue from the newest complete set, if there is one; all ranks agree on which."""
        if self.writes:
            ck.clean(self.folder)
        newest, warnings = ck.newest_set(self.folder)
        for warning in warnings:
            self.reporter.note(warning)
        steps = self.group.gather(float(newest.step if newest else -1))
        if steps.max() < 0:
            return
        if steps.min() != steps.max():
            listing = ", ".join(f"rank {rank}: {int(step)}" for rank, step in enumerate(steps))
            raise CheckpointError(
                f"the ranks see different newest checkpoints ({listing})",
                hint="give every machine the same checkpoints folder before starting",
            )
        assert newest is not None
        self._restore(newest)

    def _restore(self, checkpoint: ck.CheckpointSet) -> None:
        manifest, at = checkpoint.manifest, self.at
        if manifest["arch"] != self.recipe.arch:
            raise CheckpointError(
                f"{checkpoint.path} holds {manifest['arch']}, the recipe says {self.recipe.arch}",
                hint="use a new run directory",
            )
        try:
            self.trainer.load(checkpoint.weights(averaged=False), checkpoint.state())
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{checkpoint.path} does not fit this recipe: {error}", hint="use a new run directory"
            ) from error
        at.epoch = checkpoint.epoch
        if manifest["per_epoch"] == at.per_epoch:
            at.index, at.offset, at.loss_sum = manifest["index"], manifest["offset"], manifest["loss_sum"]
        else:
            at.offset = checkpoint.step - at.epoch * at.per_epoch
            text = f"an epoch had {manifest['per_epoch']} steps and has {at.per_epoch} now"
            self.reporter.note(f"{text}; epoch {at.epoch + 1} starts from its beginning")
        if self.writes:
            self.metrics.drop_after(at.step)
        self.reporter.note(f"resumed from step {at.step} (epoch {at.epoch + 1} of {self.recipe.epochs})")
