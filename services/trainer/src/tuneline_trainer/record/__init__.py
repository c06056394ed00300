"""What a training leaves while it runs: checkpoints, and figures for people and trackers."""
