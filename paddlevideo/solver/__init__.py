"""Rate schedules, optimizers and averages of weights.  ``lr`` and ``check`` do not import Paddle."""
