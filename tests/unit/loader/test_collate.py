"""Batches: what is stacked, what is joined, and what makes no batch."""

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.loader.collate import BatchSource, collate
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.fetch import SampleSource
from paddlevideo.loader.pipelines.base import BatchTransform
from tests.unit.loader.fakes import FakePipeline


def recognition(index, label, **more):
    return {"imgs": np.full((1, 2, 4, 4, 3), index, np.uint8), "index": index, "label": label, **more}


def detection(index, persons, annotated, height=4, width=6, **more):
    boxes = np.arange(4 * persons, dtype=np.float32).reshape(persons, 4) + 100 * index
    return {
        "imgs": np.full((1, 2, height, width, 3), index + 1, np.uint8),
        "index": index,
        "boxes": boxes,
        "boxes_norm": boxes / 1000,
        "box_scores": np.linspace(0, 1, persons, dtype=np.float32),
        "gt_boxes": np.ones((annotated, 4), np.float32) * index,
        "gt_labels": np.ones((annotated, 5), np.float32),
        "timestamp": 902,
        "img_key": "a,0902",
        **more,
    }


def test_clips_with_one_label_each():
    batch = collate([recognition(3, 1), recognition(5, 0, replaced=4)])
    assert batch["label"].tolist() == [1, 0] and batch["label"].dtype == np.int64
    assert batch["replaced"].tolist() == [-1, 4] and batch["valid"].tolist() == [1, 1]
    assert set(batch) == {"imgs", "index", "label", "replaced", "valid"}


def test_persons_of_all_samples_one_after_the_other():
    batch = collate([detection(0, 2, 1), detection(1, 0, 0), detection(2, 3, 2)])
    assert batch["boxes_num"].tolist() == [2, 0, 3] and batch["gt_boxes_num"].tolist() == [1, 0, 2]
    assert batch["boxes_num"].dtype == batch["gt_boxes_num"].dtype == np.int32
    assert batch["boxes"][:, 0].tolist() == [0, 4, 200, 204, 208]
    np.testing.assert_allclose(batch["boxes_norm"], batch["boxes"] / 1000)
    assert batch["box_scores"].tolist() == [0, 1, 0, 0.5, 1] and batch["gt_labels"].shape == (3, 5)
    assert {v.dtype for k, v in batch.items() if "boxes" in k and "num" not in k} == {np.dtype("float32")}
    assert "label" not in batch and "timestamp" not in batch and "img_key" not in batch


def test_no_person_in_a_whole_batch():
    batch = collate([detection(0, 0, 0), detection(1, 0, 0)])
    assert batch["boxes"].shape == (0, 4) and batch["box_scores"].shape == (0,) and batch["gt_labels"].shape == (0, 5)
    assert batch["boxes_num"].tolist() == [0, 0]


def test_pictures_of_different_sizes_are_padded_in_evaluation_only():
    small, large = detection(0, 1, 1, 4, 6), detection(1, 1, 1, 5, 3)
    batch = collate([small, large])
    assert batch["imgs"].shape == (2, 1, 2, 5, 6, 3) and batch["sizes"].tolist() == [[4, 6], [5, 3]]
    for sample, imgs, (height, width) in zip((small, large), batch["imgs"], batch["sizes"]):
        np.testing.assert_array_equal(imgs[:, :, :height, :width], sample["imgs"])
        assert not imgs[:, :, height:].any() and not imgs[:, :, :, width:].any()
    with pytest.raises(UserError, match="different shapes"):
        collate([{**small, "training": True}, {**large, "training": True}])
    with pytest.raises(UserError, match="different shapes"):
        collate([recognition(0, 0), {**recognition(1, 0), "imgs": np.zeros((1, 2, 5, 4, 3), np.uint8)}])


