"""How good the answers are: metrics, bag evaluation, pictures."""
