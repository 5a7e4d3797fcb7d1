"""What the model is compared with: beams told without camera, radar or LiDAR, from measured sweeps and positions."""
