"""Export of trained models, and prediction with what was exported.

predictor = Predictor.from_folder("inference/TSM")          # paddlevideo.inference.predictor
for class_id, score, name in predictor.predict("clip.mp4")[0].top(5): ...
"""
