import pytest

from paddlevideo.config.merging import differences


@pytest.mark.parametrize(
    "ours, theirs, difference",
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, []),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, [("P.a[1].b", "2", "3")]),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, [("P", "a, b", "b, a")]),  # steps run in written order
        ({"a": [1]}, {"a": [1, 2]}, [("P.a", "[1]", "[1, 2]")]),
        ({"a": None}, {"a": {}}, [("P.a", "None", "{}")]),
        ({"a": 1, "b": "x"}, {"a": 2, "b": "y"}, [("P.a", "1", "2"), ("P.b", "'x'", "'y'")]),
    ],
)
def test_differences_are_named_by_their_key_paths(ours, theirs, difference):
    assert list(differences(ours, theirs, "P", ordered=True)) == difference


def test_of_settings_neither_order_nor_tuples_nor_empty_sections_are_differences():
    ours, theirs = {"a": (1, 2), "b": None, "c": 0}, {"c": None, "b": {}, "a": [1, 3]}
    found = list(differences(ours, theirs, "P", text=str))
    assert found == [("P.a[1]", "2", "3"), ("P.c", "0", "None")]
    assert not list(differences(ours, {"b": {}, "a": [1, 2], "c": 0}, "P"))
