"""How weights move: rate schedules, optimizers and averages of weights.

``check`` holds what can be said about a section without Paddle; the other modules import it.
"""
