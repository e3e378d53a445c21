"""A plain loop in bare PyTorch, with the images on the device."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from by_hand import EPSILON, MOMENTUM, SHIFT, is_pooled, kernels
from experiments.config import TrainingConfig
from experiments.data.datasets import ImageData

_VALIDATION_BATCH = 250


class Loop:
    """A model in training."""

    def __init__(self, configs: Sequence[TrainingConfig], data: ImageData) -> None:
        (self._config,) = configs
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._device = torch.device(device)
        layout = torch.contiguous_format
        if self._config.model == "cnn" and device == "cuda":
            layout = torch.channels_last
        self._model = _network(self._config, data).to(device, memory_format=layout)
        self._optimizer = torch.optim.SGD(
            self._model.parameters(),
            self._config.learning_rate,
            momentum=MOMENTUM if self._config.optimizer == "momentum" else 0.0,
        )
        images = self._images(data.train.images)
        if self._config.augments:
            images = nn.functional.pad(images, (SHIFT,) * 4)
        self._train = images, self._labels(data.train.labels)
        self._validation = (
            self._images(data.validation.images),
            self._labels(data.validation.labels),
        )

    def epoch(self) -> Any:
        images, labels = self._train
        size = self._config.batch_size
        order = torch.randperm(len(labels), device=self._device)
        trained = torch.zeros(2, device=self._device)
        steps = len(labels) // size
        self._model.train()
        for indices in order[: steps * size].split(size):
            x, y = images[indices], labels[indices]
            if self._config.augments:
                x = _augmented(x)
            self._optimizer.zero_grad()
            logits = self._logits(x)
            loss = nn.functional.cross_entropy(logits, y)
            loss.backward()
            self._optimizer.step()
            with torch.no_grad():
                trained += torch.stack([loss, (logits.argmax(1) == y).float().mean()])
        return *(trained / steps).tolist(), *self._validate()

    @torch.no_grad()
    def _validate(self) -> list[float]:
        images, labels = self._validation
        self._model.eval()
        found = torch.zeros(2, device=self._device)
        for x, y in zip(
            images.split(_VALIDATION_BATCH),
            labels.split(_VALIDATION_BATCH),
            strict=True,
        ):
            logits = self._logits(x)
            loss = nn.functional.cross_entropy(logits, y, reduction="sum")
            found += torch.stack([loss, (logits.argmax(1) == y).float().sum()])
        return (found / len(labels)).tolist()

    def _logits(self, x: Any) -> Any:
        mixed = self._config.precision == "mixed_bfloat16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=mixed):
            return self._model(x.float()).float()

    def _images(self, images: Any) -> Any:
        return (
            torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().to(self._device)
        )

    def _labels(self, labels: Any) -> Any:
        return torch.from_numpy(labels).long().to(self._device)


def _network(config: TrainingConfig, data: ImageData) -> nn.Module:
    return nn.Sequential(*_layers(config, data))


def _layers(config: TrainingConfig, data: ImageData) -> Iterator[nn.Module]:
    activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[config.activation]
    yield _Standardise(data)
    was_flat = False
    *hidden, last = kernels(config, data)
    for index, kernel in enumerate(hidden):
        *_, inputs, outputs = kernel.shape
        bias = not config.batch_norm
        is_dense = len(kernel.shape) == len(("in", "out"))
        if is_dense and not was_flat:
            yield nn.Flatten()
            was_flat = True
        layer: Any = nn.Linear(inputs, outputs, bias)
        if not is_dense:
            layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias)
        yield layer
        if config.batch_norm:
            norm = nn.BatchNorm1d if is_dense else nn.BatchNorm2d
            yield norm(outputs, EPSILON, 1 - MOMENTUM)
        yield activation()
        if is_pooled(index, kernel):
            yield nn.MaxPool2d(2)
    yield nn.Linear(*last.shape)


class _Standardise(nn.Module):
    def __init__(self, data: ImageData) -> None:
        super().__init__()
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(data.mean).view(shape))
        deviation = torch.tensor(data.standard_deviation).view(shape)
        self.register_buffer("deviation", deviation)

    def forward(self, x: Any) -> Any:
        return (x - self.mean) / self.deviation


def _augmented(padded: Any) -> Any:
    """Returns padded images shifted, and half of them mirrored."""
    count, _, height, width = padded.shape
    device = padded.device
    height, width = height - 2 * SHIFT, width - 2 * SHIFT
    rows, columns = torch.randint(2 * SHIFT + 1, (2, count, 1), device=device)
    rows = rows + torch.arange(height, device=device)
    columns = columns + torch.arange(width, device=device)
    flips = torch.rand(count, 1, device=device) < 1 / 2
    columns = torch.where(flips, columns.flip(1), columns)
    examples = torch.arange(count, device=device)[:, None, None]
    moved = padded[examples, :, rows[:, :, None], columns[:, None]]
    return moved.permute(0, 3, 1, 2)
