"""What is shown of a network, as pixels: for one image, and for the network as a whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from darkroom.data.progress import Progress, unseen
from darkroom.data.task import Task
from darkroom.models.explaining.techniques.activation_maximisation import Goal, maximise
from darkroom.models.explaining.techniques.activations import first_filters, strongest_activations
from darkroom.models.explaining.techniques.gradcam import find_evidence
from darkroom.models.explaining.techniques.maximally_activating import ActiveImage, ImageSearch, most_activating
from darkroom.models.explaining.techniques.occlusion import occlusion
from darkroom.models.networks.layers import feature_maps
from darkroom.models.pages.panels import Panel, Pixels, change_over, enlarged, heat_over, kernel_tile, map_tile, mosaic

Probabilities = Callable[[NDArray[np.uint8]], NDArray[np.float64]]

_MAX_CHANNELS = 6
# Below this change of probability an occlusion map stays pale: nothing that was covered mattered.
_MIN_LIMIT = 0.05


@dataclass(frozen=True)
class ImageView:
    """An image and how the network classified it.

    Attributes:
        predicted: Index of the predicted class.
        confidence: Its probability.
        other: Index of the true class where the prediction is wrong, otherwise of the second most likely one.
        other_probability: Its probability.
        panels: The image, Grad-CAM of the predicted class, Grad-CAM of `other`, occlusion.
        largest_fall, largest_rise: Of the predicted class's probability, by covering a part of the image.
        activations: One mosaic per size of feature map, strongest channels first.
        contributions: `float32[C, K]`, see `Evidence.contributions`, of the classes that were asked for.
    """

    predicted: int
    confidence: float
    other: int
    other_probability: float
    panels: tuple[Panel, ...]
    largest_fall: float
    largest_rise: float
    activations: tuple[Panel, ...]
    contributions: NDArray[np.float32]


@dataclass(frozen=True)
class ActivatingImage:
    """A training image that activates a channel strongly.

    Attributes:
        panel: Its picture.
        path: As in the manifest.
        label: Its label, or labels, for a person.
        names: The same one by one.
        activation: The mean of the channel over all positions.
    """

    panel: Panel
    path: str
    label: str
    names: tuple[str, ...]
    activation: float


@dataclass(frozen=True)
class ChannelView:
    """A channel of the last feature map.

    Attributes:
        channel: Its index.
        label: The class to whose logit it contributes.
        contribution: How much it adds to that logit, averaged over the explained images.
        maximised: The pattern that activates it most.
        images: The training images that activate it most, whatever their label.
    """

    channel: int
    label: str
    contribution: float
    maximised: Panel
    images: tuple[ActivatingImage, ...]

    @property
    def num_of_label(self) -> int:
        """How many of the images have the class's label."""
        return sum(self.label in image.names for image in self.images)


@dataclass(frozen=True)
class NetworkView:
    """The network as a whole.

    Attributes:
        filters: Of the first convolutions.
        classes: The pattern that activates each class most.
        layer: The name of the channels' layer.
        channels: Those that contribute most to the classes.
        num_searched: Training images searched for those that activate the channels.
    """

    filters: tuple[Panel, ...]
    classes: tuple[Panel, ...]
    layer: str
    channels: tuple[ChannelView, ...]
    num_searched: int


@dataclass(frozen=True)
class ViewedNetwork:
    """The network that is looked into.

    Attributes:
        model: Keras, `uint8[N, H, W, 3]` to logits.
        probabilities: The same images to `float64[N, C]`.
        labels: C names.
    """

    model: Any
    probabilities: Probabilities
    labels: Sequence[str]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        _, height, width, _ = self.model.input_shape
        return height, width


