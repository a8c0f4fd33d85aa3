"""What happens to a sample between the list file and the batch: decode, sample, transform, in the order of the YAML."""

from paddlevideo.loader.pipelines.pipeline import Pipeline, TransformError

__all__ = ["Pipeline", "TransformError"]
