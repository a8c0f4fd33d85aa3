"""What an evaluation keeps besides its metric: every rank's part, once, and whole before a figure is computed."""

import numpy as np
import pytest

from paddlevideo.collectors import ViewCollector


def views_of(indices):
    return np.array([[[i, 0.5]] * 3 for i in indices], "float32")  # [N, V, K]


@pytest.fixture
def ranks(tmp_path):
    """Two ranks' collectors after their batches; sample 3 came to both."""
    collectors = [ViewCollector(tmp_path / "r.csv") for _ in range(2)]
    for collector, indices in zip(collectors, ([0, 3], [1, 3])):
        collector.update(np.array(indices), {"view_logits": views_of(indices)}, {})
    return collectors


def test_the_file_holds_every_rank_s_samples_once_in_order(ranks, tmp_path):
    main = ranks[0]
    main.merge([collector.state() for collector in ranks])
    main.write([])
    arrays = np.load(tmp_path / "r.views.npz")
    assert arrays["index"].tolist() == [0, 1, 3]
    assert np.array_equal(arrays["view_logits"], views_of([0, 1, 3]))
