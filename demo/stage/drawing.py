"""The synthetic stage as pictures: figures with limbs, what they hold, the room around them, and their boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.stage.actors import STAGE_HEIGHT, Actor, Prop, Scene

LANE_FLOORS = (45.0, 92.0)  # y of the feet on the two lanes, stage units
WALLS = ((176, 190, 200), (206, 198, 180), (150, 172, 160), (120, 126, 140), (196, 176, 176))
FLOORS = ((120, 104, 88), (98, 110, 104), (140, 132, 120), (84, 84, 96))
BALL, BAR = (255, 250, 240), (110, 60, 20)
_SHIFT = 4  # bits of sub-pixel places


@dataclass(frozen=True)
class Room:
    """A stage's walls and floor, and how large its picture is: uint8 [H, W, 3] RGB."""

    picture: np.ndarray

    @property
    def scale(self) -> float:
        """Pixels per stage unit."""
        return self.picture.shape[0] / STAGE_HEIGHT


def make_room(rng: np.random.Generator, scene: Scene, width_px: int, height_px: int) -> Room:
    """Two storeys with some furniture, and the scene's mats."""
    import cv2

    scale = height_px / STAGE_HEIGHT
    picture = np.empty((height_px, width_px, 3), np.uint8)
    wall, floor = WALLS[rng.integers(len(WALLS))], FLOORS[rng.integers(len(FLOORS))]
    tops = (0, round(50 * scale))
    for lane, top in enumerate(tops):
        bottom = tops[1] if lane == 0 else height_px
        ground = round((LANE_FLOORS[lane] - 4) * scale)
        picture[top:ground], picture[ground:bottom] = wall, floor
        for _ in range(rng.integers(1, 4)):  # windows and pictures on the wall
            x, w, h = rng.uniform(0, width_px), rng.uniform(6, 18) * scale, rng.uniform(6, 16) * scale
            y = top + rng.uniform(3, 12) * scale
            tone = tuple(int(np.clip(c + rng.uniform(-45, 45), 0, 255)) for c in wall)
            cv2.rectangle(picture, (round(x), round(y)), (round(x + w), round(y + h)), tone, -1)
    for mat in scene.mats:
        y = LANE_FLOORS[mat.lane]
        a, b = (mat.x - 13.0, y - 3.0), (mat.x + 13.0, y + 3.0)
        corners = [tuple(round(v * scale) for v in point) for point in (a, b)]
        cv2.rectangle(picture, *corners, mat.colour, -1)
    return Room(picture)


def draw(scene: Scene, room: Room, time_s: float) -> np.ndarray:
    """The picture at a moment, uint8 [H, W, 3] RGB."""
    canvas = room.picture.copy()
    skeletons = [_skeleton(scene, index, time_s) for index in range(len(scene.actors))]
    for actor, bones in zip(scene.actors, skeletons):
        _draw_figure(canvas, actor, bones, room.scale)
    for prop in scene.props:
        if prop.start_s <= time_s < prop.end_s:
            _draw_prop(canvas, prop, skeletons, time_s, room.scale)
    return canvas


def boxes_at(scene: Scene, room: Room, time_s: float) -> np.ndarray:
    """The drawn extent of every actor, without what they hold: float64 [P, 4], x1 y1 x2 y2 as fractions."""
    height, width = room.picture.shape[:2]
    found = []
    for index, actor in enumerate(scene.actors):
        mask = np.zeros((height, width, 3), np.uint8)
        _draw_figure(mask, actor, _skeleton(scene, index, time_s), room.scale, white=True)
        seen = mask[..., 0] > 64  # a softened edge's last, faint pixel is not the figure's
        rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
        found.append((columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height))
    return np.array(found)


