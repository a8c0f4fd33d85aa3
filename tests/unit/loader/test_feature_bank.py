"""Feature banks: what is written is read, windows follow the slot rule, damaged files are refused."""

import pickle

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.loader.collate import collate
from paddlevideo.loader.feature_bank import BankFrame, FeatureBank, LongTermWindow, write_bank
from paddlevideo.loader.pipelines.long_term import LongTermFeatures
from paddlevideo.loader.pipelines.pipeline import Pipeline
from paddlevideo.safe_io import DamagedFileError

C = 6


def persons(rng, count):
    return rng.standard_normal((count, C)).astype("float32")


@pytest.fixture
def frames():
    rng = np.random.default_rng(0)
    return [
        BankFrame(video, second, persons(rng, count), rng.random(count).astype("float32"))
        for video in ("b", "a")
        for second, count in ((905, 2), (901, 3), (902, 0), (930, 7), (960, 1))
    ]


@pytest.fixture
def bank(frames, tmp_path):
    write_bank(tmp_path / "x.bank", frames, about={"weights": "abc"})
    return tmp_path / "x.bank"


def slots_by_hand(frames, video, second, window_s, max_features, channels=C):
    """models.md 9, spelled out: second by second, the best scores first."""
    out = np.zeros((window_s * max_features, channels), "float32")
    filled = np.zeros(len(out), bool)
    for i in range(window_s):
        for frame in frames:
            if (frame.video, frame.second) == (video, second - window_s // 2 + i):
                best = sorted(range(len(frame.features)), key=lambda j: -frame.scores[j])[:max_features]
                for j, person in enumerate(best):
                    out[i * max_features + j] = frame.features[person]
                    filled[i * max_features + j] = True
    return out, filled


def test_a_bank_gives_back_what_was_written(bank, frames):
    read = FeatureBank(bank)
    assert (len(read), read.channels, read.names, read.about["weights"]) == (26, C, ["a", "b"], "abc")
    for frame in frames:
        rows, seconds = read.rows(frame.video, frame.second, frame.second + 1)
        assert (frame.video, frame.second) in read
        assert np.array_equal(read.features[rows], frame.features[np.argsort(-frame.scores)])
        assert seconds.tolist() == [frame.second] * len(frame.features)
    assert ("a", 903) not in read and ("z", 901) not in read and ("a", 2000) not in read


def test_any_reader_of_safetensors_reads_it(bank):
    from safetensors.numpy import load_file

    assert load_file(bank)["features"].shape == (26, C)


def test_half_a_bank_is_half_as_large_and_rounds_only(frames, tmp_path):
    wide = [BankFrame(f.video, f.second, np.tile(f.features, 400), f.scores) for f in frames]
    write_bank(tmp_path / "full.bank", wide)
    write_bank(tmp_path / "half.bank", wide, half=True)
    full, half = FeatureBank(tmp_path / "full.bank"), FeatureBank(tmp_path / "half.bank")
    assert half.path.stat().st_size < 0.52 * full.path.stat().st_size
    assert np.array_equal(half.features, np.asarray(full.features).astype("float16"))


def test_the_order_of_writing_does_not_matter(bank, frames, tmp_path):
    write_bank(tmp_path / "y.bank", frames[::-1], about={"weights": "abc"})
    assert (tmp_path / "y.bank").read_bytes() == bank.read_bytes()


@pytest.mark.parametrize("second", [901, 905, 931, 965])
@pytest.mark.parametrize(("window_s", "max_features"), [(60, 5), (8, 2), (1, 9)])
def test_first_is_the_slot_rule(bank, frames, second, window_s, max_features):
    window = LongTermWindow([bank], window_s, max_features)
    features, filled = window("a", second, None)
    expected, where = slots_by_hand(frames, "a", second, window_s, max_features)
    assert np.array_equal(features, expected) and np.array_equal(filled, where)


def test_random_draws_without_repeating_and_from_the_given_generator(bank, frames):
    window = LongTermWindow([bank], 60, 5)
    seven = next(f for f in frames if (f.video, f.second) == ("a", 930)).features
    seen = set()
    for seed in range(40):
        features, filled = window("a", 930.9, np.random.default_rng(seed))
        again, _ = window("a", 930.9, np.random.default_rng(seed))
        assert np.array_equal(features, again)
        drawn = features[30 * 5 : 31 * 5]
        rows = [int(np.flatnonzero((seven == row).all(1))[0]) for row in drawn]
        assert filled[150:155].all() and len(set(rows)) == 5
        seen.update(rows)
    assert seen == set(range(7))


def test_a_window_without_anything_is_empty(bank):
    features, filled = LongTermWindow([bank])("nobody", 930, None)
    assert features.shape == (300, C) and not features.any() and not filled.any()


def test_videos_may_be_spread_over_banks(bank, frames, tmp_path):
    write_bank(tmp_path / "c.bank", [BankFrame("c", 901, np.ones((1, C), "float32"))])
    window = LongTermWindow([bank, tmp_path / "c.bank"], 4, 2)
    assert window("c", 901, None)[1].sum() == 1 and window("a", 901, None)[1].sum() == 2


def test_banks_of_different_lengths_do_not_go_together(bank, tmp_path):
    write_bank(tmp_path / "c.bank", [BankFrame("c", 901, np.ones((1, C + 1), "float32"))])
    with pytest.raises(UserError, match=r"x\.bank: 6, .*c\.bank: 7"):
        LongTermWindow([bank, tmp_path / "c.bank"])


@pytest.mark.parametrize("at", [0, 3, 40, -1, -200])
def test_a_changed_byte_is_refused_by_name(bank, at):
    data = bytearray(bank.read_bytes())
    data[at] ^= 0x41
    bank.write_bytes(data)
    with pytest.raises(DamagedFileError, match=r"x\.bank: damaged, or not a feature bank"):
        FeatureBank(bank)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_short_file_is_refused_by_name(bank, keep):
    bank.write_bytes(bank.read_bytes()[:keep])
    with pytest.raises(DamagedFileError, match=r"x\.bank"):
        FeatureBank(bank, verify=False)


def test_a_missing_bank_names_what_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"no such feature bank; paddlevideo bank"):
        FeatureBank(tmp_path / "none.bank")


