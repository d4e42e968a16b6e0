"""Convolutional networks as MLX projects write them, tiny. N: batch, H, W: height and width, C: channels."""

import mlx.core as mx
import mlx.nn as nn


def conv_norm(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm(outputs),
    ]


class Bottleneck(nn.Module):
    """ResNet-50's block."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = conv_norm(inputs, width, 1)
        self.conv2, self.bn2 = conv_norm(width, width, 3, stride)
        self.conv3, self.bn3 = conv_norm(width, outputs, 1)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(*conv_norm(inputs, outputs, 1, stride))

    def __call__(self, x: mx.array) -> mx.array:
        y = nn.relu(self.bn1(self.conv1(x)))
        y = nn.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return nn.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 8, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.layers = [Bottleneck(8, 4, 1), Bottleneck(16, 4, 1), Bottleneck(16, 8, 2), Bottleneck(32, 8, 1)]
        self.head = nn.Linear(32, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.stem(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(mx.mean(x, axis=(1, 2)))


class ConvNeXtBlock(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.depthwise = nn.Conv2d(size, size, 7, padding=3, groups=size)
        self.norm = nn.LayerNorm(size, eps=1e-6)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)
        self.gamma = mx.full((size,), 0.5)

    def __call__(self, x: mx.array) -> mx.array:
        y = self.down(nn.gelu(self.up(self.norm(self.depthwise(x)))))
        return x + self.gamma * y


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8, eps=1e-6)
        self.stage1 = [ConvNeXtBlock(8), ConvNeXtBlock(8)]
        self.down_norm, self.down = nn.LayerNorm(8, eps=1e-6), nn.Conv2d(8, 16, 2, 2)
        self.stage2 = [ConvNeXtBlock(16)]
        self.norm, self.head = nn.LayerNorm(16, eps=1e-6), nn.Linear(16, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.stem_norm(self.stem(x))
        for block in self.stage1:
            x = block(x)
        x = self.down(self.down_norm(x))
        for block in self.stage2:
            x = block(x)
        return self.head(self.norm(x.mean((1, 2))))


class SqueezeExcite(nn.Module):
    def __init__(self, size: int, gate=nn.sigmoid, linear: bool = False):
        super().__init__()
        make = nn.Linear if linear else (lambda a, b: nn.Conv2d(a, b, 1))
        self.reduce, self.expand, self.gate = make(size, size // 4), make(size // 4, size), gate

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.mean(x, axis=(1, 2), keepdims=True)
        return x * self.gate(self.expand(nn.relu(self.reduce(y))))


class Inverted(nn.Module):
    """The block of MobileNetV2, V3 and EfficientNet."""

    def __init__(self, inputs: int, outputs: int, stride: int, activation, excite: nn.Module | None = None):
        super().__init__()
        hidden = 4 * inputs
        self.expand = nn.Sequential(*conv_norm(inputs, hidden, 1))
        self.depthwise = nn.Sequential(*conv_norm(hidden, hidden, 3, stride, hidden))
        self.excite = excite
        self.project = nn.Sequential(*conv_norm(hidden, outputs, 1))
        self.residual, self.activation = stride == 1 and inputs == outputs, activation

    def __call__(self, x: mx.array) -> mx.array:
        y = self.activation(self.depthwise(self.activation(self.expand(x))))
        if self.excite is not None:
            y = self.excite(y)
        y = self.project(y)
        return x + y if self.residual else y


class MobileNet(nn.Module):
    def __init__(self, activation, gate=None, linear: bool = False):
        super().__init__()

        def excite(size: int) -> nn.Module | None:
            return None if gate is None else SqueezeExcite(4 * size, gate, linear)

        self.stem, self.activation = nn.Sequential(*conv_norm(3, 8, 3, 2)), activation
        self.blocks = [
            Inverted(8, 8, 1, activation, excite(8)),
            Inverted(8, 16, 2, activation, excite(8)),
            Inverted(16, 16, 1, activation, excite(16)),
        ]
        self.last, self.drop = nn.Sequential(*conv_norm(16, 32, 1)), nn.Dropout(0.2)
        self.head = nn.Linear(32, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.activation(self.stem(x))
        for block in self.blocks:
            x = block(x)
        x = mx.mean(self.activation(self.last(x)), axis=(1, 2))
        return self.head(self.drop(x))


class DenseNet(nn.Module):
    """Every layer reads all before it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        sizes = [8, 12, 16, 20]
        self.norms = [nn.BatchNorm(size) for size in sizes]
        self.convs = [nn.Conv2d(size, 4, 3, padding=1, bias=False) for size in sizes]
        self.squeeze, self.pool, self.head = nn.Conv2d(24, 12, 1), nn.AvgPool2d(2, 2), nn.Linear(12, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = mx.concatenate([x, conv(nn.relu(norm(x)))], axis=-1)
        x = self.pool(self.squeeze(x))
        return self.head(x.reshape(x.shape[0], -1, x.shape[-1]).max(axis=1))


class ShuffleNet(nn.Module):
    """Channel split and shuffle."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.branches = [
            nn.Sequential(
                *conv_norm(8, 8, 1), nn.ReLU(), *conv_norm(8, 8, 3, 1, 8), *conv_norm(8, 8, 1), nn.ReLU()
            )
            for _ in range(2)
        ]
        self.head = nn.Linear(16, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.stem(x)
        for branch in self.branches:
            left, right = mx.split(x, 2, axis=-1)
            x = mx.concatenate([left, branch(right)], axis=-1)
            n, h, w, c = x.shape
            x = x.reshape(n, h, w, 2, c // 2).swapaxes(3, 4).reshape(n, h, w, c)
        return self.head(x.mean(axis=(1, 2)))


class UNet(nn.Module):
    """Down, up again by ConvTranspose2d or Upsample, with skips."""

    def __init__(self, transposed: bool, mode: str = "nearest"):
        super().__init__()
        self.down1, self.down2 = self.block(3, 8), self.block(8, 16)
        self.pool, self.middle = nn.MaxPool2d(2, 2), self.block(16, 32)
        if transposed:
            self.up2, self.up1 = nn.ConvTranspose2d(32, 16, 2, 2), nn.ConvTranspose2d(16, 8, 2, 2)
        else:
            up = nn.Upsample(2, mode=mode, align_corners=False)
            self.up2 = nn.Sequential(up, nn.Conv2d(32, 16, 3, padding=1))
            self.up1 = nn.Sequential(up, nn.Conv2d(16, 8, 3, padding=1))
        self.join2, self.join1, self.head = self.block(32, 16), self.block(16, 8), nn.Conv2d(8, 5, 1)

    @staticmethod
    def block(inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(*conv_norm(inputs, outputs), nn.ReLU(), *conv_norm(outputs, outputs), nn.ReLU())

    def __call__(self, x: mx.array) -> mx.array:
        first = self.down1(x)
        second = self.down2(self.pool(first))
        x = self.up2(self.middle(self.pool(second)))
        x = self.up1(self.join2(mx.concatenate([second, x], axis=-1)))
        return self.head(self.join1(mx.concatenate([first, x], axis=-1)))


class Pyramid(nn.Module):
    """A detector's feature pyramid: laterals, additions, dilated context, heads joined along the places."""

    def __init__(self):
        super().__init__()
        self.stages = [nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1), nn.Conv2d(16, 32, 3, 2, 1)]
        self.laterals = [nn.Conv2d(size, 8, 1) for size in (8, 16, 32)]
        self.context = [nn.Conv2d(8, 8, 3, padding=d, dilation=d) for d in (1, 2, 3)]
        self.scores, self.boxes = nn.Conv2d(8, 3 * 2, 3, padding=1), nn.Conv2d(8, 3 * 4, 3, padding=1)

    def __call__(self, x: mx.array) -> dict[str, mx.array]:
        found = []
        for stage in self.stages:
            x = nn.leaky_relu(stage(x), 0.1)
            found.append(x)
        levels = [lateral(level) for lateral, level in zip(self.laterals, found, strict=True)]
        top = levels[-1] + sum(nn.relu(conv(levels[-1])) for conv in self.context)
        outputs = [top]
        for level in reversed(levels[:-1]):
            top = level + mx.repeat(mx.repeat(top, 2, axis=1), 2, axis=2)
            outputs.append(top)
        scores = [self.scores(level) for level in outputs]
        boxes = [self.boxes(level) for level in outputs]
        return {
            "scores": mx.sigmoid(mx.concatenate([s.reshape(s.shape[0], -1, 2) for s in scores], axis=1)),
            "boxes": mx.concatenate([b.reshape(b.shape[0], -1, 4) for b in boxes], axis=1),
        }


