import pytest

from paddlevideo.inference.flags import first_difference


@pytest.mark.parametrize(
    "ours, theirs, difference",
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, None),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "P.a[1].b: here 2, exported 3"),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, "P: here a, b, exported b, a"),  # steps run in written order
        ({"a": [1]}, {"a": [1, 2]}, "P.a: here [1], exported [1, 2]"),
        ({"a": None}, {"a": {}}, "P.a: here None, exported {}"),
    ],
)
def test_the_first_difference_is_named_by_its_key_path(ours, theirs, difference):
    assert first_difference(ours, theirs, "P") == difference