def test_nothing_to_keep_is_an_error(tmp_path):
    with pytest.raises(UserError, match="no key frame"):
        write_bank(tmp_path / "x.bank", [])


def test_the_operator_draws_in_training_and_takes_the_best_in_evaluation(bank, frames):
    steps = {"window": {"name": "LongTermFeatures", "banks": [str(bank)], "window_s": 60, "max_features": 5}}
    pipeline = Pipeline(steps, "PIPELINE.test")
    sample = {"video_id": "a", "timestamp_s": 930, "imgs": np.zeros((1, 2, 4, 4, 3), "uint8")}
    best, filled = slots_by_hand(frames, "a", 930, 60, 5)
    for seed in range(3):
        out = pipeline({**sample, "training": False}, np.random.default_rng(seed))
        assert np.array_equal(out["long_term"], best) and np.array_equal(out["long_term_filled"], filled)
    drawn = [pipeline({**sample, "training": True}, np.random.default_rng(s))["long_term"] for s in (0, 0, 1)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])


def test_the_operator_names_a_missing_bank_before_workers_begin(tmp_path):
    pipeline = Pipeline({"window": {"name": "LongTermFeatures", "banks": str(tmp_path / "n.bank")}}, "PIPELINE.test")
    with pytest.raises(UserError, match=r"n\.bank: no such feature bank"):
        pipeline.prepare()
    pipeline.refuse_boxes()


def test_a_bank_of_other_videos_is_refused_and_lacking_ones_are_counted(bank):
    steps = {"window": {"name": "LongTermFeatures", "banks": [str(bank)]}}
    pipeline = Pipeline(steps, "PIPELINE.test")
    pipeline.prepare()
    of = [[{"video_id": video} for video in videos] for videos in ("ab", "abc", "cd")]
    assert pipeline.remarks_on(of[0]) == []
    (line,) = pipeline.remarks_on(of[1])
    assert line.endswith("x.bank, so that their windows are zeros: 1 of 3 videos, e.g. c")
    with pytest.raises(
        UserError, match=r"PIPELINE.test.window: none of the data set's 2 videos is in .*x\.bank \(e.g. c"
    ):
        pipeline.remarks_on(of[2])


def test_the_operator_travels_to_another_process_without_the_mapped_file(bank):
    operator = LongTermFeatures(str(bank))
    operator.prepare()
    assert len(pickle.dumps(operator)) < 1000
    out = pickle.loads(pickle.dumps(operator))({"video_id": "a", "timestamp_s": 930}, np.random.default_rng(0))
    assert out["long_term_filled"].sum() == 2 + 3 + 5


def test_windows_are_stacked_in_a_batch(bank):
    operator = LongTermFeatures([str(bank)], 4, 2)
    boxes = {key: np.zeros((1, 4), "float32") for key in ("boxes", "boxes_norm")}
    samples = [
        operator({"video_id": v, "timestamp_s": 901, "index": i, "imgs": np.zeros((1, 2, 4, 4, 3), "uint8"), **boxes},
                 np.random.default_rng(0))
        for i, v in enumerate(("a", "nobody"))
    ]  # fmt: skip
    batch = collate(samples)
    assert batch["long_term"].shape == (2, 8, C) and batch["long_term_filled"].sum(1).tolist() == [2, 0]
