"""A model under DeepSpeed, and the state of its training as whole tensors; DeepSpeed's only home.

DeepSpeed's own checkpoints are pickles, cut up by stage and worker. Here a state is what any stage
and any number of workers can go on from: of each trained parameter, by name, its value and Adam's
two moments, in float32.
"""

import atexit
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed
from torch.nn.functional import pad

from qdllm import teacher
from qdllm.errors import ConfigError
from qdllm.specs import TeacherSpec

CLIP = 1.0
"""Gradients are scaled down to this norm."""

VALUE, MOMENTS = "value", ("exp_avg", "exp_avg_sq")
PARTS = (VALUE, *MOMENTS)
"""Of a parameter's state; the moments by torch's names for them."""


def device() -> torch.device:
    """This worker's device, which Ray or DeepSpeed has made the current one."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def join_group() -> None:
    """The process group that DeepSpeed needs: of this process alone, if it is in none.

    It lasts as long as the process, since DeepSpeed holds on to the groups of its first engine.
    """
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks for it with every engine
    if not distributed.is_initialized():
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        distributed.init_process_group(
            backend,
            store=distributed.HashStore(),
            rank=0,
            world_size=1,
            device_id=device() if backend == "nccl" else None,  # NCCL warns where it has to guess,
        )
        atexit.register(distributed.destroy_process_group)  # and of a group that is left behind.


def shapes(model: teacher.Classifier) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a state of this model has."""
    return {
        f"{part}/{name}": tuple(parameter.shape)
        for name, parameter in teacher.trainable(model).items()
        for part in PARTS
    }


@contextmanager
def linear_kept() -> Iterator[None]:
    """Have PyTorch's own linear layer again afterwards.

    For ZeRO 3 DeepSpeed puts another in its place, for good, whose last bits differ: whatever else
    this process computes would depend on which teachers it has trained.
    """
    linear = torch.nn.functional.linear
    try:
        yield
    finally:
        torch.nn.functional.linear = linear


