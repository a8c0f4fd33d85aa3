"""A trained network as prediction runs it, and the configuration that it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from paddlevideo.build import pipelines_of, trained_network
from paddlevideo.config import Config, load_config
from paddlevideo.environment import use_device
from paddlevideo.errors import UserError
from paddlevideo.extensions import declare_all
from paddlevideo.inference.exported import NEEDS_WEIGHTS
from paddlevideo.inference.runtimes.base import InputSpec, Say, finite_scores
from paddlevideo.loader.decode.reader import Damaged
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.memory import within_memory
from paddlevideo.registry import FRAMEWORKS


def config_of(
    model: str | Path | Config, weights: str | Path | None, overrides: Sequence[str] = (), imports: Sequence[str] = ()
) -> Config | None:
    """The configuration of trained weights; None where there are none and ``model`` is an exported one.

    Args:
        model: a configuration, its file or file name, or an exported model.
        overrides: ``KEY=VALUE`` that change the file.
        imports: modules or .py files with registered classes of the user's own.

    Raises:
        UserError: a configuration without weights, or weights without a configuration.
    """
    if weights is not None:
        if not isinstance(model, Config):
            return load_config(model, overrides, uses=("test",), imports=imports)
        declare_all(imports)
        return model
    if isinstance(model, Config) or Path(model).suffix in (".yaml", ".yml"):
        name = model.source if isinstance(model, Config) else model
        raise UserError(NEEDS_WEIGHTS.format(name))
    if Path(model).suffix == ".pdparams":
        raise UserError(f"{model}: weights; name the configuration that they were trained with first, then the weights")
    declare_all(imports)
    return None


def pipelines_with_test(config: Config) -> dict[str, Pipeline]:
    """The pipelines of a configuration, ``test`` among them.

    Raises:
        UserError: there is no ``PIPELINE.test``.
    """
    if not isinstance(config.section("PIPELINE").get("test"), Mapping):
        raise UserError(f"{config.source}: PIPELINE.test: is missing; export and predict take their clips from it")
    return pipelines_of(config)


def damaged_of(config: Config | None) -> Damaged:
    """What testing does with damaged videos: ``DATASET.test.damaged``."""
    section = ((config or {}).get("DATASET") or {}).get("test") or {}
    return section.get("damaged", "refuse")


class TrainedNetwork:
    """The network of a configuration with trained weights: arrays in, arrays out, as ``--test`` runs it.

    Args:
        config: MODEL; DATASET where the weights carry no class names.
        weights: ``.pdparams``.
        device: ``auto``, ``cpu``, ``gpu`` or ``gpu:N``.
        of_persons: whether the caller has persons' boxes.
        say: receives lines on the class names that are taken and on the keys of the weights that fit.

    Attributes:
        name: of its weights.
        pipeline: PIPELINE.test.
        config: the same with a number in place of each ``auto`` of MODEL.
        classes: what the outputs mean.
        framework: the network.

    Raises:
        UserError: no such device, weights that do not fit, a network that takes boxes or takes none.
    """

    inputs = (InputSpec("imgs", (-1,) * 6, "uint8"),)  # of any size
    _USED = ("imgs", "sizes", "boxes", "boxes_num", "long_term", "long_term_filled")

    def __init__(self, config: Config, weights: str | Path, device: str, of_persons: bool, say: Say):
        pipelines, name = pipelines_with_test(config), config.section("MODEL").get("framework")
        if name in FRAMEWORKS and FRAMEWORKS.get(name).takes_boxes != of_persons:
            what = "names whole videos, not people; use paddlevideo predict"
            what = what if of_persons else "names what people do and takes their boxes; use paddlevideo detect"
            raise UserError(f"{config.source}: MODEL {what}")
        self.name, self.pipeline, self.device = str(weights), pipelines["test"], use_device(device)
        self.config, self.framework, self.classes = trained_network(config, weights, say, pipelines)
        self.framework.eval()

    def run(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probabilities, float32 [N, K] of clips or [R, K] of persons.

        Raises:
            UserError: they hold NaN or infinity.
        """
        return finite_scores(self._output(batch, "predict", "scores"), self.name)

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """What a feature bank holds of each person, float32 [R, C]."""
        return self._output(batch, "features", "features")

    def _output(self, batch: Mapping[str, np.ndarray], mode: str, key: str) -> np.ndarray:
        import paddle

        from paddlevideo.modeling.operators import tensor_of

        with within_memory("the model's run", batch["imgs"], "lower --batch_size"), paddle.no_grad():
            tensors = {name: tensor_of(batch[name]) for name in self._USED if name in batch}
            return self.framework(tensors, mode=mode)[key].astype("float32").numpy()
