"""The ROS shell: the only room that imports rclpy."""
