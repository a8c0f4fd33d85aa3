"""``--multigrid``: the shapes of a run, and what changes in it where a shape begins."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self

from paddlevideo.config import Config
from paddlevideo.engine.hooks import Hook
from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.modeling.split_norm import set_num_splits
from paddlevideo.multigrid import Multigrid, Stage
from paddlevideo.settings import Options

if TYPE_CHECKING:
    from paddlevideo.engine.trainer import Trainer

log = logging.getLogger("paddlevideo")


def shapes_of(config: Config, options: Options, pipelines: Mapping[str, Pipeline]) -> Multigrid | None:
    """With ``--multigrid`` the shapes of MULTIGRID, else None.

    Raises:
        UserError: there is no such section, or another part of the configuration does not go with it.
    """
    settings = config.settings
    if not options.multigrid:
        if settings.multigrid is not None:
            log.info("no --multigrid: MULTIGRID is passed over, all clips have the shape of PIPELINE.train")
        return None
    if settings.multigrid is None:
        raise UserError(f"{config.source}: MULTIGRID: is missing; --multigrid needs it")
    for what, given in (("SWA", settings.swa is not None), ("sync_bn", settings.sync_bn)):
        if given:
            raise UserError(f"{config.source}: {what} is not possible with --multigrid; take one of the two out")
    if settings.accumulation.global_batch_size and not settings.accumulation.num_iters:
        raise UserError(
            f"{config.source}: GRADIENT_ACCUMULATION.global_batch_size: the batches of --multigrid differ in size; "
            "take num_iters, a number of batches, or take the section out"
        )
    if "train" not in pipelines:
        raise UserError(f"{config.source}: PIPELINE.train: is missing; training needs it")
    base, rate = pipelines["train"].clip_shape, config.section("OPTIMIZER").get("learning_rate")
    grid = Multigrid.of(settings.multigrid, rate, base, settings.batches.batch_size)
    if settings.epochs != rate["max_epoch"]:
        raise UserError(
            f"{config.source}: epochs: is {settings.epochs}, OPTIMIZER.learning_rate.max_epoch is {rate['max_epoch']}; "
            "--multigrid makes both MULTIGRID.epoch_factor times as long, so set them to the same number"
        )
    return grid


class MultigridHook(Hook):
    """Splits the batches of batch norms as the shape of the epoch has it, and logs where a shape begins."""

    name = "multigrid"

    def __init__(self, grid: Multigrid):
        self.grid = grid
        self._logged: Stage | None = None

    @classmethod
    def from_run(cls, run: Trainer) -> Self | None:
        return run.grid and cls(run.grid)

    def epoch_start(self, run: Trainer) -> None:
        grid, epoch = self.grid, run.progress.epoch
        stage, splits = grid.stage(epoch), grid.num_splits(epoch)
        num_layers = set_num_splits(run.framework, splits)
        if stage == self._logged:
            return
        self._logged = stage
        shapes = [f"{grid.shape(epoch, n).crop_size} x {grid.clips(epoch, n)}" for n in range(3)]
        norms = f"; {num_layers} batch norms split a batch into {splits}" if num_layers and splits > 1 else ""
        log.info(
            "multigrid: clips of %d frames up to epoch %d; side x clips of the batches: %s%s",
            stage.num_frames, stage.end, ", ".join(dict.fromkeys(shapes)), norms,
        )  # fmt: skip
