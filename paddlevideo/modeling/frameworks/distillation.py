"""Networks that learn from each other: students from a frozen teacher, or equals from equals."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import paddle
from paddle import nn

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.modeling.frameworks.base import Framework, Recognizer
from paddlevideo.modeling.frameworks.build import build_framework, without_start_weights
from paddlevideo.modeling.losses.base import PairLoss
from paddlevideo.modeling.weights import load_weights
from paddlevideo.ranges import RuntimeConfig
from paddlevideo.registry import FRAMEWORKS, LOSSES, suggest
from paddlevideo.safe_io import sha256
from paddlevideo.weight_names import weights_file

log = logging.getLogger("paddlevideo")

LABELS = "GroundTruth"


@dataclass
class Model:
    """One entry of ``models``: its MODEL section, its key path, and what the log names about it."""

    section: dict[str, Any]
    where: str
    frozen: bool
    weights: str | None
    weights_sha256: str | None = None  # of the file, once it is loaded


@FRAMEWORKS.register
class RecognizerDistillation(Framework):
    """Several recognizers on the same clips, and losses between pairs of them and the labels.

    A frozen model has no gradient, evaluates (dropout, running statistics) also while the others train, and is not in
    checkpoints if it has a ``weights`` file: it comes from there again.  The student, which predicts, is tested and
    exported, is the model named ``Student``, else the first one that is not frozen.

    Args:
        models: ``[{Teacher: {backbone, head}}, {Student: {...}}]``, each a MODEL section, ``framework: Recognizer2D``
            if it names none; besides it takes ``weights``, a file to start from that fits key by key, and
            ``normalization: {mean, std}`` if its pixels are normalised otherwise than the pipelines state.
        loss: ``{Train: [{name, model_name_pairs: [Student, Teacher], arguments}, ...]}``; one pair or a list of pairs,
            whose second may be ``GroundTruth``.  The losses are added up.  ``Val`` is checked and not needed: what is
            validated is the metric.
        freeze_params_list: what is frozen, as names or as one truth value per model.
        runtime_cfg: for the models that have none of their own.
        normalization: (mean, std) on the 0..1 scale, applied to uint8 clips.

    *Source*: PaddleVideo ``RecognizerDistillation``.  There the parts of a checkpoint's names are ``Student.0``,
    ``Student.1`` (here ``Student.backbone``, ``Student.head``), and a frozen model's batch norms still move.
    """

    default_framework = "Recognizer2D"  # of a model that names none

    def __init__(
        self,
        models: list[dict],
        loss: dict[str, Any],
        freeze_params_list: list[str | bool] | None = None,
        runtime_cfg: RuntimeConfig | None = None,
        normalization: Sequence[Sequence[float]] | None = None,
    ):
        super().__init__()
        self.plan = _plan(models, freeze_params_list, runtime_cfg)
        self.student_name = _student_of(self.plan)
        for name, model in self.plan.items():
            if name in dir(self):
                raise ConfigError("MODEL", [f"{model.where}: {name!r} has a meaning of its own; choose another name"])
            self.add_sublayer(name, _build(model, normalization))
        self._check_frames()
        self.pairs: list[tuple[str, str]] = []
        self.criteria = nn.LayerList()
        self._build_losses(loss)
        for name, model in self.plan.items():
            if model.frozen:
                for parameter in self.model(name).parameters():
                    parameter.stop_gradient = True
        self.train()

    def model(self, name: str) -> Recognizer:
        """One of the networks."""
        return self._sub_layers[name]

    def networks(self) -> list[Recognizer]:
        """All of them, in the configuration's order."""
        return [self.model(name) for name in self.plan]

    @property
    def student_network(self) -> Recognizer:
        """The network that is tested and exported."""
        return self.model(self.student_name)

    @property
    def num_classes(self) -> int:
        """K."""
        return self.student_network.num_classes

    @property
    def num_frames(self) -> int:
        """T, the frames that a clip must have."""
        return self.student_network.num_frames

    @property
    def multi_label(self) -> bool:
        """Whether the student gives several classes."""
        return self.student_network.multi_label

    @property
    def avg_type(self) -> str:
        """How the student averages over views."""
        return self.student_network.avg_type

    @property
    def classifier_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of parameters with a shape that depends on the number of classes."""
        return tuple(f"{name}.{prefix}" for name in self.plan for prefix in self.model(name).classifier_prefixes)

    def train(self) -> None:
        """Training mode for all but the frozen models."""
        super().train()
        for name, model in self.plan.items():
            network = self.model(name)
            if model.frozen:
                network.eval()
            else:
                network.train()  # which keeps its frozen layers in eval mode

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, paddle.Tensor]:
        """Everything but the models that are frozen and have a file of their own."""
        elsewhere = tuple(f"{name}." for name, model in self.plan.items() if model.frozen and model.weights)
        own = super().state_dict(*args, **kwargs)
        for key in [key for key in own if key.startswith(elsewhere)]:
            del own[key]
        return own

    def input_spec(self, batch: Mapping[str, Any]) -> list[paddle.static.InputSpec]:
        """The student's."""
        return self.student_network.input_spec(batch)

    def forward(self, batch: Mapping[str, Any], mode: str = "loss") -> dict[str, paddle.Tensor]:
        """One step; arguments and returns as ``Recognizer.forward``, scores being the student's."""
        if mode == "predict":
            return self.student_network(batch, mode="predict")
        if mode != "loss":
            raise ValueError(f"mode: expected 'loss' or 'predict', got {mode!r}")
        given = {name: self._run(name, batch["imgs"]) for name in self.plan}
        views = batch["imgs"].shape[1]
        labels = batch["label"].repeat_interleave(views, axis=0) if views > 1 else batch["label"]
        terms = []
        for (name, target), criterion in zip(self.pairs, self.criteria):
            if target == LABELS:
                terms.append(criterion.of_labels(given[name]["logits"], labels))
            else:
                terms.append(criterion(given[name][criterion.takes], given[target][criterion.takes]))
        logits = given[self.student_name]["logits"].detach().reshape([-1, views, self.num_classes])
        return {"loss": sum(terms[1:], terms[0]), "scores": self.student_network.average(logits)}

    def predict_scores(self, imgs: paddle.Tensor) -> paddle.Tensor:
        """The student's probabilities [N, K] of clips [N, V, T, H, W, 3]."""
        return self.student_network.predict_scores(imgs)

    def checkpoints(self) -> dict[str, nn.Layer]:
        """The whole, and the student under the names of its own configuration."""
        return {"": self, "_student": self.student_network}

    def kept_elsewhere(self) -> dict[str, str]:
        """Frozen models that are in no checkpoint, and the sha256 of the file that each comes from."""
        return {name: model.weights_sha256 for name, model in self.plan.items() if model.frozen and model.weights}

    def start_files(self) -> dict[str, tuple[str, bool]]:
        """The ``weights`` of models with logits in a loss; those that others are compared with teach."""
        pairs = [pair for pair, c in zip(self.pairs, self.criteria) if c.takes == "logits" and LABELS not in pair]
        teachers = {name for pair in pairs for name in pair} - {self.student_name}
        return {
            f"{model.where}.weights": (model.weights, name in teachers)
            for name, model in self.plan.items()
            if model.weights and (name in teachers or not model.frozen)
        }

    @classmethod
    def deployed(cls, section: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """The student's section, and where its names begin."""
        plan = _plan(section.get("models"), section.get("freeze_params_list"), section.get("runtime_cfg"))
        name = _student_of(plan)
        return plan[name].section, f"{name}."

    @classmethod
    def without_start_weights(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """The same section without files that a checkpoint makes needless: all but those of frozen models."""
        frozen = _plan(section.get("models"), section.get("freeze_params_list"), None)
        models = []
        for item in section["models"]:
            ((name, own),) = item.items()
            keep = frozen[name].frozen and frozen[name].weights
            own = super().without_start_weights(own)
            models.append({name: own if keep else {key: value for key, value in own.items() if key != "weights"}})
        return {**section, "models": models}

    def _run(self, name: str, imgs: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Logits [N * V, K] and, if a loss takes them, features [N * V, D] of one model."""
        network = self.model(name)
        wanted = any(c.takes == "features" and name in pair for pair, c in zip(self.pairs, self.criteria))
        with paddle.no_grad() if self.plan[name].frozen else contextlib.nullcontext():
            with _outputs_of(network.backbone) as outputs:
                logits = network.view_logits(imgs).flatten(0, 1)  # [N * V, K]
            return {"logits": logits, **({"features": _pool(outputs[0], len(logits))} if wanted else {})}

    def _width(self, name: str, kind: str) -> int:
        """The values of a row of a model's "logits" or "features"."""
        network = self.model(name)
        return network.num_classes if kind == "logits" else network.feature_channels

    def _check_frames(self) -> None:
        problems = [
            f"{model.where}.backbone.num_seg: all models see the same clips: expected {self.num_frames} "
            f"({self.plan[self.student_name].where}), got {self.model(name).num_frames}"
            for name, model in self.plan.items()
            if self.model(name).num_frames != self.num_frames
        ]
        if problems:
            raise ConfigError("MODEL", problems)

    def _build_losses(self, loss: Mapping[str, Any]) -> None:
        problems: list[str] = []
        for i, spec in enumerate((loss or {}).get("Train") or []):
            where = f"MODEL.loss.Train[{i}]"
            arguments = {key: value for key, value in spec.items() if key != "model_name_pairs"}
            for pair in _pairs(spec.get("model_name_pairs"), where):
                criterion = LOSSES.build(arguments, where)
                problems += self._connect(criterion, pair, where)
                self.pairs.append(pair)
                self.criteria.append(criterion)
        learning = {name for pair in self.pairs for name in pair}
        problems += [
            f"MODEL.loss.Train: no loss trains {name}; name it in a pair, or freeze it ({model.where})"
            for name, model in self.plan.items()
            if not model.frozen and name not in learning
        ]
        if problems:
            raise ConfigError("MODEL", problems)
        if (loss or {}).get("Val"):
            log.info("MODEL.loss.Val: not needed; validation computes METRIC of the student's scores")

    def _connect(self, criterion: Any, pair: tuple[str, str], where: str) -> list[str]:
        """Problems of a loss with its pair; a valid one gets the widths of both sides."""
        kind, names = type(criterion).__name__, [*self.plan, LABELS]
        if not isinstance(criterion, PairLoss):
            return [f"{where}.name: {kind} is no loss between models"]
        here = f"{where}.model_name_pairs"
        unknown = [f"{here}: there is no model {name!r}{suggest(name, names)}" for name in pair if name not in names]
        if unknown:
            return unknown
        x, target = pair
        if x in (LABELS, target):
            return [f"{here}: expected a model and then another model or {LABELS}, got {list(pair)}"]
        if target == LABELS:
            problems = (
                []
                if criterion.takes_labels
                else [f"{here}: {kind} compares two models; {LABELS} is for DistillationCELoss"]
            )
            count = self.model(x).num_classes
            problems += [
                f"{where}.{key}: expected one number for each of {count} classes, got {len(values)}"
                for key, values in criterion.per_class().items()
                if len(values) != count
            ]
            return problems + ([f"{here}: {x} is frozen, and {LABELS} trains nothing"] if self.plan[x].frozen else [])
        if self.plan[x].frozen:
            return [f"{here}: {x} is frozen; the model that learns comes first"]
        if criterion.per_class():
            return [f"{where}.{key}: is for a pair with {LABELS}, got {list(pair)}" for key in criterion.per_class()]
        widths = [self._width(name, criterion.takes) for name in pair]
        if criterion.takes == "logits" and widths[0] != widths[1]:
            return [f"{here}: {x} has {widths[0]} classes, {target} has {widths[1]}"]
        try:
            criterion.connect(*widths)
        except ValueError as error:
            return [f"{where}.{error}"]
        return []


@contextlib.contextmanager
def _outputs_of(layer: nn.Layer) -> Iterator[list[paddle.Tensor]]:
    """Collects a layer's outputs within the context."""
    found: list[paddle.Tensor] = []
    hook = layer.register_forward_post_hook(lambda layer, inputs, output: found.append(output))
    try:
        yield found
    finally:
        hook.remove()


def _pool(features: paddle.Tensor, clips: int) -> paddle.Tensor:
    """[clips * T, D, ...] -> [clips, D]: the mean over places and frames."""
    if features.ndim > 2:
        features = features.flatten(2).mean(2)
    return features.reshape([clips, -1, features.shape[-1]]).mean(1)


def _plan(models: Any, freeze: Any, runtime_cfg: Any) -> dict[str, Model]:
    """The entries of ``models`` by name.

    Raises:
        ConfigError: an entry is no single named section, or ``freeze_params_list`` does not fit.
    """
    items = models if isinstance(models, list) and models else [None]
    if not all(isinstance(item, Mapping) and len(item) == 1 for item in items):
        raise ConfigError("MODEL", ["MODEL.models: expected a list of single names, each with a MODEL section"])
    names = [next(iter(item)) for item in items]
    frozen = _frozen(freeze, names)
    plan: dict[str, Model] = {}
    for i, item in enumerate(items):
        ((name, own),) = item.items()
        where = f"MODEL.models[{i}].{name}"
        if name in plan or name == LABELS or not str(name).isidentifier():
            raise ConfigError("MODEL", [f"{where}: expected a name of its own, a single word, and not {LABELS}"])
        shared = {"runtime_cfg": runtime_cfg} if runtime_cfg else {}
        section = {"framework": RecognizerDistillation.default_framework, **shared, **own}
        plan[name] = Model(section, where, name in frozen, section.pop("weights", None))
    return plan


def _frozen(freeze: Any, names: list[str]) -> set[str]:
    here, given = "MODEL.freeze_params_list", list(freeze or [])
    if given and all(isinstance(value, bool) for value in given):
        if len(given) != len(names):
            raise ConfigError("MODEL", [f"{here}: expected a truth value for each of {', '.join(names)}, got {given}"])
        return {name for name, value in zip(names, given) if value}
    problems = [f"{here}: there is no model {name!r}{suggest(str(name), names)}" for name in given if name not in names]
    if problems:
        raise ConfigError("MODEL", problems)
    return set(given)


def _student_of(plan: Mapping[str, Model]) -> str:
    learning = [name for name, model in plan.items() if not model.frozen]
    if not learning:
        raise ConfigError("MODEL", ["MODEL.freeze_params_list: all models are frozen; nothing would learn"])
    return "Student" if "Student" in learning else learning[0]


def _build(model: Model, normalization: Any) -> Recognizer:
    """The network of one entry, with its weights; problems name the entry instead of MODEL."""
    try:
        section = without_start_weights(model.section) if model.weights else model.section
        network = build_framework(section, normalization)
        if model.weights:
            log.info("%s.weights %s", model.where, load_weights(network, model.weights))
            model.weights_sha256 = sha256(weights_file(model.weights))
        elif model.frozen:
            log.warning("%s: is frozen and has no weights file: a checkpoint must bring its weights", model.where)
        loss = None if model.frozen else (section.get("head") or {}).get("loss_cfg")
        if loss:
            line = "%s.head.loss_cfg: %s makes the scores %s and trains nothing; MODEL.loss.Train has the losses"
            log.info(line, model.where, loss.get("name"), "sigmoid" if network.multi_label else "softmax")
    except ConfigError as error:
        problems = [problem.replace("MODEL.", f"{model.where}.", 1) for problem in error.problems]
        raise ConfigError("MODEL", problems) from None
    except UserError as error:
        raise UserError(f"{model.where}: {error}") from None
    return network


def _pairs(value: Any, where: str) -> list[tuple[str, str]]:
    """``[A, B]`` or ``[[A, B], [C, D]]``."""
    pairs = value if isinstance(value, list) and value and isinstance(value[0], list) else [value]
    if not all(isinstance(p, list) and len(p) == 2 and all(isinstance(name, str) for name in p) for p in pairs):
        raise ConfigError("MODEL", [f"{where}.model_name_pairs: expected [Student, Teacher] or a list of such pairs"])
    return [tuple(pair) for pair in pairs]
