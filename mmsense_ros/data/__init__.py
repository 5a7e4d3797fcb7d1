"""Where snapshots with truth come from: bags, data sets, the street simulator."""
