"""The street simulator: one 3-D scene from which every sensor and the link are computed."""
