"""What a network does on a CPU: convolutions by size, nodes of the gradient, values that are kept for it."""

import paddle
from paddle.nn import functional as F

from paddlevideo.modeling.backbones.resnet3d_slowfast import ResNet3dSlowFast
from paddlevideo.modeling.backbones.vit import Block
from paddlevideo.modeling.shift import temporal_shift


def test_slowfast_has_no_conv3d_of_many_positions_and_few_channels(monkeypatch):
    kernels = []
    own = F.conv._conv_nd

    def counted(x, weight, *rest, **named):
        kernels.append(tuple(weight.shape))
        return own(x, weight, *rest, **named)

    monkeypatch.setattr(F.conv, "_conv_nd", counted)
    network = ResNet3dSlowFast(depth=50, num_seg=8, resample_rate=4, speed_ratio=4, width=16)
    network(paddle.randn([1, 3, 8, 32, 32]))
    volumes = [shape for shape in kernels if len(shape) == 5]
    few = [shape for shape in volumes if max(shape[2:]) > 1 and min(shape[:2]) <= 32]
    # the connections alone, which have a stride in time
    assert [shape[2:] for shape in few] == [(5, 1, 1)] * 4


def test_shift_is_one_node_of_the_gradient():
    x = paddle.randn([8, 16, 4, 4])
    x.stop_gradient = False
    node = (temporal_shift(x, 8) * 1.0).grad_fn.next_functions[0]
    assert "_Shift" in node.name()
    assert [after.name() for after in node.next_functions] == ["GradNodeAccumulation"]


def test_values_that_a_block_of_timesformer_keeps():
    """[1, 1 + 4 * 2, 8] with 2 heads: what each operator needs once, and nothing of what dropped branches scale."""
    block = Block(8, 2, 4, True, None, 0.0, 0.0, 0.5, 1e-6, 2, divided=True)
    block.train()
    x = paddle.randn([1, 9, 8])
    x.stop_gradient = False
    parameters = {parameter.data_ptr() for parameter in block.parameters()}
    kept: dict[int, paddle.Tensor] = {}

    def keep(tensor: paddle.Tensor) -> paddle.Tensor:
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with paddle.autograd.saved_tensors_hooks(keep, lambda tensor: tensor):
        block(x)
    rows = [tensor for tensor in kept.values() if tensor.size >= 64]  # neither statistics nor factors
    assert (len(rows), sum(tensor.size for tensor in rows)) == (18, 1748)
