"""One YAML file, its bases and the command line's overrides -> a checked, frozen configuration."""

from paddlevideo.config.config import Config, load_config

__all__ = ["Config", "load_config"]
