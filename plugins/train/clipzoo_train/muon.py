"""Muon for the matrices inside a transformer, AdamW for everything else (Jordan 2024; Liu et al. 2025)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from clipzoo.errors import ConfigError


class MuonWithAdamW:
    """Two optimisers that move as one; the loop sees an optimiser.

    Muon replaces the momentum of a matrix by the nearest orthogonal one (five Newton-Schulz steps), scaled so that its
    entries have the size of AdamW's updates: one learning rate scale serves both.

    Args:
        groups: parameter groups; those with ``"muon": True`` hold matrices and go to Muon.
        betas: of AdamW.
        eps: of AdamW.

    Raises:
        ConfigError: if this torch has no Muon.
    """

    def __init__(
        self, groups: Sequence[Mapping[str, Any]], betas: tuple[float, float] = (0.9, 0.98), eps: float = 1e-8
    ) -> None:
        """Set both up."""
        if not hasattr(torch.optim, "Muon"):
            raise ConfigError(
                f"torch {torch.__version__} has no Muon", expected="torch 2.9 or newer", hint="pip install -U torch"
            )
        plain = [{key: value for key, value in group.items() if key != "muon"} for group in groups]
        chosen = [bool(group.get("muon")) for group in groups]
        matrices = [group for group, is_muon in zip(plain, chosen, strict=True) if is_muon]
        others = [group for group, is_muon in zip(plain, chosen, strict=True) if not is_muon]
        self.parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, betas=betas, eps=eps),
        )

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of both; changing a learning rate here changes it there."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=set_to_none)

    def step(self) -> None:
        """Move."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Both states."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over both states.

        Raises:
            KeyError: if the state is that of one optimiser.
        """
        for part, own in zip(self.parts, state["parts"], strict=True):
            part.load_state_dict(own)
