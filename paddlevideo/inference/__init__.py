"""Export of trained models, and prediction with what was exported or trained.

load("inference/TSM").predict("clip.mp4")[0].top(5)                   # paddlevideo.inference.predictor
detect("clip.mp4", "inference/AVA", detector="yolo.onnx").key_frames  # paddlevideo.inference.detector
"""
