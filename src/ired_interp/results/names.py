"""Names within results that whoever writes them and whoever shows them must agree on."""

PERFECT = "perfect energy, same inference"  # the predictor that solves by the exact energy
TESTS = ("test_error", "validation_error")  # results that say how good a checkpoint is
