"""ROS messages, whoever made them (rclpy or rosbags), to readings and from answers."""