class SuperResolution(nn.Module):
    """Sub-pixel convolution: channels become places."""

    def __init__(self, scale: int = 2):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 5, padding=2), nn.Conv2d(16, 3 * scale**2, 3, padding=1)
        self.prelu, self.scale = nn.PReLU(16), scale

    def __call__(self, x: mx.array) -> mx.array:
        y = self.second(self.prelu(self.first(x)))
        n, h, w, _ = y.shape
        y = y.reshape(n, h, w, self.scale, self.scale, 3).transpose(0, 1, 3, 2, 4, 5)
        return mx.clip(y.reshape(n, h * self.scale, w * self.scale, 3), 0, 1)


class StyleTransfer(nn.Module):
    """Reflected borders by hand, instance norms, transposed convolutions."""

    def __init__(self):
        super().__init__()
        self.first, self.norm1 = nn.Conv2d(3, 8, 3, 2, 1), nn.InstanceNorm(8, affine=True)
        self.second, self.norm2 = nn.Conv2d(8, 8, 3), nn.InstanceNorm(8)
        self.up = nn.ConvTranspose2d(8, 3, 3, 2, 1, output_padding=1)

    def __call__(self, x: mx.array) -> mx.array:
        x = nn.relu(self.norm1(self.first(x)))
        y = mx.concatenate([x[:, 1:2], x, x[:, -2:-1]], axis=1)
        y = mx.concatenate([y[:, :, 1:2], y, y[:, :, -2:-1]], axis=2)
        return mx.tanh(self.up(x + nn.elu(self.norm2(self.second(y)))))