def _skeleton(scene: Scene, index: int, time_s: float) -> dict[str, np.ndarray]:
    """Joints in stage units: float64 [2] by name, hands and feet as ``hand-1`` (left in the picture) and ``hand1``."""
    actor = scene.actors[index]
    act = actor.act(time_s)
    h, phase = actor.height, (time_s - act.start_s) * act.rate
    swing = abs(np.sin(np.pi * phase))  # 0 .. 1, once a step
    lift, drop, turn, spread = 0.0, 0.0, 1.0, 0.05
    hands = {side: np.array([side * 0.17, -0.46]) for side in (-1, 1)}
    match act.kind:
        case "walk":
            spread = 0.03 + 0.15 * swing
            hands = {side: np.array([side * (0.14 + 0.1 * swing), -0.47]) for side in (-1, 1)}
        case "jump":
            lift, spread = 0.2 * swing, 0.05 + 0.05 * swing
            hands = {side: np.array([side * 0.26, -0.5 - 0.25 * swing]) for side in (-1, 1)}
        case "spin":
            turn = float(np.cos(np.pi * phase))
            hands = {side: np.array([side * 0.3 * abs(turn), -0.66]) for side in (-1, 1)}
        case "crouch":
            drop, spread = 0.22 + 0.03 * swing, 0.14
            hands = {side: np.array([side * 0.2, -0.3]) for side in (-1, 1)}
        case "wave":
            hands[1] = np.array([0.22 + 0.09 * np.sin(4 * np.pi * phase), -0.98])
        case "raise":
            hands = {side: np.array([side * (0.16 + 0.05 * swing), -1.08]) for side in (-1, 1)}
        case "reach":
            side = int(np.sign(scene.actors[actor.partner].act(time_s).x(time_s) - act.x(time_s)))
            hands[side] = np.array([side * 0.33, -0.62])
    for prop in scene.props:
        if prop.start_s <= time_s < prop.end_s and act.kind != "reach":
            for side in {side for holder, side in prop.ends if holder == index}:
                hands[side] = np.array([side * 0.25, -0.58])
    hips = -0.46 + drop
    joints = {"hips": (0.0, hips), "neck": (0.0, hips - 0.32), "head": (0.0, hips - 0.42), "turn": (turn, 0.0)}
    for side in (-1, 1):
        joints[f"foot{side}"] = (side * spread, 0.0)
        joints[f"knee{side}"] = (side * (spread * 0.6 + drop * 0.6), hips / 2)
        joints[f"hand{side}"] = hands[side] + (0.0, drop)
        joints[f"shoulder{side}"] = (side * 0.11 * max(abs(turn), 0.35), hips - 0.29)
    base = np.array([act.x(time_s), LANE_FLOORS[actor.lane] - lift * h])
    bones = {name: base + h * np.asarray(place) for name, place in joints.items()}
    bones["turn"] = np.asarray(joints["turn"])
    return bones


def _draw_figure(
    canvas: np.ndarray, actor: Actor, bones: dict[str, np.ndarray], scale: float, white: bool = False
) -> None:
    import cv2

    tones = {part: (255, 255, 255) if white else getattr(actor, part) for part in ("shirt", "trousers", "skin", "hair")}
    h = actor.height * scale

    def line(a: str, b: str, tone: tuple, width: float) -> None:
        ends = [tuple(np.round(bones[name] * scale * (1 << _SHIFT)).astype(int).tolist()) for name in (a, b)]
        cv2.line(canvas, *ends, tone, max(1, round(width * h)), cv2.LINE_AA, _SHIFT)

    def disc(centre: np.ndarray, radius: float, tone: tuple) -> None:
        place = tuple(np.round(centre * scale * (1 << _SHIFT)).astype(int).tolist())
        cv2.circle(canvas, place, max(1, round(radius * h * (1 << _SHIFT))), tone, -1, cv2.LINE_AA, _SHIFT)

    for side in (-1, 1):
        line("hips", f"knee{side}", tones["trousers"], 0.1)
        line(f"knee{side}", f"foot{side}", tones["trousers"], 0.09)
    torso = [bones["shoulder-1"], bones["shoulder1"], bones["hips"]]
    half = (bones["shoulder1"] - bones["shoulder-1"]) * 0.4
    corners = np.array([torso[0], torso[1], torso[2] + half, torso[2] - half]) * scale * (1 << _SHIFT)
    points = np.round(corners).astype(np.int32)
    cv2.fillPoly(canvas, [points], tones["shirt"], cv2.LINE_AA, _SHIFT)
    line("shoulder-1", "shoulder1", tones["shirt"], 0.08)
    for side in (-1, 1):
        line(f"shoulder{side}", f"hand{side}", tones["shirt"], 0.07)
        disc(bones[f"hand{side}"], 0.045, tones["skin"])
    turn, head = float(bones["turn"][0]), bones["head"]
    disc(head + (0.0, -0.02 * actor.height), 0.115, tones["hair"])
    if turn > 0:  # the face; while it is turned away, hair
        disc(head + (0.0, 0.015 * actor.height), 0.09 * max(turn, 0.3), tones["skin"])


def _draw_prop(
    canvas: np.ndarray, prop: Prop, skeletons: list[dict[str, np.ndarray]], time_s: float, scale: float
) -> None:
    import cv2

    ends = [skeletons[holder][f"hand{side}"] for holder, side in prop.ends]
    if prop.kind == "ball":
        share = (time_s - prop.start_s) / (prop.end_s - prop.start_s)
        centre = ends[0] + (ends[1] - ends[0]) * share
        place = tuple(np.round(centre * scale * (1 << _SHIFT)).astype(int).tolist())
        for radius, tone in ((4.4, (40, 40, 40)), (3.6, BALL)):
            cv2.circle(canvas, place, round(radius * scale * (1 << _SHIFT)), tone, -1, cv2.LINE_AA, _SHIFT)
        return
    if prop.ends[0] == prop.ends[1]:  # a short bar of one's own, across the hand
        ends = [ends[0] - (4.0, 0.0), ends[0] + (4.0, 0.0)]
    places = [tuple(np.round(end * scale * (1 << _SHIFT)).astype(int).tolist()) for end in ends]
    cv2.line(canvas, *places, BAR, max(1, round(3.0 * scale)), cv2.LINE_AA, _SHIFT)
