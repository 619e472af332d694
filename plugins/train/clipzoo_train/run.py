"""The run behind ``clipzoo run train``: a pair of towers from captions, or a bundled encoder from the toy world."""

from __future__ import annotations

import os

from clipzoo import Context, Result
from clipzoo.errors import ConfigError
from clipzoo_train.plugin import TrainSettings


def run(settings: TrainSettings, context: Context) -> Result:
    """Check what is cheap to check; load torch after that.

    Raises:
        ConfigError: if settings do not go together.
    """
    _check(settings)
    import torch.distributed as dist

    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        raise ConfigError(
            "several processes were started, and each would make a run of its own",
            expected="the module that joins them",
            hint="torchrun --nproc-per-node N -m clipzoo_train data=captions.csv",
        )
    if settings.curriculum:
        if dist.is_initialized() and dist.get_world_size() > 1:
            raise ConfigError(
                "a bundled encoder is made by one process", hint=f"clipzoo run train recipe={settings.curriculum}"
            )
        from clipzoo_train.toy.run import make_encoder

        return make_encoder(settings, context)
    from clipzoo_train.caption_run import train_on_captions

    return train_on_captions(settings, context)


def _check(settings: TrainSettings) -> None:
    if settings.precision == "fp16":
        raise ConfigError("training in fp16 needs a scaled loss", expected="fp32 or bf16", hint="precision=bf16")
    if (settings.loss == "distil") != bool(settings.teacher):
        raise ConfigError(
            "loss=distil without a teacher" if not settings.teacher else f"a teacher with loss={settings.loss}",
            expected="both, or neither",
            hint="loss=distil teacher=ViT-B-32/openai",
        )
    if settings.prompt and settings.prompt.count("{}") != 1:
        raise ConfigError(f'the prompt is "{settings.prompt}"', expected='one {}, as in "This image shows {}"')
    if settings.freeze == "image" and settings.mask != "none":
        raise ConfigError("masks teach an image tower, and it is frozen", expected="mask=none")