def engine(
    spec: TeacherSpec,
    model: teacher.Classifier,
    micro: int,
    state: Mapping[str, torch.Tensor] | None = None,
    updates: int = 0,
) -> Any:
    """The model under DeepSpeed, with torch's AdamW over LoRA and the head.

    `micro`: rows that a worker computes at once. `state` and `updates`: what `gathered_state` gave,
    to go on from there. Raises ConfigError for a GPU that lacks the precision.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    elif spec.precision == "bfloat16" and not torch.cuda.is_bf16_supported(False):
        raise ConfigError(
            f"{torch.cuda.get_device_name()} has no bfloat16: give precision: float32, or workers "
            "with newer GPUs"
        )
    import deepspeed
    import deepspeed.ops

    # Without this, initialize() on CPU compiles a kernel for a minute and needs g++ and ninja.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if spec.gradient_checkpointing:
        model.transformer.activation_checkpointing_enable({"use_reentrant": False})
    zero: dict[str, Any] = {"stage": spec.zero_stage}
    if spec.offload:
        # What is worth moving: the frozen weights, which only stage 3 can move, else Adam's state.
        zero["offload_param" if spec.zero_stage == 3 else "offload_optimizer"] = {"device": "cpu"}
    trained = teacher.trainable(model)
    if state:
        # DeepSpeed cuts up, casts and shares what it finds in the model.
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(state[f"{VALUE}/{name}"])
    made, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(trained.values(), lr=spec.lr, weight_decay=spec.weight_decay),
        config={
            "train_batch_size": spec.batch_size,
            "train_micro_batch_size_per_gpu": micro,
            "gradient_clipping": CLIP,
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "bf16": {"enabled": spec.precision == "bfloat16"},
        },
    )
    if state:
        _restore(made, trained, state, updates)
    return made


def gathered_state(engine: Any, model: teacher.Classifier) -> tuple[dict[str, torch.Tensor], int]:
    """The state after a step, whole, in the first worker's memory, and how often Adam has updated.

    A meeting of all workers; the others get no tensors.
    """
    first, state = distributed.get_rank() == 0, dict[str, torch.Tensor]()
    for number, (name, parameter) in enumerate(teacher.trainable(model).items()):
        for part in PARTS:
            whole = _read(engine, number, parameter, part)
            if first:
                state[f"{part}/{name}"] = whole.detach().float().cpu().clone()
    some = next(iter(engine.basic_optimizer.state.values()))
    return state, int(some["step"])


def gathered_adapter(model: teacher.Classifier) -> dict[str, torch.Tensor]:
    """A copy of the adapter, whole on every worker also where ZeRO 3 spreads it over them."""
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(teacher.trainable(model).values())):
        return {name: tensor.cpu().clone() for name, tensor in teacher.adapter_of(model).items()}


def empty(model: teacher.Classifier) -> None:
    """Give a trained model's memory back, so that the device has room for the one loaded next.

    DeepSpeed's caches keep the modules that ZeRO 3 has trained, with their parameters, whose
    weights are an attribute then, for as long as the process lives.
    """
    for parameter in model.parameters():
        vars(parameter).clear()
        parameter.data = parameter.new_empty(0)


def _restore(
    engine: Any,
    trained: Mapping[str, torch.nn.Parameter],
    state: Mapping[str, torch.Tensor],
    updates: int,
) -> None:
    """Give a fresh engine the optimizer's state, which torch itself makes with the first step."""
    adam, stage = engine.basic_optimizer, engine.zero_optimization_stage()
    held = engine.optimizer.fp32_partitioned_groups_flat if stage == 3 else _held(engine)
    for tensor in held:
        adam.state[tensor] = {part: torch.zeros_like(tensor) for part in MOMENTS}
        adam.state[tensor]["step"] = torch.tensor(float(updates))
    if stage in (1, 2):
        engine.optimizer._lazy_init_hp_params_optimizer_state()
    with torch.no_grad():
        for number, (name, parameter) in enumerate(trained.items()):
            for part in PARTS:
                _write(engine, number, parameter, part, state[f"{part}/{name}"])


def _read(engine: Any, number: int, parameter: Any, part: str) -> torch.Tensor:
    """One part of the state of a parameter, the `number`th one, whole. A meeting of all workers."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    if engine.zero_optimization_stage() == 0:
        return _part(engine, number, part)
    if part == VALUE:
        return safe_get_full_fp32_param(parameter)
    return safe_get_full_optimizer_state(parameter, part)


def _write(engine: Any, number: int, parameter: Any, part: str, whole: torch.Tensor) -> None:
    """Keep of one part what is this worker's share."""
    from deepspeed import utils

    stage = engine.zero_optimization_stage()
    if stage == 0:
        _part(engine, number, part).copy_(whole)
    elif stage == 3:
        # Shares are equally long, the last ones filled up.
        length = parameter.ds_tensor.numel()
        share = whole.flatten()[distributed.get_rank() * length :][:length]
        share = pad(share, (0, length - len(share)))
        if part == VALUE:
            utils.safe_set_local_fp32_param(parameter, share)
        else:
            utils.safe_set_local_optimizer_state(parameter, share, part)
    elif part == VALUE:
        utils.safe_set_full_fp32_param(parameter, whole)
    else:
        utils.safe_set_full_optimizer_state(parameter, whole, part)


def _held(engine: Any) -> list[torch.Tensor]:
    """What Adam updates. Without ZeRO a tensor for each parameter; in bfloat16 a float32 copy."""
    return [tensor for group in engine.basic_optimizer.param_groups for tensor in group["params"]]


def _part(engine: Any, number: int, part: str) -> torch.Tensor:
    held = _held(engine)[number]
    tensor: torch.Tensor = held if part == VALUE else engine.basic_optimizer.state[held][part]
    return tensor
