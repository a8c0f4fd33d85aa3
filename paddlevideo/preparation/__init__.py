"""Before training: official annotations to list files, videos to frames or small files, and the check of a data set.

Stands beside engine and inference: it reads videos through loader.decode and lists through loader.datasets, and knows
no model.
"""
