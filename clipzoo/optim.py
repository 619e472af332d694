"""The optimisation runner: many restarts in one batch, a best snapshot of each, early stop, exact resume.

Tensors that are optimised have the restarts as their leading axis, and the objective gives one loss a restart. The
losses are summed, so under an elementwise optimiser such as Adam every restart moves as it would alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clipzoo.errors import ConfigError, DataError, RunError, UsageError

FORMAT = 2
"""Version of the layout of a checkpoint."""

Rate = float | Callable[[int], float]
Objective = Callable[[int], Tensor | Mapping[str, Tensor]]


@dataclass(frozen=True)
class EarlyStop:
    """When a restart is frozen because its score no longer falls; each restart is judged on its own.

    Args:
        patience: evaluations without an improvement by more than ``min_delta`` after which it stops.
        min_delta: least improvement that counts.
        smoothing: share of the earlier average in the score that is judged, 0 to 1; 0 takes it as it is.
        close_only: count only evaluations within ``min_delta`` of the best, not worse ones (CLIPasso's rule).
    """

    patience: int = 10
    min_delta: float = 1e-5
    smoothing: float = 0.0
    close_only: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that never stop or always do."""
        if self.patience < 1 or self.min_delta < 0 or not 0 <= self.smoothing < 1:
            raise ConfigError(
                f"early stop with patience {self.patience}, min_delta {self.min_delta}, smoothing {self.smoothing}",
                expected="patience of at least 1, min_delta of at least 0, smoothing in [0, 1)",
            )


@dataclass(frozen=True)
class Moment:
    """What a callback sees after a step; reading a tensor's value waits for the device.

    Args:
        step: that was done, from 0.
        losses: name to one number a restart, of the parameters before the step.
        parameters: after the step; do not change them.
        active: restarts that are still moving.
    """

    step: int
    losses: Mapping[str, Float[Tensor, " restarts"]]
    parameters: Mapping[str, Tensor]
    active: Bool[Tensor, " restarts"]


@dataclass(frozen=True)
class Optimised:
    """What an optimisation gave.

    Args:
        best: each restart's parameters where its score was least.
        best_score: that score; infinite for a restart without one finite score.
        best_step: steps done before it.
        last: parameters after the last step.
        stopped: step at which a restart was frozen, -1 if it ran to the end.
        history: name to losses ``[steps, restarts]``, on the CPU.
        trace: (steps done, parameters on the CPU) every ``trace_every`` steps and at the end.
        steps: that were done.
    """

    best: Mapping[str, Tensor]
    best_score: Float[Tensor, " restarts"]
    best_step: Int[Tensor, " restarts"]
    last: Mapping[str, Tensor]
    stopped: Int[Tensor, " restarts"]
    history: Mapping[str, Float[Tensor, "steps restarts"]]
    trace: Sequence[tuple[int, Mapping[str, Tensor]]]
    steps: int


def optimise(
    objective: Objective,
    parameters: Mapping[str, Tensor],
    learning_rates: Rate | Mapping[str, Rate],
    steps: int,
    *,
    optimiser: Callable[[list[dict[str, Any]]], torch.optim.Optimizer] = torch.optim.Adam,
    score: str = "loss",
    evaluate_every: int = 10,
    snapshot: Literal["same-step", "after-step"] = "same-step",
    early_stop: EarlyStop | None = None,
    project: Callable[[int], None] | None = None,
    callbacks: Iterable[Callable[[Moment], None]] = (),
    trace_every: int = 0,
    checkpoint: str | Path | None = None,
    save_every: int = 0,
    resume: bool = False,
    config: Mapping[str, Any] | None = None,
    generators: Mapping[str, torch.Generator] | None = None,
) -> Optimised:
    """Minimise an objective over its parameters, all restarts at once.

    No value is read back from the device between evaluations. A restart whose score is no finite number is frozen and
    keeps its best; the others go on.

    Args:
        objective: from the step to one loss a restart, or to several by name of which ``"loss"`` is minimised; also
            called once after the last step, without gradient. A loss without an axis is one restart.
        parameters: leaf tensors by name, changed in place; their first axis is that of the restarts, unless the loss
            has none.
        learning_rates: one for all, or one a name; numbers, or functions of the step.
        steps: how many.
        optimiser: from parameter groups (``params``, ``lr``, ``name``) to a PyTorch optimiser; an elementwise one if
            restarts are to stay independent.
        score: the loss by which the best is chosen.
        evaluate_every: steps between looks at the score.
        snapshot: ``"same-step"`` keeps the parameters that were scored; ``"after-step"`` those one step later, as
            CLIPasso's code does.
        early_stop: freeze restarts that no longer improve; stop when all are frozen.
        project: called after each step, without gradient, to bring parameters back into their range.
        callbacks: called with a :class:`Moment` after each step.
        trace_every: steps between parameters that are kept for pictures of the way; 0 keeps none.
        checkpoint: file that the state is saved to, as a whole or not at all.
        save_every: steps between saves; 0 saves at the end alone.
        resume: go on from ``checkpoint``; the result is bit for bit that of a run without a break on the same device.
        config: plain values that must be the same at a resume.
        generators: generators that the objective draws from. Their states are saved, as are those of the global
            generators of torch, numpy and Python, which a resume sets.

    Raises:
        ConfigError: if names, numbers or shapes do not fit, or ``config`` is not that of the checkpoint.
        UsageError: if there is no checkpoint to resume from.
        DataError: if the checkpoint is damaged or of another optimisation.
        RunError: if no restart had one finite score.

    >>> x = torch.tensor([[3.0], [-2.0]], requires_grad=True)
    >>> done = optimise(lambda step: (x - 1).square().sum(1), {"x": x}, 0.1, 100)
    >>> (done.best_score < 1e-2).tolist(), done.history["loss"].shape
    ([True, True], torch.Size([100, 2]))
    """
    if steps < 1 or evaluate_every < 1 or min(trace_every, save_every) < 0:
        raise ConfigError(
            f"{steps} steps, evaluate_every {evaluate_every}, trace_every {trace_every}, save_every {save_every}",
            expected="at least one step, an evaluation at least every step, and no negative numbers",
        )
    if snapshot not in ("same-step", "after-step"):
        raise ConfigError(f'no snapshot called "{snapshot}"', expected="same-step, after-step")
    if (resume or save_every) and checkpoint is None:
        raise UsageError("resume and save_every need a file", expected="checkpoint=PATH")
    rates = _rates(parameters, learning_rates)
    groups = [{"params": [tensor], "lr": rates[name](0), "name": name} for name, tensor in parameters.items()]
    run = _Run(objective, dict(parameters), rates, optimiser(groups), score, early_stop, dict(generators or {}))
    if resume:
        assert checkpoint is not None
        run.load(Path(checkpoint), config)
    for step in range(run.step, steps):
        if run.finished:
            break
        look = step % evaluate_every == 0
        if trace_every and step % trace_every == 0:
            run.keep_trace()
        losses = run.backward()
        if look and snapshot == "same-step":
            run.judge(losses)
        run.move(project)
        if look and snapshot == "after-step":
            run.judge(losses)
        moment = Moment(step, losses, parameters, run.active)
        for callback in callbacks:
            callback(moment)
        if checkpoint is not None and save_every and run.step % save_every == 0:
            run.save(Path(checkpoint), config)
    if snapshot == "same-step" and not run.finished:
        run.judge_last()
    if trace_every and (not run.trace or run.trace[-1][0] != run.step):
        run.keep_trace()
    if checkpoint is not None:
        run.save(Path(checkpoint), config)
    return run.result()


def _rates(parameters: Mapping[str, Tensor], given: Rate | Mapping[str, Rate]) -> dict[str, Callable[[int], float]]:
    if not parameters:
        raise ConfigError("no parameter was given", expected="tensors by name")
    for name, tensor in parameters.items():
        if not (tensor.is_leaf and tensor.requires_grad):
            raise ConfigError(f'the parameter "{name}" is no leaf that requires a gradient', hint="requires_grad_()")
    each = given if isinstance(given, Mapping) else dict.fromkeys(parameters, given)
    if set(each) != set(parameters):
        raise ConfigError(
            f"learning rates for {', '.join(each) or 'nothing'}", expected=f"one for each of {', '.join(parameters)}"
        )
    return {name: rate if callable(rate) else _constant(rate) for name, rate in each.items()}


def _constant(rate: float) -> Callable[[int], float]:
    return lambda step: rate


@dataclass
class _Run:
    """The state of an optimisation between two steps."""

    objective: Objective
    parameters: dict[str, Tensor]
    rates: dict[str, Callable[[int], float]]
    optimiser: torch.optim.Optimizer
    score: str
    early_stop: EarlyStop | None
    generators: dict[str, torch.Generator]
    step: int = 0
    batched: bool = True
    finished: bool = False
    some_frozen: bool = False
    best: dict[str, Tensor] = field(default_factory=dict)
    judged: dict[str, Tensor] = field(default_factory=dict)
    """Per restart: best_score, best_step, stopped, active, and early stop's waited, least and smoothed."""
    history: dict[str, list[Tensor]] = field(default_factory=dict)
    trace: list[tuple[int, dict[str, Tensor]]] = field(default_factory=list)

    @property
    def active(self) -> Tensor:
        return self.judged["active"]

    def backward(self) -> dict[str, Tensor]:
        """Losses and gradients at the present parameters."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rates[group["name"]](self.step)
        self.optimiser.zero_grad(set_to_none=True)
        losses = self._losses()
        losses["loss"].sum().backward()
        losses = {name: loss.detach() for name, loss in losses.items()}
        for name, loss in losses.items():
            self.history.setdefault(name, []).append(loss)
        return losses

    def _losses(self) -> dict[str, Tensor]:
        given = self.objective(self.step)
        losses = dict(given) if isinstance(given, Mapping) else {"loss": given}
        for name in ("loss", self.score):
            if name not in losses:
                raise ConfigError(f'the objective gives no "{name}"', expected=", ".join(losses) or "losses by name")
        self.batched = losses["loss"].ndim == 1
        losses = {name: loss.reshape(-1) for name, loss in losses.items()}
        restarts = len(losses["loss"])
        uneven = [name for name, loss in losses.items() if len(loss) != restarts]
        uneven += [n for n, p in self.parameters.items() if self.batched and (p.ndim == 0 or len(p) != restarts)]
        if uneven:
            raise ConfigError(
                f"{restarts} losses, and {', '.join(uneven)} of another length",
                expected="one loss a restart, and parameters whose first axis is that of the restarts",
            )
        if not self.judged:
            self._begin(losses["loss"])
        return losses

    def _begin(self, loss: Tensor) -> None:
        like = {"device": loss.device}
        restarts = len(loss)
        far = torch.full((restarts,), float("inf"), dtype=loss.dtype, **like)
        none = torch.full((restarts,), -1, dtype=torch.long, **like)
        self.judged = {
            "best_score": far,
            "best_step": none,
            "stopped": none.clone(),
            "active": torch.ones(restarts, dtype=torch.bool, **like),
            "waited": torch.zeros(restarts, dtype=torch.long, **like),
            "least": far.clone(),
            "smoothed": far.clone(),
        }
        self.best = {name: tensor.detach().clone() for name, tensor in self.parameters.items()}

    def judge(self, losses: Mapping[str, Tensor]) -> None:
        """Keep the parameters of restarts that are better than ever, and freeze those that have come to rest."""
        now, state = losses[self.score], self.judged
        better = state["active"] & (now < state["best_score"])
        state["best_score"] = torch.where(better, now, state["best_score"])
        state["best_step"] = torch.where(better, self.step, state["best_step"])
        for name, tensor in self.parameters.items():
            self.best[name] = torch.where(self._rows(better, tensor), tensor.detach(), self.best[name])
        stop = ~torch.isfinite(now)
        if self.early_stop is not None:
            stop |= self._rests(now, self.early_stop)
        stop &= state["active"]
        state["stopped"] = torch.where(stop, self.step, state["stopped"])
        state["active"] = state["active"] & ~stop
        self._look(state["active"])

    def _look(self, active: Tensor) -> None:
        """The one place that waits for the device."""
        moving = active.tolist()
        self.finished, self.some_frozen = not any(moving), not all(moving)

    def _rests(self, now: Tensor, rule: EarlyStop) -> Tensor:
        state = self.judged
        fresh = torch.isinf(state["smoothed"])
        mixed = rule.smoothing * state["smoothed"] + (1 - rule.smoothing) * now
        state["smoothed"] = torch.where(fresh, now, mixed)
        change = state["smoothed"] - state["least"]
        improved = change < -rule.min_delta
        counts = change.abs() <= rule.min_delta if rule.close_only else ~improved
        state["waited"] = torch.where(improved, 0, state["waited"] + counts.long())
        state["least"] = torch.where(improved, state["smoothed"], state["least"])
        return state["waited"] >= rule.patience

    def _rows(self, mask: Tensor, tensor: Tensor) -> Tensor:
        """A mask over restarts in a shape that lines up with a parameter."""
        mask = mask.to(tensor.device)
        return mask.reshape(-1, *[1] * (tensor.ndim - 1)) if self.batched else mask[0]

    @torch.no_grad()
    def move(self, project: Callable[[int], None] | None) -> None:
        """One step of the optimiser; frozen restarts stay where they are, whatever its momentum."""
        before = {name: p.detach().clone() for name, p in self.parameters.items()} if self.some_frozen else {}
        self.optimiser.step()
        if project is not None:
            project(self.step)
        for name, old in before.items():
            tensor = self.parameters[name]
            tensor.copy_(torch.where(self._rows(self.active, tensor), tensor, old))
        self.step += 1

    @torch.no_grad()
    def judge_last(self) -> None:
        """Score what the last step made."""
        self.judge(self._losses())

    def keep_trace(self) -> None:
        """Keep the present parameters for a picture of the way."""
        self.trace.append((self.step, {name: p.detach().cpu().clone() for name, p in self.parameters.items()}))

    def result(self) -> Optimised:
        """What was found.

        Raises:
            RunError: if no restart had a finite score.
        """
        state = self.judged
        if not bool(torch.isfinite(state["best_score"]).any()):
            raise RunError(
                "no restart has one finite score", expected="finite losses", hint="a smaller learning rate, or fp32"
            )
        return Optimised(
            self.best,
            state["best_score"],
            state["best_step"],
            {name: tensor.detach().clone() for name, tensor in self.parameters.items()},
            state["stopped"],
            {name: torch.stack(values).cpu() for name, values in self.history.items()},
            tuple(self.trace),
            self.step,
        )

    def save(self, path: Path, config: Mapping[str, Any] | None) -> None:
        """Write the whole state, and replace an earlier file only when it is complete."""
        inner = self.optimiser.state_dict()
        tensors = {f"parameter/{name}": tensor for name, tensor in self.parameters.items()}
        tensors |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"judged/{name}": tensor for name, tensor in self.judged.items()}
        tensors |= {f"history/{name}": torch.stack(values) for name, values in self.history.items() if values}
        for place, (_, kept) in enumerate(self.trace):
            tensors |= {f"trace/{place}/{name}": tensor for name, tensor in kept.items()}
        plain: dict[str, dict[str, Any]] = {}
        for index, values in inner["state"].items():
            for key, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser/{index}/{key}"] = value
                else:
                    plain.setdefault(str(index), {})[key] = value
        random_tensors, random_plain = _random_states(self.generators)
        told = {
            "format": FORMAT,
            "clipzoo": _version(),
            "step": self.step,
            "batched": self.batched,
            "config": _plain(config),
            "digest": _digest(config),
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in inner["param_groups"]],
            "optimiser": plain,
            "trace": [step for step, _ in self.trace],
            "random": random_plain,
        }
        ready = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()} | random_tensors
        plain_text = json.dumps(told)
        metadata = {"optimisation": plain_text, "digest": _content_digest(ready, plain_text)}
        _write(path, safetensors.torch.save(ready, metadata=metadata))

    def load(self, path: Path, config: Mapping[str, Any] | None) -> None:
        """Take over the state in ``path``."""
        tensors, told = _read(path)
        if _digest(config) != told.get("digest"):
            raise ConfigError(
                f"{path} was made with other settings: {_difference(told.get('config') or {}, _plain(config))}",
                expected="the settings of the run that is resumed",
            )
        try:
            with torch.no_grad():
                for name, tensor in self.parameters.items():
                    stored = tensors[f"parameter/{name}"]
                    if stored.shape != tensor.shape or stored.dtype != tensor.dtype:
                        raise DataError(
                            f'"{name}" in {path} is {tuple(stored.shape)}, {stored.dtype}',
                            expected=f"{tuple(tensor.shape)}, {tensor.dtype}",
                        )
                    tensor.copy_(stored)
            device = next(iter(self.parameters.values())).device
            self.best = {name: tensors[f"best/{name}"].to(p.device) for name, p in self.parameters.items()}
            self.judged = {k.partition("/")[2]: v.to(device) for k, v in tensors.items() if k.startswith("judged/")}
            self.history = {
                key.partition("/")[2]: list(value.to(device).unbind())
                for key, value in tensors.items()
                if key.startswith("history/")
            }
            self.trace = [
                (step, {name: tensors[f"trace/{place}/{name}"] for name in self.parameters})
                for place, step in enumerate(told["trace"])
            ]
            self.optimiser.load_state_dict(self._optimiser_state(tensors, told))
            self.step, self.batched = told["step"], told["batched"]
            self._look(self.judged["active"])
            _restore_random(tensors, told["random"], self.generators)
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise DataError(f"{path} is no checkpoint of this optimisation: {error}") from error

    def _optimiser_state(self, tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> dict[str, Any]:
        state: dict[int, dict[str, Any]] = {int(index): dict(values) for index, values in told["optimiser"].items()}
        for key, value in tensors.items():
            if key.startswith("optimiser/"):
                _, index, name = key.split("/", 2)
                state.setdefault(int(index), {})[name] = value
        present = self.optimiser.state_dict()["param_groups"]
        groups = [group | {"params": own["params"]} for group, own in zip(told["groups"], present, strict=True)]
        return {"state": state, "param_groups": groups}


def _random_states(generators: Mapping[str, torch.Generator]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    kind, numbers, gauss = random.getstate()
    tensors = {
        "random/torch": torch.get_rng_state(),
        "random/numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "random/python": torch.tensor(numbers, dtype=torch.int64),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        tensors |= {f"random/cuda/{k}": state for k, state in enumerate(torch.cuda.get_rng_state_all())}
    tensors |= {f"random/generator/{name}": one.get_state() for name, one in generators.items()}
    plain = {"numpy": [name, int(position), int(has_gauss), float(cached)], "python": [kind, gauss]}
    return {key: value.cpu().contiguous().clone() for key, value in tensors.items()}, plain


def _restore_random(
    tensors: Mapping[str, Tensor], plain: Mapping[str, Any], generators: Mapping[str, torch.Generator]
) -> None:
    torch.set_rng_state(tensors["random/torch"])
    name, position, has_gauss, cached = plain["numpy"]
    np.random.set_state((name, tensors["random/numpy"].numpy().astype(np.uint32), position, has_gauss, cached))
    kind, gauss = plain["python"]
    random.setstate((kind, tuple(tensors["random/python"].tolist()), gauss))
    cuda = [tensors[key] for key in sorted(tensors) if key.startswith("random/cuda/")]
    if cuda and torch.cuda.is_available():
        for index, state in enumerate(cuda[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(state, index)
    for key, generator in generators.items():
        generator.set_state(tensors[f"random/generator/{key}"])


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.is_file():
        raise UsageError(f"there is no checkpoint {path}", expected="a file that an optimisation has saved")
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            told = json.loads(metadata["optimisation"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise DataError(f"{path} is no checkpoint, or damaged: {error}") from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        raise DataError(f"{path} was written by another version of clipzoo")
    if metadata.get("digest") != _content_digest(tensors, metadata["optimisation"]):
        raise DataError(
            f"{path} is damaged: its numbers are not those that were saved", hint="delete it to start again"
        )
    return tensors, told


def _content_digest(tensors: Mapping[str, Tensor], plain: str) -> str:
    """SHA-256 of all that a checkpoint holds: a state in which one number has changed would still look like one."""
    digest = hashlib.sha256(plain.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def _plain(config: Mapping[str, Any] | None) -> Any:
    return json.loads(json.dumps(dict(config or {}), default=str, sort_keys=True))


def _digest(config: Mapping[str, Any] | None) -> str:
    return hashlib.sha256(json.dumps(_plain(config), sort_keys=True).encode()).hexdigest()[:16]


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    return "; ".join(f"{key} was {before.get(key)!r} and is {now.get(key)!r}" for key in changed[:3])


def _version() -> str | None:
    try:
        return version("clipzoo")
    except PackageNotFoundError:
        return None
