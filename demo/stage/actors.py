"""Scripts of acts on the synthetic stage, and the action labels that follow from them.

The stage is ``STAGE_HEIGHT`` units high, whatever the picture's size; x runs to the right.  Actors stand on two lanes
and never pass one another.  An act lasts from half second to half second, so that a key frame (a whole second) lies
inside one, and in the same one when the video is played backwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

STAGE_HEIGHT = 96.0
MARGIN = 15.0  # actors' middles keep so far from the edges
CLOSE = 25.0  # and from one another
STEP = 16.0  # units per stride
SOLO = ("stand", "jump", "spin", "crouch", "wave")
SOLO_WEIGHTS = (1.0, 1.0, 1.0, 0.1, 0.1)
RARE = ("crouch", "wave")
BASIC_LABELS = (
    "walk_left",
    "walk_right",
    "jump",
    "spin",
    "stand",
    "crouch",
    "wave",
    "approach",
    "flee",
    "follow",
    "hold_together",
)
LONG_LABELS = (
    "take",
    "carries_taken_ball",
    "carries_own_ball",
    "mark_place",
    "returns_to_start",
    "goes_elsewhere",
)
LONG_CONTEXT = LONG_LABELS[1:3] + LONG_LABELS[4:]  # what a clip of two seconds cannot decide
MIN_LONG_S = 36


@dataclass(frozen=True)
class Act:
    """One actor's doing from ``start_s`` to ``end_s``, moving evenly from ``x0`` to ``x1``."""

    start_s: float
    end_s: float
    kind: str
    x0: float
    x1: float
    rate: float = 1.0  # limbs' cycles per second

    def x(self, time_s: float) -> float:
        return self.x0 + (self.x1 - self.x0) * (time_s - self.start_s) / (self.end_s - self.start_s)


@dataclass(frozen=True)
class Actor:
    """A person: colours as RGB, ``height`` in stage units, ``partner`` the index of the other one on the lane."""

    lane: int
    height: float
    shirt: tuple[int, int, int]
    trousers: tuple[int, int, int]
    skin: tuple[int, int, int]
    hair: tuple[int, int, int]
    partner: int | None
    acts: tuple[Act, ...]

    def act(self, time_s: float) -> Act:
        """What is done then; at a seam, what begins."""
        return next((act for act in self.acts if act.start_s <= time_s < act.end_s), self.acts[-1])


@dataclass(frozen=True)
class Prop:
    """A thing in actors' hands: a ``bar`` from hand to hand, a ``ball`` that moves evenly from one hand to the other.

    ``ends`` are (actor, side), side -1 for the hand on the left of the picture and 1 for the right one.
    """

    kind: str
    start_s: float
    end_s: float
    ends: tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Mark:
    """A label of the script, beyond those of movement."""

    actor: int
    start_s: float
    end_s: float
    label: str


@dataclass(frozen=True)
class Mat:
    """A coloured place on a lane's floor."""

    lane: int
    x: float
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Scene:
    """One video's script."""

    length_s: int
    width: float
    actors: tuple[Actor, ...]
    props: tuple[Prop, ...] = ()
    marks: tuple[Mark, ...] = ()
    mats: tuple[Mat, ...] = ()


def labels_at(scene: Scene, time_s: float, backwards: bool = False) -> list[list[str]]:
    """Action names of every actor at a moment of the script; ``backwards``: as seen when it is played in reverse.

    Walking towards the other one on the lane, who does not walk, is to approach; away from them, to flee; behind them
    while both walk the same way, to follow.
    """
    sign = -1.0 if backwards else 1.0
    acts = [actor.act(time_s) for actor in scene.actors]
    ways = [sign * float(np.sign(act.x1 - act.x0)) for act in acts]
    found: list[list[str]] = []
    for index, (actor, act, way) in enumerate(zip(scene.actors, acts, ways)):
        names = [("walk_left" if way < 0 else "walk_right")] if way else []
        if act.kind in SOLO:
            names.append(act.kind)
        elif not way:
            names.append("stand")
        if way and actor.partner is not None:
            ahead = (acts[actor.partner].x(time_s) - act.x(time_s)) * way > 0
            if ways[actor.partner] == 0:
                names.append("approach" if ahead else "flee")
            elif ways[actor.partner] == way and ahead:
                names.append("follow")
        names += [m.label for m in scene.marks if m.actor == index and m.start_s <= time_s < m.end_s]
        found.append(names)
    return found


