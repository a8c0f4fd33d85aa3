"""Tests run Paddle with the settings that the commands set, so that both compute the same bits."""

from paddlevideo.environment import set_cpu_environment

set_cpu_environment()
