"""What runs a stage: run files, inputs, identity, pins, journals and checkpoints. No stage enters it."""
