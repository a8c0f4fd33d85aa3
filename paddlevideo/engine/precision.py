"""How numbers are computed: mixed precision or float32, deterministic kernels, and the check of each step."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle

from paddlevideo.engine import distributed
from paddlevideo.errors import UserError
from paddlevideo.ranges import suggest
from paddlevideo.solver.optimizer import squared_gradient_norm

log = logging.getLogger("paddlevideo")

# PaddleVideo's: a mean over long axes and a 3-D convolution lose too much in half precision
_KEEP_FLOAT32 = ("conv3d", "reduce_mean")


def use_deterministic_kernels() -> None:
    """``--deterministic``: two runs with one seed on one kind of machine give equal bits.

    Everything random is keyed by the seed already, and Paddle's CPU kernels sum in a fixed order.  On GPUs cuDNN must
    neither take algorithms that add atomically nor choose by a stopwatch, and embeddings are summed in order.
    """
    if paddle.is_compiled_with_cuda():
        flags = {"cudnn_deterministic": True, "cudnn_exhaustive_search": False, "embedding_deterministic": 1}
        paddle.set_flags({f"FLAGS_{name}": value for name, value in flags.items()})


@dataclass(frozen=True)
class StepCheck:
    """What decides whether an optimizer step is taken.

    Args:
        loss: of this rank.
        gradient_norm: of the gradients averaged over all ranks, before clipping; inf beyond 1.8e19, too, whose square
            float32 does not hold.
        statistics: the sum of the batch norms' running statistics after the forward pass.
        refused: whether one of these three is not finite, on any rank: the step must not be taken.
        stops: whether a rank is to stop, for each reason.
    """

    loss: float
    gradient_norm: float
    statistics: float
    refused: bool
    stops: tuple[bool, ...]

    def __str__(self) -> str:
        text = f"loss {self.loss:.6g}, gradient norm {self.gradient_norm:.6g}"
        return text if math.isfinite(self.statistics) else f"{text}, batch-norm statistics {self.statistics:.6g}"


def _check_operators(names: Sequence[str]) -> None:
    known = paddle.base.core._get_all_register_op_kernels("all") if names else {}
    found = [f"{name!r}{suggest(name, known)}" for name in names if name not in known]
    if found:
        raise UserError(
            f"--amp_black_list: Paddle {paddle.__version__} has no operator {', '.join(found)}; expected names as in "
            "paddle.amp's lists, e.g. conv3d, reduce_mean, softmax, layer_norm"
        )


class Precision:
    """float32, or O1/O2 mixed precision with float16 (scaled losses) or bfloat16 (none needed).

    Paddle's CPU has no half-precision kernels and switches itself off with a warning per call; here ``amp`` on a CPU
    logs it once and trains in float32.

    Args:
        black_list: names of operators, as Paddle's AMP lists have them, that stay in float32 besides Paddle's own;
            None: ``conv3d`` and ``reduce_mean``.

    Raises:
        UserError: Paddle has no such operator.
    """

    def __init__(
        self, amp: bool = False, level: str = "O1", dtype: str = "float16", black_list: Sequence[str] | None = None
    ):
        self._black_list = set(_KEEP_FLOAT32 if black_list is None else black_list)
        _check_operators(black_list or ())
        on_gpu = paddle.get_device().startswith("gpu")
        self.level, self.dtype = level, dtype
        self.enabled = amp and on_gpu
        if amp and not on_gpu:
            log.warning("--amp: Paddle has no half-precision kernels for CPUs; training in float32")
        log.info("Training in amp mode, amp_level=%s.", level) if self.enabled else log.info("Training in fp32 mode.")
        scaled = self.enabled and dtype == "float16"
        self._scaler = (
            paddle.amp.GradScaler(init_loss_scaling=2.0**16, incr_every_n_steps=2000, decr_every_n_nan_or_inf=1)
            if scaled
            else None
        )
        self._make_scale_scalar()

    @property
    def multi_precision(self) -> bool:
        """Whether the optimizer must keep float32 master weights."""
        return self.enabled and self.level == "O2"

    def prepare(self, model: paddle.nn.Layer, optimizer: Any) -> tuple[paddle.nn.Layer, Any]:
        """Casts the weights for O2; returns model and optimizer."""
        if self.enabled and self.level == "O2":
            return paddle.amp.decorate(model, optimizer, level="O2", dtype=self.dtype, master_weight=True)
        return model, optimizer

    def autocast(self) -> contextlib.AbstractContextManager:
        """Context of a forward pass."""
        if not self.enabled:
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(custom_black_list=self._black_list, level=self.level, dtype=self.dtype)

    def backward(self, loss: paddle.Tensor) -> None:
        """Gradients of one micro-batch, added to those that are there."""
        (self._scaler.scale(loss) if self._scaler else loss).backward()

    def check(
        self,
        optimizer: Any,
        loss: paddle.Tensor,
        statistics: paddle.Tensor,
        figures: dict[str, paddle.Tensor],
        stops: Sequence[bool] = (),
    ) -> tuple[StepCheck, dict[str, float]]:
        """What decides about the step, and the figures of its log line, in the one read from the device.

        Gradients are unscaled before.  Their norm is the one that ``ClipGradByGlobalNorm`` needs, and is not computed a
        second time for it.

        Args:
            statistics: ``RunningStatistics.copy()`` after the forward pass.
            figures: scalars by name.
            stops: whether this rank is to stop, for each reason.
        """
        if self._scaler:
            self._scaler.unscale_(optimizer)
        values = [loss, squared_gradient_norm(optimizer), statistics.sum(), *figures.values()]
        if self._scaler:
            values.append(self._scaler._found_inf)
        vector = paddle.stack([value.astype("float32").reshape([]) for value in values])
        read, refused, stopped = distributed.read_checked(vector, 3, stops)
        if self._scaler:
            # a number on the host from here on: Paddle's scaler and optimizers would read the tensor again
            self._scaler._found_inf = bool(read.pop())
        norm = math.sqrt(read[1]) if read[1] >= 0 else math.nan
        return StepCheck(read[0], norm, read[2], refused, stopped), dict(zip(figures, read[3:]))

    def step(self, optimizer: Any) -> None:
        """The optimizer step, after ``check``."""
        if self._scaler:
            self._scaler.step(optimizer)
            self._scaler.update()
        else:
            optimizer.step()

    def refuse(self, optimizer: Any) -> bool:
        """Leaves the optimizer step out, after ``check``; the loss scale is adapted.

        Returns:
            Whether the loss scale explains the overflow: it was above 1 and is lower now.
        """
        if not self._scaler:
            return False
        scaled = self.state_dict()["scale"] > 1.0
        overflow = self._scaler._found_inf
        if overflow:
            self._scaler.step(optimizer)  # leaves the step out by itself, and notes it for update()
        self._scaler.update()
        return scaled and overflow

    def state_dict(self) -> dict[str, Any]:
        """JSON-able state of the loss scale; empty where there is none."""
        if not self._scaler:
            return {}
        return {
            key: (np.asarray(value).item() if isinstance(value, paddle.Tensor | np.ndarray | np.generic) else value)
            for key, value in self._scaler.state_dict().items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._scaler and state:
            # Paddle takes the scale back as it gave it: a float32 array of one value
            self._scaler.load_state_dict({**state, "scale": np.array([state["scale"]], "float32")})
            self._make_scale_scalar()

    def _make_scale_scalar(self) -> None:
        # Paddle's [1] is no number for numpy since 2.4, and Paddle's own message of a lowered scale fails on it
        if self._scaler:
            self._scaler._scale = self._scaler._scale.reshape([])
