"""From files to batches: datasets, decoding, pipelines, samplers, workers."""
