"""An exported model under Paddle Inference, ONNX Runtime or OpenVINO, and which of them runs it."""