def plan_short(rng: np.random.Generator, length_s: int, width: float) -> Scene:
    """Two lanes, on each a pair or one alone, at least one pair."""
    pairs = [(True, False), (False, True), (True, True)][rng.integers(3)]
    actors: list[Actor] = []
    props: list[Prop] = []
    marks: list[Mark] = []
    for lane, is_pair in enumerate(pairs):
        first = len(actors)
        if is_pair:
            scripts, more_props, more_marks = _pair(rng, first, length_s, width)
            props += more_props
            marks += more_marks
        else:
            scripts = [_alone(rng, 0.0, length_s, rng.uniform(MARGIN, width - MARGIN), (MARGIN, width - MARGIN))]
        actors += _cast(rng, lane, scripts, first)
    return Scene(length_s, width, tuple(actors), tuple(props), tuple(marks))


def plan_long(rng: np.random.Generator, length_s: int, width: float, taken: bool, returns: bool) -> Scene:
    """A ball's story on one lane, a walker between two mats on the other.

    The draws do not depend on ``taken`` and ``returns``: from second 12 on, the four scenes of one generator are alike.
    """
    ball_lane = int(rng.integers(2))
    side = int(rng.choice((-1, 1)))  # of the one who keeps the ball
    actors, props, marks = _ball_story(rng, length_s, width, side, taken, ball_lane)
    walker, walk_marks, mats = _mat_story(rng, length_s, width, returns, 1 - ball_lane, len(actors))
    return Scene(length_s, width, (*actors, walker), tuple(props), (*marks, *walk_marks), mats)


COLOURS = {
    "shirt": ((225, 60, 50), (50, 130, 230), (245, 200, 50), (60, 180, 90), (200, 80, 200), (240, 130, 40)),
    "trousers": ((35, 40, 60), (90, 60, 40), (60, 70, 110), (30, 80, 60)),
    "skin": ((240, 205, 175), (200, 150, 115), (130, 90, 65)),
    "hair": ((40, 30, 25), (120, 80, 40), (215, 180, 90), (150, 150, 150)),
}
MAT_COLOURS = ((200, 40, 60), (40, 80, 215))


def _cast(rng: np.random.Generator, lane: int, scripts: list[list[Act]], first: int) -> list[Actor]:
    """Actors for the scripts of one lane; they wear different shirts."""
    shirts = rng.permutation(len(COLOURS["shirt"]))
    cast = []
    for k, acts in enumerate(scripts):
        other = {part: tones[rng.integers(len(tones))] for part, tones in COLOURS.items() if part != "shirt"}
        partner = None if len(scripts) == 1 else first + 1 - k
        height = float(rng.uniform(34.0, 38.0))
        cast.append(Actor(lane, height, COLOURS["shirt"][shirts[k]], partner=partner, acts=tuple(acts), **other))
    return cast


def _spans(rng: np.random.Generator, start_s: float, end_s: float) -> list[tuple[float, float]]:
    """Acts' times: two or three seconds each, the seams at half seconds."""
    spans, now = [], start_s
    while now < end_s:
        then = np.floor(now) + 0.5 + rng.integers(2, 4)
        spans.append((now, float(end_s if then > end_s - 1.5 else then)))
        now = spans[-1][1]
    return spans


def _solo(rng: np.random.Generator) -> str:
    weights = np.array(SOLO_WEIGHTS)
    return SOLO[rng.choice(len(SOLO), p=weights / weights.sum())]