class Video(nn.Module):
    """Convolutions over time, height and width."""

    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv3d(3, 8, 3, padding=1), nn.GroupNorm(2, 8, pytorch_compatible=True)
        self.pool, self.second = nn.MaxPool3d(2, 2), nn.Conv3d(8, 16, (3, 1, 1), padding=(1, 0, 0))
        self.head = nn.Linear(16, 10)

    def __call__(self, x: mx.array) -> mx.array:
        x = nn.relu(self.norm(self.first(x)))
        return self.head(nn.relu(self.second(self.pool(x))).mean(axis=(1, 2, 3)))


class Audio(nn.Module):
    """EnCodec's encoder and decoder: strided and transposed convolutions in one dimension, ELU, norm."""

    def __init__(self):
        super().__init__()
        self.first, self.down = nn.Conv1d(1, 8, 7, padding=3), nn.Conv1d(8, 16, 4, 2, 1)
        self.dilated, self.norm = nn.Conv1d(16, 16, 3, padding=2, dilation=2), nn.GroupNorm(1, 16)
        self.up, self.last = nn.ConvTranspose1d(16, 8, 4, 2, 1), nn.Conv1d(8, 1, 7, padding=3)

    def __call__(self, x: mx.array) -> mx.array:
        x = self.down(nn.elu(self.first(x)))
        x = x + self.norm(self.dilated(nn.elu(x)))
        return mx.tanh(self.last(nn.elu(self.up(x))))
