"""The training loop: optimiser, schedule, averaged weights, exact resume; it knows nothing of what is learned."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from clipzoo.errors import ConfigError, RunError, WeightsError
from clipzoo_train.muon import MuonWithAdamW
from clipzoo_train.processes import average_gradients, is_first, mean_over_processes, told_by_first

B = TypeVar("B")
FORMAT = 1
"""Version of the layout of a saved state."""


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast.

    Args:
        steps: in all.
        epoch_steps: steps an epoch; after each epoch it is measured, and a row is written.
        warmup_steps: in which the rate rises.
        schedule: ``"cosine"`` to ``floor`` from the end of the warm-up on, ``"whole-cosine"`` from the first step on,
            the warm-up cutting its beginning off, ``"constant"``, or ``"plateau"``: the rate is multiplied by
            ``plateau_factor`` after ``plateau_patience`` epochs without improvement.
        floor: share of the rate that is left at the end of the cosine.
        plateau_patience: see above.
        plateau_factor: see above.
        clip_norm: largest norm of the gradient; 0 leaves it as it is.
        ema: decay of the averaged weights; 0 keeps none.
        patience: stop after so many epochs without a better score; 0 goes on.
        save_every: steps between saves.
    """

    steps: int
    epoch_steps: int
    warmup_steps: int = 0
    schedule: str = "cosine"
    floor: float = 0.0
    plateau_patience: int = 1
    plateau_factor: float = 0.8
    clip_norm: float = 1.0
    ema: float = 0.0
    patience: int = 0
    save_every: int = 200


@dataclass
class Progress:
    """Where a run is; everything in it is saved."""

    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: float = -math.inf
    best_epoch: int = 0
    waited: int = 0
    lull: int = 0
    rate: float = 1.0
    losses: list[float] = field(default_factory=list)
    stopped: bool = False


