"""One stage of training, epoch by epoch: early stopping, resumable state, mixup, distributed workers."""