def _act(span: tuple[float, float], kind: str, x0: float, x1: float, rng: np.random.Generator) -> Act:
    if kind == "walk":
        return Act(*span, kind, x0, x1, abs(x1 - x0) / (span[1] - span[0]) / STEP + 0.4)
    return Act(*span, kind, x0, x1, float(rng.uniform(0.8, 1.2)))


def _reach(rng: np.random.Generator, span: tuple[float, float], room: float) -> float | None:
    """How far to walk in this time at 16 to 36 units per second; None: not enough room."""
    seconds = span[1] - span[0]
    most = min(room, 36.0 * seconds)
    return float(rng.uniform(16.0 * seconds, most)) if most >= 16.0 * seconds else None


def _alone(rng: np.random.Generator, start_s: float, end_s: float, x: float, bounds: tuple[float, float]) -> list[Act]:
    """Walks and acts of one actor who is by themselves, or keeps to their part of the lane."""
    acts = []
    for span in _spans(rng, start_s, end_s):
        options = [
            (way, distance)
            for way, room in ((-1, x - bounds[0]), (1, bounds[1] - x))
            if (distance := _reach(rng, span, room)) is not None
        ]
        if options and rng.random() < 0.6:
            way, distance = options[rng.integers(len(options))]
            acts.append(_act(span, "walk", x, x + way * distance, rng))
        else:
            acts.append(_act(span, _solo(rng), x, x, rng))
        x = acts[-1].x1
    return acts


def _pair(
    rng: np.random.Generator, first: int, length_s: int, width: float
) -> tuple[list[list[Act]], list[Prop], list[Mark]]:
    """Two actors, ``first`` on the left and ``first + 1`` on the right of a lane, and what they do with one another."""
    x = np.sort(rng.uniform(MARGIN, width - MARGIN - CLOSE, 2)) + (0.0, CLOSE)
    scripts: tuple[list[Act], list[Act]] = ([], [])
    props: list[Prop] = []
    marks: list[Mark] = []
    for span in _spans(rng, 0.0, length_s):
        moves = _pair_moves(rng, span, x, width)
        names = sorted(moves)
        weights = np.array([PAIR_WEIGHTS[name.split()[0]] for name in names])
        name = names[rng.choice(len(names), p=weights / weights.sum())]
        goals = x + moves[name]
        for k in (0, 1):
            kind = "walk" if goals[k] != x[k] else "stand" if name in ("hold", "own") else _solo(rng)
            scripts[k].append(_act(span, kind, float(x[k]), float(goals[k]), rng))
        if name.startswith("hold"):
            props.append(Prop("bar", *span, ((first, 1), (first + 1, -1))))
            marks += [Mark(first + k, *span, "hold_together") for k in (0, 1)]
        elif name.startswith("own"):  # the same things, but each has one: a bar alone is no holding together
            props += [Prop("bar", *span, ((first + k, 1 - 2 * k),) * 2) for k in (0, 1)]
        x = goals
    return list(scripts), props, marks


PAIR_WEIGHTS = {"near": 1.0, "away": 1.0, "both": 1.2, "each": 0.3, "hold": 0.8, "own": 0.4}


def _pair_moves(
    rng: np.random.Generator, span: tuple[float, float], x: np.ndarray, width: float
) -> dict[str, np.ndarray]:
    """Possible moves by name: what each of the two adds to their x."""
    left, gap, right = x[0] - MARGIN, x[1] - x[0] - CLOSE, width - MARGIN - x[1]
    moves = {"each": np.zeros(2)}
    moves |= {"hold": np.zeros(2), "own": np.zeros(2)} if gap < 18.0 else {}
    for name, room, change in (
        ("near left", gap, (1, 0)),
        ("near right", gap, (0, -1)),
        ("away left", left, (-1, 0)),
        ("away right", right, (0, 1)),
        ("both left", left, (-1, -1)),
        ("both right", right, (1, 1)),
    ):
        distance = _reach(rng, span, room)
        if distance is not None:
            moves[name] = distance * np.array(change, float)
    return moves


