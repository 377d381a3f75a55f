"""The training loop of one rank: epochs of steps, evaluation, checkpoints, resuming."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vitmodels.config import Recipe
from vitmodels.device.compilecache import seal, separate_cache
from vitmodels.device.runtime import Group
from vitmodels.errors import CheckpointError, Diverged, ResumeError
from vitmodels.images.batches import Batches
from vitmodels.images.classes import Classes
from vitmodels.nets.weights import load_converted
from vitmodels.progress import Metrics, write_json
from vitmodels.training import checkpoint as ck
from vitmodels.training.curves import write_curves
from vitmodels.training.position import Position
from vitmodels.training.profiling import Profiling
from vitmodels.training.report import Reporter
from vitmodels.training.resume import (
    check_same_training,
    differences,
    fingerprint,
    finish_start,
    start_anew,
)
from vitmodels.training.saver import Saver, clean
from vitmodels.training.schedule import learning_rate
from vitmodels.training.scoring import Score
from vitmodels.training.trainer import Arrays, Trainer, all_finite
from vitmodels.training.weightsource import find_source

LONG_WAIT_S = 1.0
NO_GRAPH_HAS = ("epochs", "seed", "data_url", "val_data_url", "class_order", "pretrained")
"""Keys of a recipe on which no compiled graph depends."""


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
        profiling: Profiling,
    ) -> None:
        self.recipe, self.run_dir, self.group = recipe, run_dir, group
        self.trainer, self.batches, self.evaluate = trainer, batches, evaluate
        self.reporter, self.stop_wanted, self.profiling = reporter, stop_wanted, profiling
        self.progress = reporter.progress
        self.at = Position(batches.slicing.steps)
        self.folder = run_dir / "checkpoints"
        self.saver = Saver(self.folder, recipe.keep_checkpoint_max)
        self._copies: tuple[Arrays, Arrays] = {}, {}  # weights and state of the newest snapshot
        self.metrics = Metrics(run_dir)
        self.writes = group.rank.first
        self.global_batch = recipe.batch_size * recipe.accumulate * group.size
        self.fingerprint = fingerprint(recipe, trainer.decayed)
        self.as_pretrained = False  # a checkpoint of another training gives its weights to a new one
        self.classes = Classes()  # of the outputs
        self.score_facts: Callable[[Score], dict[str, Any]] = Score.as_dict
        self.lr = 0.0
        self.cache: Path | None = None  # of compiled graphs
        self.closers: tuple[Callable[[], None], ...] = ()  # what else ends with the loop

    def run(self) -> bool:
        """Train up to the target epoch. False when a signal ended it early; a checkpoint is saved then."""
        try:
            return self._run()
        finally:
            self._keep_last()
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
                self._save({})  # first: it goes on beside, even if another rank is gone by now
                self.group.settle()
                self.saver.join()
                self.reporter.note(f"stopped by a signal at step {self.at.step}; start again to resume")
                return False
            self._end_epoch()
            first = False
        self.saver.join()
        if self.writes:
            title = f"{self.recipe.arch}, {self.recipe.set}"
            if note := write_curves(self.metrics.rows(), self.run_dir, title):
                self.reporter.note(note)
        self.progress.phase("done")
        return True

    def _keep_last(self) -> None:
        """Whatever ends the training, the set that was being written becomes complete."""
        try:
            self.saver.join()
        except CheckpointError as error:
            self.reporter.note(str(error))

    def _separate_cache(self) -> None:
        """A compile cache folder of this rank; its graphs are numbered, so their order is part of the key."""
        recipe = {key: value for key, value in self.recipe.json_dict().items() if key not in NO_GRAPH_HAS}
        place = {"device": self.group.device, "rank": self.group.rank.id, "ranks": self.group.size}
        evaluates = {"evaluates first": self.at.index == self.at.per_epoch}
        self.cache = separate_cache("train", recipe | place | evaluates)

    def _steps(self, first: bool) -> bool:
        """The remaining updates of the current epoch. False when any rank was asked to stop."""
        at, self._begin = self.at, time.monotonic()
        self.reporter.restart_clock()
        for micros in self.batches.epoch(at.epoch, at.index):
            self.lr = learning_rate(self.recipe, at.local_step, at.per_epoch, self.group.size)
            self.profiling.before(at.step + 1)
            result = self.trainer.step(micros, self.lr, self.stop_wanted())
            self.saver.check()
            at.index += 1
            self.profiling.after(at.step)
            at.add_loss(result.loss, applied=result.applied)
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
        """Report, evaluate and save after the last update of an epoch. Raises Diverged."""
        at, recipe = self.at, self.recipe
        number, step = at.epoch + 1, at.step
        loss, seconds = at.loss, round(time.monotonic() - self._begin, 3)
        self.progress.event(
            "epoch", epoch=number, epochs=recipe.epochs, step=step, loss=loss, seconds=seconds
        )
        if not math.isfinite(loss):
            raise Diverged(f"the loss is {loss} in epoch {number} (step {step})")
        self._check_finite(param.asnumpy() for param in self.trainer.params)
        last = number == recipe.epochs
        score = self._evaluate(number, step) if last or number % recipe.eval_every == 0 else None
        rate = self.reporter.rate
        accuracy = {"top1": score.top1, "top5": score.top5} if score else {}
        if self.writes:
            scored = accuracy or dict.fromkeys(("top1", "top5"))
            speed = {"images_per_s": round(rate, 2), "seconds": seconds}
            self.metrics.append(epoch=number, step=step, loss=loss, lr=self.lr, **scored, **speed)
        text = f"epoch {number}/{recipe.epochs}  step {step}  loss {loss:.4f}  lr {self.lr:.3g}"
        text += f"  top1 {score.top1:.4f}  top5 {score.top5:.4f}" if score else ""
        self.reporter.line(f"{text}  {rate:.0f} images/s  {seconds:.1f} s")
        at.next_epoch()
        best = self._improved(score, step)
        if last or best or number % recipe.save_every == 0:
            self._save(accuracy, best)
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
        kind = {"parameters": "ema" if self.recipe.ema else "raw"}
        write_json(self.run_dir / "eval" / "last.json", self.score_facts(score) | place | kind)

    def _save(self, metrics: dict[str, float], best: dict[str, Any] | None = None) -> None:
        """Begin to write a set; returns before it is on disk. Raises Diverged."""
        if not self.writes:
            return
        waited = self.saver.join()  # its arrays are used again
        if waited > LONG_WAIT_S:
            self.reporter.note(
                f"training waited {waited:.1f} s for the checkpoint before: save less often, or to a faster disk"
            )
        at, snapshot = self.at, self._snapshot(metrics)
        self._check_finite(snapshot.weights.values())
        self.saver.save(snapshot, best)
        self.progress.event("checkpoint", step=at.step, epoch=at.epoch, path=f"checkpoints/step-{at.step}")

    def _check_finite(self, weights: Iterable[np.ndarray]) -> None:
        if not all_finite(weights):
            raise Diverged(f"the loss is nan after step {self.at.step}, since the weights are not finite")

    def _snapshot(self, metrics: dict[str, float]) -> ck.Snapshot:
        at = self.at
        extra = {
            **at.as_dict(),
            "global_batch": self.global_batch,
            "fingerprint": self.fingerprint,
            "recipe": self.recipe.json_dict(),
            **self.classes.as_dict(),
        }
        weights, state = self.trainer.weights(self._copies[0]), self.trainer.state(self._copies[1])
        return ck.Snapshot(at.step, at.epoch, self.recipe.arch, weights, state, metrics, extra)

    def resume(self) -> None:
        """Continue from the newest complete set, if there is one; all ranks agree on which."""
        if self.writes:
            finish_start(self.run_dir)
            clean(self.folder)
        newest, skipped = ck.newest_set(self.folder)
        for one in skipped:
            self.reporter.note(str(one))
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
        if self.as_pretrained and differences(newest.manifest, self.fingerprint):
            self._start_anew(newest)
        else:
            check_same_training(newest, self.fingerprint)
            self._restore(newest)

    def _start_anew(self, old: ck.CheckpointSet) -> None:
        """Train from step 0, with the weights of a set of another training."""
        source = find_source(str(old.path), None)
        notes = load_converted(self.trainer.model, source.weights, whole=False)
        self.trainer.restart_average()
        self.reporter.note(f"starts anew from {old.path.name}, {source.parameters} parameters")
        for text in notes:
            self.reporter.note(text)
        self.group.gather(0.0)  # every rank has read the old set
        if self.writes:
            aside = start_anew(self.run_dir, self._snapshot({}))
            self.reporter.note(f"the old checkpoints are in {aside.name}")

    def _restore(self, checkpoint: ck.CheckpointSet) -> None:
        manifest, at = checkpoint.manifest, self.at
        try:
            self.trainer.load(checkpoint.weights(), checkpoint.state())
        except (KeyError, ValueError) as error:
            raise ResumeError(
                f"{checkpoint.path} does not fit this recipe: {error}", hint="use a new run directory"
            ) from error
        note = at.continue_from(manifest, self.global_batch)
        if note:
            self.reporter.note(note)
        if self.writes:
            self.metrics.drop_after(at.step)
        self.reporter.note(f"resumed from step {at.step} (epoch {at.epoch + 1} of {self.recipe.epochs})")