def view_image(network: ViewedNetwork, pixels: Pixels, looked_at: tuple[int, int], asked: Sequence[int]) -> ImageView:
    """Look at one image.

    Args:
        network: The network.
        pixels: `uint8[H, W, 3]`.
        looked_at: The two classes whose evidence is sought.
        asked: The classes whose channels are sought.
    """
    model, probabilities, labels = network.model, network.probabilities, network.labels
    chances = probabilities(pixels[None])[0]
    predicted, other = looked_at
    evidence = find_evidence(model, pixels, [predicted, other, *asked])
    fall = occlusion(probabilities, pixels, predicted)
    large = enlarged(pixels)
    return ImageView(
        predicted=predicted,
        confidence=float(chances[predicted]),
        other=other,
        other_probability=float(chances[other]),
        panels=(
            Panel("Network input", large),
            Panel(f"Grad-CAM: {labels[predicted]}", heat_over(large, evidence.heat(0))),
            Panel(f"Grad-CAM: {labels[other]}", heat_over(large, evidence.heat(1))),
            Panel(f"Occlusion: {labels[predicted]}", change_over(large, fall, max(np.abs(fall).max(), _MIN_LIMIT))),
        ),
        largest_fall=max(float(fall.max()), 0.0),
        largest_rise=max(float(-fall.min()), 0.0),
        activations=tuple(
            Panel(
                f"{found.layer}: {found.maps.shape[0]} x {found.maps.shape[1]}, "
                f"{len(found.channels)} of {found.num_channels} channels",
                mosaic([map_tile(found.maps[..., place]) for place in range(len(found.channels))]),
            )
            for found in strongest_activations(model, pixels)
        ),
        contributions=evidence.contributions()[2:],
    )


def view_network(
    network: ViewedNetwork,
    classes: Sequence[int],
    contributions: NDArray[np.float32],
    search: ImageSearch | None,
    progress: Progress = unseen,
) -> NetworkView:
    """Look at the network as a whole.

    Args:
        network: The network.
        classes: Those that are shown.
        contributions: `float32[len(classes), K]`: of each the channels that add most to its logit are shown.
        search: Where the images are looked for that activate a channel most; None leaves them out.
        progress: Told how far the patterns and the search are.
    """
    model, labels = network.model, network.labels
    layer = feature_maps(model)[-1]
    channels = strongest_channels(contributions)
    goals = [Goal(index) for index in classes] + [Goal(channel, layer) for _, channel in channels]
    maximised = [enlarged(image) for image in maximise(model, goals, network.image_size, progress=progress)]
    activating: list[tuple[ActivatingImage, ...]] = [() for _ in channels]
    num_searched = 0
    if search and channels:
        numbers = [channel for _, channel in channels]
        found, num_searched = most_activating(model, layer, numbers, search, progress)
        activating = [tuple(_activating(item, search.dataset.labels.task) for item in row) for row in found]
    return NetworkView(
        filters=tuple(
            Panel(
                f"{found.layer}: {len(found.kernels)} of {found.num_filters} filters",
                mosaic([kernel_tile(kernel) for kernel in found.kernels]),
            )
            for found in first_filters(model)
        ),
        classes=tuple(Panel(labels[index], image) for index, image in zip(classes, maximised, strict=False)),
        layer=layer.name,
        channels=tuple(
            ChannelView(
                channel=channel,
                label=labels[classes[row]],
                contribution=float(contributions[row, channel]),
                maximised=Panel(f"channel {channel}: {labels[classes[row]]}", image),
                images=images,
            )
            for (row, channel), image, images in zip(channels, maximised[len(classes) :], activating, strict=True)
        ),
        num_searched=num_searched,
    )


def _activating(item: ActiveImage, task: Task) -> ActivatingImage:
    label = task.shown(item.label)
    panel = Panel(f"{label}: {item.strength:.2f}", enlarged(item.pixels))
    return ActivatingImage(panel, item.path, label, task.names(item.label), item.strength)


def strongest_channels(contributions: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Pairs of row and channel, at most six: in turn each row takes its largest positive channel that is still free."""
    left = {row: iter(np.argsort(-values, kind="stable").tolist()) for row, values in enumerate(contributions)}
    chosen: dict[int, int] = {}
    while left:
        for row in list(left):
            channel = next((channel for channel in left[row] if channel not in chosen), None)
            if len(chosen) == _MAX_CHANNELS or channel is None or contributions[row, channel] <= 0:
                del left[row]
            else:
                chosen[channel] = row
    return sorted((row, channel) for channel, row in chosen.items())
