"""Feature bank operators: published size, numpy references, and what empty slots do."""

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling.heads.fbo_head import FBOHead, person_features

R, N, S, C, D = 3, 2, 6, 5, 4
OWNER = np.array([0, 1, 1])


def tensors(seed=0, filled=None):
    rng = np.random.default_rng(seed)
    regions = rng.standard_normal((R, C, 1, 2, 2)).astype("float32")
    slots = rng.standard_normal((N, S, D)).astype("float32")
    where = np.ones((N, S), bool) if filled is None else filled
    return regions, OWNER, slots * where[..., None], where


def run(head, arrays):
    head.eval()
    with paddle.no_grad():
        return head(*(paddle.to_tensor(a) for a in arrays)).numpy()[:, :, 0, 0, 0]


def test_the_paper_sized_operator_has_the_published_number_of_parameters():
    assert sum(p.size for p in FBOHead().fbo.parameters()) == 4_201_472


def test_mean_and_maximum_count_empty_slots_as_zeros_unless_masked():
    filled = np.array([[1, 0, 1, 0, 0, 1], [0, 0, 0, 0, 0, 0]], bool)
    regions, owner, slots, where = tensors(filled=filled)
    slots = -np.abs(slots)  # so that a zero is the largest
    persons = regions.mean(2).max((2, 3))
    for kind, plain, masked in (
        ("avg", slots.mean(1), np.stack([slots[0, filled[0]].mean(0), np.zeros(D)])),
        ("max", slots.max(1), np.stack([slots[0, filled[0]].max(0), np.zeros(D)])),
    ):
        for mask, expected in ((False, plain), (True, masked)):
            head = FBOHead(kind, C, D, mask_empty=mask)
            assert head.out_channels == C + D
            out = run(head, (regions, owner, slots, where))
            np.testing.assert_allclose(out, np.concatenate([persons, expected[owner]], 1), atol=1e-6)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def by_hand(head, regions, owner, slots, where, pre_activate, masked):
    """The non-local operator, one person at a time."""
    w = {k: v.numpy() for k, v in head.fbo.state_dict().items()}

    def linear(name, x):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def norm(name, x):
        return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    rows = []
    for r in range(R):
        x, bank = linear("st_feat_conv", regions[r].mean(1).max((1, 2))), linear("lt_feat_conv", slots[owner[r]])
        for layer in head.fbo.layers:
            products = linear(f"{layer}.lt_feat_conv", bank) @ linear(f"{layer}.st_feat_conv", x) / np.sqrt(len(x))
            values = linear(f"{layer}.global_conv", bank)
            if masked:
                products, values = products[where[owner[r]]], values[where[owner[r]]]
            found = softmax(products) @ values
            if pre_activate:
                x = x + linear(f"{layer}.out_conv", np.maximum(norm(f"{layer}.ln", found), 0))
            else:
                x = np.maximum(x + norm(f"{layer}.ln", linear(f"{layer}.out_conv", found)), 0)
        rows.append(np.concatenate([regions[r].mean(1).max((1, 2)), x]))
    return np.stack(rows)


@pytest.mark.parametrize("pre_activate", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_non_local_equals_the_formula(pre_activate, masked):
    paddle.seed(1)
    head = FBOHead("non_local", C, D, latent_channels=8, pre_activate=pre_activate, mask_empty=masked)
    arrays = tensors(filled=np.array([[1, 0, 1, 0, 0, 1], [1, 1, 1, 1, 0, 1]], bool))
    np.testing.assert_allclose(run(head, arrays), by_hand(head, *arrays, pre_activate, masked), atol=1e-5)


def test_a_zero_initialised_operator_starts_as_the_identity_of_the_projection():
    paddle.seed(1)
    head = FBOHead("non_local", C, D, latent_channels=8, zero_init_out_conv=True)
    regions, owner, slots, where = tensors()
    first, second = run(head, (regions, owner, slots, where)), run(head, (regions, owner, 3 * slots, where))
    np.testing.assert_allclose(first, second, atol=1e-6)


def test_persons_slots_and_layers_have_a_dropout_each():
    """The reference keeps its layers at 0.2 whatever st_feat_dropout_ratio is."""
    for given, layers in (({}, 0.2), ({"non_local_dropout_ratio": 0.5}, 0.5)):
        fbo = FBOHead("non_local", C, D, 8, st_feat_dropout_ratio=0.0, lt_feat_dropout_ratio=0.1, **given).fbo
        found = [fbo.st_drop.p, fbo.lt_drop.p, *(getattr(fbo, name).dropout.p for name in fbo.layers)]
        assert found == [0.0, 0.1, layers, layers]


def test_no_person_at_all_and_a_bank_of_another_length():
    head = FBOHead("avg", C, D)
    regions, owner, slots, where = tensors()
    assert run(head, (regions[:0], owner[:0], slots, where)).shape == (0, C + D)
    with pytest.raises(UserError, match="the feature bank has 3 channels, .*lt_feat_channels is 4"):
        run(head, (regions, owner, slots[..., :3], where))


def test_a_bank_keeps_the_mean_over_time_and_the_maximum_over_places():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 6)).astype("float32")
    np.testing.assert_allclose(person_features(paddle.to_tensor(x)).numpy(), x.mean(2).max((2, 3)), atol=1e-6)
