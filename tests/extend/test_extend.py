"""docs/extend.md: what it shows runs at the first try from a folder outside the package, and mistakes are one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny import make_clips

ROOT = Path(__file__).resolve().parents[2]
KINDS = ["backbone", "head", "loss", "framework", "dataset", "transform", "metric", "schedule"]
SMALL = ["MODEL.backbone.depth=18", "MODEL.backbone.width=4", "MODEL.head.in_channels=32"]
PRETRAINED = ["MODEL.backbone.pretrained=null"]
# what makes a page's example small enough for a test, besides the data
OVERRIDES = {
    "backbone": ["MODEL.backbone.width=4", "MODEL.head.in_channels=16"],
    "framework": SMALL,
    "schedule": [*SMALL, *PRETRAINED, "OPTIMIZER.learning_rate.every=10"],
    **dict.fromkeys(("head", "loss", "dataset", "transform", "metric"), SMALL + PRETRAINED),
}


def blocks(page: str) -> dict[str, str]:
    """{file name: text} of the code blocks of a page that begin with a file's name."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(r"```(?:python|yaml)\n# (\S+)\n(.*?)```", text, re.S)
    return {name: f"# {name}\n{body}" for name, body in found}


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """data/own of the page, with four videos in two classes."""
    folder = tmp_path_factory.mktemp("own")
    make_clips(folder / "clips", count=4)
    for split in ("train", "val"):
        rows = []
        for i in range(4):
            target = folder / split / f"class {i % 2}" / f"{i}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / "clips" / f"clip {i}.mp4", target)
            rows.append({"video": f"class {i % 2}/{i}.mp4", "class": i % 2})
        (folder / f"{split}.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture
def work(tmp_path, data):
    """An empty folder with the package's configurations and the data, and a call that runs one kind of the page."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "own").symlink_to(data)
    page = blocks("extend.md")

    def example(kind, *changes, arguments=("--validate", "--max_iters", "1"), options=(), launcher=()):
        source = page[f"my_{kind}.py"]
        for old, new in changes:
            assert old in source, old
            source = source.replace(old, new)
        (tmp_path / f"my_{kind}.py").write_text(source)
        (tmp_path / f"my_{kind}.yaml").write_text(page[f"my_{kind}.yaml"])
        small = ["epochs=1", "DATASET.batch_size=2", "DATASET.num_workers=0", "output_dir=out", *OVERRIDES[kind]]
        command = [sys.executable, *launcher, str(ROOT / "main.py"), "-c", f"my_{kind}.yaml", *arguments]
        for option in (*small, *options):
            command += ["-o", option]
        return run([*command, "--device", "cpu"], tmp_path)

    return example


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_page_shows_trains_a_step(work, tmp_path, kind):
    done = work(kind)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    assert f"my_{kind}.py" in (tmp_path / "out" / "config.yaml").read_text()
    assert list((tmp_path / "out").glob("*_best.pdparams")), done.stdout


def test_both_languages_show_the_same_code():
    assert blocks("extend.md") == blocks("extend_zh-CN.md")
    assert {f"my_{kind}{ending}" for kind in KINDS for ending in (".py", ".yaml")} == set(blocks("extend.md"))


TAKEN = {
    "backbone": ("SmallConvNet", "ResNetTweaksTSM"),
    "dataset": ("JsonDataset", "FrameDataset"),
    "transform": ("RandomGray", "RandomFlip"),
    "metric": ("WorstClassAccuracy", "AVAMetric"),
}
MISSING = {
    "backbone": (
        "def forward(self, x)",
        "def features(self, x)",
        "SmallConvNet: forward is missing: expected forward",
    ),
    "dataset": ("def sample(", "def get(", "dataset JsonDataset: sample is missing: expected sample(self, index)"),
    "transform": ("def __call__(", "def run(", "transform RandomGray: __call__ is missing: expected __call__(self, sa"),
    "metric": ("def merge(", "def join(", "metric WorstClassAccuracy: merge is missing: expected merge(self, states)"),
}
SIGNATURE = {
    "backbone": (
        "forward(self, x)",
        "forward(self, x, y)",
        ": forward(self, x, y): expected forward(self, x)",
    ),
    "dataset": ("sample(self, index)", "sample(self)", "JsonDataset: sample(self): expected sample(self, index)"),
    "transform": (
        "(self, sample, rng)",
        "(self, sample)",
        "RandomGray: __call__(self, sample): expected __call__(",
    ),
    "metric": ("(self, index, outputs, batch)", "(self, outputs)", "WorstClassAccuracy: update(self, outputs): expect"),
}
SHAPE = {
    "backbone": (
        ("return self.layers(x)", "return self.layers(x).mean([2, 3])"),
        "MODEL.backbone: SmallConvNet.forward gives [16, 16], expected [N * T, C, h, w] with 16 rows and C = 16",
    ),
    "dataset": (
        ("return dict(self.records[index])", "return {'filename': self.records[index]['filename']}"),
        "DATASET.train: JsonDataset.sample gives only filename, expected a dict with the record's 'label'",
    ),
    "transform": (
        ('sample["imgs"] = np.repeat(grey, 3, axis=-1)', 'sample["imgs"] = grey[0]'),
        "(RandomGray): its __call__ gives 'imgs' [8, 224, 224, 1], expected an array [V, T, H, W, 3]",
    ),
    "metric": (
        ('{"worst_class": min', '{"worst": min'),
        "METRIC: WorstClassAccuracy.compute gives the figures worst, num_samples, without the primary figure 'worst_",
    ),
}
# one of each kind and of each mistake in the quick set
QUICK = {("backbone", "shape"), ("dataset", "signature"), ("transform", "missing"), ("metric", "taken")}
CASES = [
    pytest.param(kind, mistake, marks=() if (kind, mistake) in QUICK else pytest.mark.slow)
    for kind in MISSING
    for mistake in ("missing", "signature", "shape", "taken")
]


@pytest.mark.parametrize(("kind", "mistake"), CASES)
def test_a_mistake_is_one_line_before_the_first_step(work, tmp_path, kind, mistake):
    if mistake == "missing":
        old, new, words = MISSING[kind]
    elif mistake == "signature":
        old, new, words = SIGNATURE[kind]
    elif mistake == "shape":
        (old, new), words = SHAPE[kind]
    else:
        old, new = TAKEN[kind]
        words = f"{new}: the name is taken by paddlevideo."
    changes = [(old, new)]
    if (kind, mistake) == ("transform", "shape"):
        changes.append(("rng.random() < self.p", "True"))
    done = work(kind, *changes)
    assert done.returncode == 2, done.stdout[-2000:] + done.stderr[-3000:]
    lines = [line for line in done.stderr.splitlines() if words in line]
    assert len(lines) == 1 and len(done.stderr.strip().splitlines()) <= 2, done.stderr
    assert "Traceback" not in done.stderr and "epoch:[" not in done.stdout
    assert not list((tmp_path / "out").glob("*.pdparams"))


def test_wrong_arguments_show_in_the_check_without_running_the_file(work, tmp_path):
    change = ("from paddle import nn", "raise SystemExit(7)")
    done = work("backbone", change, arguments=["--check"], options=["MODEL.backbone.widht=3"])
    assert done.returncode == 2 and "MODEL.backbone.widht: SmallConvNet takes no 'widht'" in done.stderr, done.stderr


def test_data_workers_have_the_users_classes(work):
    done = work("transform", options=["DATASET.num_workers=1"])
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_ranks_have_the_users_classes(work, tmp_path):
    done = work("metric", launcher=["-m", "paddle.distributed.launch", "--nproc_per_node", "2"])
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert list((tmp_path / "out").glob("*_best.pdparams"))


@pytest.mark.slow
def test_an_export_runs_a_transform_of_the_user_only_by_name_and_unchanged(work, tmp_path):
    """The pipeline of a test with a transform of the user's is the one of the prediction."""
    test = "{transform: [{Scale: {short_size: 256}}, {CenterCrop: {target_size: 224}}, {RandomGray: {p: 1.0}}, "
    test += "{Normalization: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}}]}"
    options = [f"PROTOCOLS={{grey: {test}}}", "protocol=grey"]
    assert work("transform", options=options).returncode == 0
    weights = next((tmp_path / "out").glob("*_best.pdparams"))
    export = [sys.executable, str(ROOT / "tools" / "export_model.py"), "-c", "out/config.yaml", "-p", str(weights)]
    export += ["--timing", "none"]
    done = run([*export, "-o", "exported"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "my_transform.py: " in (tmp_path / "exported" / "inference.yml").read_text()
    predict = [sys.executable, str(ROOT / "tools" / "predict.py"), "--input_file", "data/own/val/class 0/0.mp4"]
    predict += ["--model_file", str(next((tmp_path / "exported").glob("*.json"))), "--use_gpu", "False"]
    source = (tmp_path / "my_transform.py").read_text()
    (tmp_path / "my_transform.py").write_text(source + "open('was_run', 'w')\n")  # as an export of somebody else could
    done = run(predict, tmp_path)
    assert done.returncode == 2 and "an export runs no code by itself" in done.stderr, done.stderr
    assert not (tmp_path / "was_run").exists()
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved" / "my_transform.py").write_text(source)
    done = run([*predict, "--import", "moved/my_transform.py"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run([*predict, "--import", "my_transform.py"], tmp_path)
    assert done.returncode == 2 and "my_transform.py: has changed since the export" in done.stderr, done.stderr
