"""An epoch on several replicas of a network with `tf.distribute`: devices of this process, and those of others.

Keras's own `fit` stops under MultiWorkerMirroredStrategy (keras-team/keras issue 20585), so the epoch is written out.
It computes what `fit` does: the gradient of a step is that of the mean over the images of all replicas, however they
are shared, and the figures of an epoch are means over all images. Running statistics of batch normalisation are each
replica's own within an epoch, and their mean after it; Keras leaves them as they differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from darkroom.models.training_loop.techniques.objective import Objective


class Replicas:
    """A network, its optimizer and its loss, mirrored by a strategy.

    To be used outside the strategy's scope: within it Keras cannot save a model that only one process saves.
    """

    def __init__(self, strategy: Any, model: Any, optimizer: Any, objective: Objective) -> None:
        """
        Args:
            strategy: Of `tf.distribute`.
            model: `uint8[N, H, W, 3]` to `logits float32[N, C]`, made in the strategy's scope.
            optimizer: Of the same scope.
            objective: Its loss, the weights of images in training, and which answers are right.
        """
        import keras
        import tensorflow as tf

        self._strategy, self._num_replicas = strategy, strategy.num_replicas_in_sync
        layers = model._flatten_layers()
        self._generators = [found for layer in layers if (found := getattr(layer, "seed_generator", None)) is not None]
        norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable]
        statistics = [variable for layer in norms for variable in layer.non_trainable_variables]
        loss = objective.loss(reduction=None)

        def figures(losses: Any, truth: Any, logits: Any) -> Any:
            """Sum of losses, images that are right, images."""
            right = objective.right(truth, logits)
            sums = tf.reduce_sum(losses), tf.math.count_nonzero(right), tf.size(right)
            return tf.stack([tf.cast(value, tf.float64) for value in sums])

        def step(batch: Any) -> Any:
            images, truth = batch
            num_images = tf.distribute.get_replica_context().all_reduce("SUM", tf.cast(tf.shape(images)[0], tf.float32))
            with tf.GradientTape() as tape:
                logits = model(images, training=True)
                losses = loss(truth, logits) * objective.image_weights(truth)
                mean = tf.reduce_sum(losses) / num_images
            variables = model.trainable_variables
            optimizer.apply(tape.gradient(mean, variables), variables)  # which sums them over the replicas
            return figures(losses, truth, logits)

        def average() -> None:
            for variable in statistics:
                mine = strategy.run(tf.identity, args=(variable.value,))
                variable.assign(strategy.reduce("MEAN", mine, axis=None))

        def seed(states: Any) -> None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            for generator, state in zip(self._generators, tf.unstack(states), strict=True):
                generator.state.assign(state[replica])

        function = tf.autograph.experimental.do_not_convert
        self._step = tf.function(
            function(lambda batches: strategy.reduce("SUM", strategy.run(step, args=(next(batches),)), axis=None))
        )
        self._evaluate = tf.function(
            function(lambda images, truth: figures(loss(truth, out := model(images, training=False)), truth, out)),
            reduce_retracing=True,
        )
        self._average = tf.function(function(average))
        self._sum = tf.function(
            function(lambda values: strategy.reduce("SUM", strategy.run(tf.identity, args=(values,)), axis=None))
        )
        self._seed = tf.function(function(lambda states: strategy.run(seed, args=(states,))))

    def epoch(self, feed: Any, steps: int, validation: Any, seed: Sequence[int]) -> dict[str, float]:
        """Train on every batch once and evaluate on the validation images; returns what `fit` does.

        Args:
            feed: This process's batches, one per step for each of its replicas.
            steps: As many in every process.
            validation: This process's share of the validation batches; there may be more of them than elsewhere.
            seed: What decides the places that dropout draws, with the replica.

        Returns:
            `loss`, `accuracy`, `val_loss` and `val_accuracy`, the same in every process.
        """
        with self._strategy.scope():
            if self._generators:
                self._seed(self._states(seed))
            batches = iter(self._strategy.distribute_datasets_from_function(lambda context: feed))
            training = sum(self._step(batches).numpy() for _ in range(steps))
            self._average()
            evaluated = self._over_processes(sum((self._evaluate(*batch).numpy() for batch in validation), np.zeros(3)))
        return {
            name: float(value / counts[2])
            for prefix, counts in (("", training), ("val_", evaluated))
            for name, value in zip((f"{prefix}loss", f"{prefix}accuracy"), counts[:2], strict=True)
        }

    def wait_for_all(self) -> None:
        """Wait until every process is here."""
        self._over_processes(np.zeros(1))

    def _over_processes(self, values: Any) -> Any:
        """The sum of what each process has."""
        num_here = len(self._strategy.extended.worker_devices)
        return self._sum(values / num_here).numpy()

    def _states(self, seed: Sequence[int]) -> Any:
        """`uint32[generators, replicas, 2]`."""
        entropy = [
            [[*seed, number, replica] for replica in range(self._num_replicas)]
            for number in range(len(self._generators))
        ]
        return np.array([[np.random.SeedSequence(words).generate_state(2) for words in row] for row in entropy]) >> 1
