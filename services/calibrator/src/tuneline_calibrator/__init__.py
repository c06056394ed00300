"""Stage calibrator: the prompt whose scripts come closest to reference recordings."""
