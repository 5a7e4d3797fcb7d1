"""What was sensed in the Rerun viewer, for those without rviz2: a street in 3-D, the camera, figures over time."""