class Loop:
    """Trains a module.

    Args:
        trained: the module whose parameters want gradients.
        groups: parameter groups of AdamW, each with its ``lr``; matrices in a group with ``"muon": True`` go to Muon.
        settings: how long and how fast.
        backward: from a batch to its loss; leaves the gradients of this process in the parameters.
        betas: of AdamW.
        eps: of AdamW.
        after_step: called with each batch after the optimiser has moved.
        carried: further modules whose state is saved (queues, key towers).
        identity: plain values that must be the same at a resume.
    """

    def __init__(
        self,
        trained: nn.Module,
        groups: Sequence[Mapping[str, Any]],
        settings: LoopSettings,
        backward: Callable[[Any], Tensor],
        *,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        after_step: Callable[[Any], None] | None = None,
        carried: nn.Module | None = None,
        identity: Mapping[str, Any] | None = None,
    ) -> None:
        """Set up the optimiser."""
        self.trained = trained
        self.settings = settings
        self.backward = backward
        self.after_step = after_step
        self.carried = carried
        self.identity = dict(identity or {})
        self.parameters = [value for value in trained.parameters() if value.requires_grad]
        if not self.parameters:
            raise ConfigError("nothing wants a gradient", expected="a tower or a head that is not frozen")
        mixed = any(group.get("muon") for group in groups)
        kind = MuonWithAdamW if mixed else torch.optim.AdamW
        self.optimiser = kind([dict(group) for group in groups], betas=betas, eps=eps)
        for group in self.optimiser.param_groups:
            group["initial_lr"] = group["lr"]
        self.progress = Progress()
        self.averaged = (
            AveragedModel(trained, multi_avg_fn=get_ema_multi_avg_fn(settings.ema)) if settings.ema else None
        )

    @property
    def result(self) -> nn.Module:
        """The averaged module, or the trained one where nothing is averaged."""
        return self.trained if self.averaged is None else self.averaged.module

    def run(
        self,
        batches: Callable[[int, int], Iterable[B]],
        after_epoch: Callable[[dict[str, Any]], float | None],
        *,
        state: Path | None = None,
        tell: Callable[[B], str] = lambda batch: "",
        better: Callable[[], None] = lambda: None,
        before_step: Callable[[int], None] = lambda step: None,
    ) -> Progress:
        """Train to the end, from wherever the state is.

        Args:
            batches: from an epoch and the number of its first step to the batches that are left of it. The same
                numbers must give the same batches.
            after_epoch: receives the row of an epoch, may add to it, and returns the score by which the best epoch is
                chosen (higher is better), or None.
            state: file that a killed run goes on from.
            tell: what a batch holds, for the error of a loss that is not finite.
            better: called when an epoch is the best so far.
            before_step: called with the number of each step.

        Raises:
            RunError: if the loss is not finite; the saved state is then the last good one.
            WeightsError: if the state is of another model or of other settings.
        """
        if state is not None and state.exists():
            self.load(state)
        place, started = self.progress, time.perf_counter()
        since = place.step
        while place.step < self.settings.steps and not place.stopped:
            epoch, first = divmod(place.step, self.settings.epoch_steps)
            self.trained.train()
            for batch in batches(epoch, first):
                before_step(place.step)
                self._step(batch, tell)
                if state is not None and place.step % self.settings.save_every == 0:
                    self.save(state)
                if place.step % self.settings.epoch_steps == 0 or place.step >= self.settings.steps:
                    break
            else:
                if place.step % self.settings.epoch_steps:
                    raise RunError(f"epoch {epoch + 1} ended after {place.step} steps", expected="as many as planned")
            spent = time.perf_counter() - started
            self._close_epoch(epoch, after_epoch, better, (place.step - since) / max(spent, 1e-9))
            started, since = time.perf_counter(), place.step
            if state is not None:
                self.save(state)
        return place

    def _step(self, batch: Any, tell: Callable[[Any], str]) -> None:
        place = self.progress
        factor = self.factor(place.step)
        for group in self.optimiser.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self.optimiser.zero_grad(set_to_none=True)
        loss = float(mean_over_processes(self.backward(batch)))
        if not math.isfinite(loss):
            told = tell(batch)
            raise RunError(
                f"the loss of step {place.step + 1} is {loss}",
                expected="a finite number",
                details=[f"in the batch: {told}"] if told else [],
                hint="a smaller lr, or a look at these images; what was saved before is good",
            )
        average_gradients(self.parameters)
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm)
        self.optimiser.step()
        if self.after_step is not None:
            self.after_step(batch)
        if self.averaged is not None:
            self._average(self.averaged)
        place.losses.append(loss)
        place.step += 1

    @torch.no_grad()
    def _average(self, averaged: AveragedModel) -> None:
        """Weights and batch statistics. Buffers that are no state stay: masks hold infinities, which have no mean."""
        kept = averaged.module.state_dict(keep_vars=True).keys()
        before = {
            name: value.clone()
            for name, value in averaged.module.named_buffers()
            if name in kept and value.is_floating_point() and int(averaged.n_averaged)
        }
        averaged.update_parameters(self.trained)  # which copies the buffers as they are
        for name, value in averaged.module.named_buffers():
            if name in before:
                value.copy_(before[name].lerp_(value, 1 - self.settings.ema))

    def factor(self, step: int) -> float:
        """Share of the learning rate at a step."""
        chosen = self.settings
        rising = min(1.0, (step + 1) / chosen.warmup_steps) if chosen.warmup_steps else 1.0
        if chosen.schedule in ("cosine", "whole-cosine"):
            before = chosen.warmup_steps if chosen.schedule == "cosine" else 0
            done = max(0, step - before) / max(1, chosen.steps - before)
            return min(rising, 0.5 * (1 + math.cos(math.pi * done)) + chosen.floor)
        return rising * self.progress.rate

    def _close_epoch(
        self,
        epoch: int,
        after_epoch: Callable[[dict[str, Any]], float | None],
        better: Callable[[], None],
        speed: float,
    ) -> None:
        place, chosen = self.progress, self.settings
        row: dict[str, Any] = {
            "epoch": epoch + 1,
            "step": place.step,
            "loss": sum(place.losses) / max(1, len(place.losses)),
            "lr": self.optimiser.param_groups[0]["lr"],
        }
        place.losses = []
        score = None
        if is_first():
            self.result.eval()
            score = after_epoch(row)
            row["steps_per_second"] = speed
        row, score = told_by_first((row, score))
        place.rows.append(row)
        if score is None or score > place.best:
            place.best = -math.inf if score is None else score
            place.best_epoch, place.waited, place.lull = epoch + 1, 0, 0
            if is_first():
                better()
        else:
            place.waited += 1
            place.lull += 1
            if chosen.schedule == "plateau" and place.lull > chosen.plateau_patience:
                place.rate, place.lull = place.rate * chosen.plateau_factor, 0
        place.stopped = bool(chosen.patience) and place.waited >= chosen.patience

    def save(self, path: Path) -> None:
        """Write everything that the next step depends on, whole or not at all; on the first process alone."""
        if not is_first():
            return
        content = {
            "format": FORMAT,
            "identity": self.identity,
            "progress": vars(self.progress).copy(),
            "trained": self.trained.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "averaged": None if self.averaged is None else self.averaged.state_dict(),
            "carried": None if self.carried is None else self.carried.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        with part.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def load(self, path: Path) -> None:
        """Take over a saved state.

        Raises:
            WeightsError: if it cannot be read, or is of another model or other settings.
        """
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
            if content["format"] != FORMAT:
                raise WeightsError(f"{path} was written by another version of clipzoo")
            known = content["identity"]
        except WeightsError:
            raise
        except Exception as error:
            raise WeightsError(
                f"{path} is no saved state, or damaged: {' '.join(str(error).split())[:200]}",
                hint="delete it to start again",
            ) from error
        changed = [key for key in sorted({*known, *self.identity}) if known.get(key) != self.identity.get(key)]
        if changed:
            told = "; ".join(f"{key} was {known.get(key)!r} and is {self.identity.get(key)!r}" for key in changed[:3])
            raise WeightsError(f"{path} is of another run: {told}", expected="the settings of the run that is resumed")
        try:
            self.trained.load_state_dict(content["trained"])
            self.optimiser.load_state_dict(content["optimiser"])
            if self.averaged is not None:
                self.averaged.load_state_dict(content["averaged"])
            if self.carried is not None:
                self.carried.load_state_dict(content["carried"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise WeightsError(
                f"{path} is of another architecture: {' '.join(str(error).split())[:200]}",
                expected="the model of the run that is resumed",
            ) from error
        self.progress = Progress(**content["progress"])
        torch.set_rng_state(content["random"])
        with suppress(RuntimeError):  # saved on a machine with other devices
            if content["random_cuda"] and torch.cuda.is_available():
                torch.cuda.set_rng_state_all(content["random_cuda"])


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    side: Callable[[str], str],
    rates: Mapping[str, float],
    weight_decay: float,
    *,
    heads_only: bool = False,
) -> list[dict[str, Any]]:
    """Groups of AdamW: a learning rate a side, weight decay on matrices alone.

    Args:
        named: parameters with their names.
        side: from a name to a key of ``rates``.
        rates: learning rate of each side.
        weight_decay: on parameters of two axes or more.
        heads_only: on those of the side ``"head"`` alone, as SimpleCLIP has it.
    """
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, value in named:
        if value.requires_grad:
            part = side(name)
            decays = value.ndim > 1 and (part == "head" or not heads_only)
            groups.setdefault((part, decays), []).append(value)
    return [
        {"params": values, "lr": rates[part], "weight_decay": weight_decay if decays else 0.0}
        for (part, decays), values in groups.items()
    ]
