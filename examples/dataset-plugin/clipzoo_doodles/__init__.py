"""Line drawings of 16 things, as datasets of clipzoo."""
