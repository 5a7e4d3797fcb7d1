"""Published datasets, one file each, as rosbags: whatever was measured, everything downstream reads it one way."""