def _ball_story(
    rng: np.random.Generator, length_s: int, width: float, side: int, taken: bool, lane: int
) -> tuple[list[Actor], list[Prop], list[Mark]]:
    """The carrier walks up to the other one, takes the ball or shows their own, walks off and carries it on."""
    outer, end_s = 0.5 * width - MARGIN, min(31.5, length_s - 2.5)
    gap = CLOSE + 4.0
    pickup_x = width / 2 + side * (gap / 2 - 6.0)  # the carrier's place beside the other one
    home = width / 2 + side * outer
    other_x = pickup_x - side * gap
    carrier = [_act((0.0, 2.5), "walk", home, pickup_x, rng), _act((2.5, 7.5), "reach", pickup_x, pickup_x, rng)]
    carrier.append(_act((7.5, 10.5), "walk", pickup_x, home - side * 6.0, rng))
    low, high = sorted((home, pickup_x + side * 8.0))
    carrier += _alone(rng, 10.5, end_s, home - side * 6.0, (low, high))
    carrier += _alone(rng, end_s, length_s, carrier[-1].x1, (low, high))
    other = [_act((0.0, 2.5), "stand", other_x, other_x, rng), _act((2.5, 7.5), "reach", other_x, other_x, rng)]
    bounds = sorted((width / 2 - side * outer, other_x))
    other += _alone(rng, 7.5, length_s, other_x, (bounds[0], bounds[1]))
    scripts = [carrier, other]
    actors = _cast(rng, lane, scripts, 0)
    mine, theirs = (0, -side), (1, side)  # the hands that face one another
    if taken:
        props = [
            Prop("ball", 0.0, 3.0, (theirs, theirs)),
            Prop("ball", 3.0, 7.0, (theirs, mine)),
            Prop("ball", 7.0, end_s, (mine, mine)),
        ]
        marks = [Mark(1, 0.0, 2.5, "carries_own_ball"), Mark(0, 2.5, 7.5, "take")]
        marks.append(Mark(0, 7.5, end_s, "carries_taken_ball"))
    else:
        props = [Prop("ball", 0.0, end_s, (mine, mine))]
        marks = [Mark(0, 0.0, end_s, "carries_own_ball")]
    return actors, props, marks


def _mat_story(
    rng: np.random.Generator, length_s: int, width: float, returns: bool, lane: int, index: int
) -> tuple[Actor, list[Mark], tuple[Mat, ...]]:
    """Marks one of two mats as theirs, waits in the middle, and goes to a mat for good: that one or the other."""
    places = (MARGIN + 5.0, width - MARGIN - 5.0)
    goal = int(rng.integers(2))
    start = goal if returns else 1 - goal
    middle = width / 2
    mats = tuple(Mat(lane, x, MAT_COLOURS[k]) for k, x in enumerate(places))
    acts = [_act((0.0, 6.5), "raise", places[start], places[start], rng)]
    acts.append(_act((6.5, 10.5), "walk", places[start], middle, rng))
    acts += [_act(span, _solo(rng), middle, middle, rng) for span in _spans(rng, 10.5, 14.5)]
    acts.append(_act((14.5, 18.5), "walk", middle, places[goal], rng))
    stay_s = min(31.5, length_s - 2.5)
    acts += [_act(span, _solo(rng), places[goal], places[goal], rng) for span in _spans(rng, 18.5, stay_s)]
    acts += _alone(rng, stay_s, length_s, places[goal], (MARGIN, width - MARGIN))
    (actor,) = _cast(rng, lane, [acts], index)
    label = "returns_to_start" if returns else "goes_elsewhere"
    marks = [Mark(index, 0.0, 6.5, "mark_place"), Mark(index, 16.5, stay_s, label)]
    return replace(actor, partner=None), marks, mats
