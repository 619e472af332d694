"""Images: the projections of point clouds, contact sheets."""