def test_what_a_transform_adds_reaches_the_network():
    more = {"flow": np.ones((2, 3), np.float16), "weight": np.float32(0.5), "mask": np.array([True, False])}
    for make in (lambda i: recognition(i, 0, **more), lambda i: detection(i, i, 1, **more)):
        batch = collate([make(0), make(1)])
        assert {key: (batch[key].shape, batch[key].dtype) for key in more} == {
            "flow": ((2, 2, 3), np.float16), "weight": ((2,), np.float32), "mask": ((2, 2), bool),
        }  # fmt: skip
    notes = {"author": "somebody", "fps": 25.0, "shot_frames": (0, None), "normalized": True}
    assert set(collate([recognition(0, 1, **notes)])) == {"imgs", "index", "label", "replaced", "valid"}


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            [recognition(0, 1, flow=np.ones(2)), recognition(1, 1, flow=np.ones(3))],
            r"'flow'.*\[2\].*\[3\] \(sample 1\)",
        ),
        ([recognition(0, 1, flow=np.ones(2)), recognition(1, 1)], r"'flow'.*missing \(sample 1\)"),
        ([recognition(0, 1, names=np.array(["a"]))], r"'names'.*<U1 \(sample 0\)"),
        ([recognition(0, 1), recognition(1, np.ones(4, np.float32))], r"'label'.*\[4\] \(sample 1\)"),
        ([detection(0, 1, 1, width=4), recognition(1, 1)], r"'boxes'.*missing \(sample 1\)"),
        (
            [detection(0, 1, 1), {k: v for k, v in detection(1, 1, 1).items() if k != "gt_boxes"}],
            r"'gt_boxes'.*sample 1",
        ),
    ],
)
def test_what_cannot_be_stacked_is_named(samples, message):
    with pytest.raises(UserError, match=message):
        collate(samples)


def test_prediction_needs_no_annotation():
    samples = [{k: v for k, v in detection(i, 1, 1).items() if not k.startswith("gt")} for i in range(2)]
    batch = collate(samples)
    assert "gt_boxes" not in batch and "gt_boxes_num" not in batch and batch["boxes_num"].tolist() == [1, 1]


class Labelled(Dataset):
    file_path = "memory"

    def __init__(self, label):
        self.records = [{"filename": "clip_0.mp4", "label": label, "index": 0}]

    def sample(self, index):
        return dict(self.records[index])


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (3, "Labelled.sample gives sample 0 the label 3, the network has the classes 0 to 2"),
        (-1, "Labelled.sample gives sample 0 the label -1, the network has the classes 0 to 2"),
        (np.ones(4, np.float32), "Labelled.sample gives labels [4], the network has 3 classes"),
    ],
)
def test_a_label_beyond_the_networks_classes_is_named(label, words):
    source = BatchSource(SampleSource(Labelled(label), FakePipeline(), 0, "raise"), None, 3)
    with pytest.raises(UserError) as caught:
        source.make(0, 0, np.array([0]))
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("mix", "words"),
    [
        (lambda batch: None, "gives NoneType, expected the batch, a dict with 'imgs' and 'label'"),
        (lambda batch: {"imgs": batch["imgs"]}, "gives only imgs, expected the batch, a dict with 'imgs' and 'label'"),
        (
            lambda batch: {**batch, "label": np.ones((1, 5), np.float32)},
            "gives 'label' float32 [1, 5], expected float32 [N, K] = [1, 3]",
        ),
        (
            lambda batch: {**batch, "imgs": batch["imgs"][0], "label": np.ones((1, 3), np.float32)},
            "gives 'imgs' uint8 [1, 2, 4, 4, 3], expected uint8 [N, V, T, H, W, 3] = [1, 1, 2, any, any, 3]",
        ),
    ],
)
def test_a_mix_that_gives_no_batch_is_named(mix, words):
    class OwnMix(BatchTransform):
        def __call__(self, batch, rng, num_classes):
            return mix(batch)

    source = BatchSource(SampleSource(Labelled(1), FakePipeline(), 0, "raise"), OwnMix(), 3)
    with pytest.raises(UserError) as caught:
        source.make(0, 0, np.array([0]))
    assert str(caught.value) == f"MIX: OwnMix.__call__ {words}"
