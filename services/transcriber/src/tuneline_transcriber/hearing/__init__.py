"""What recordings say."""
