"""Architectures, training, evaluation, calibration, explanation, the bundle and its runtimes. No Prefect."""
