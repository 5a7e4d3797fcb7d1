"""MMSense for ROS 2: camera, radar and LiDAR in, beams and sensing out."""
