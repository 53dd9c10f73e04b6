"""Names within results that whoever writes them and whoever shows them must agree on."""

PERFECT = "perfect energy, same inference"  # the predictor that solves by the exact energy
TESTS = ("test_error", "validation_error")  # results that say how good a checkpoint is
AS_GOOD = 0.99  # an error above this share of another is no better
FEED_FORWARD = "FeedForwardModule"  # the model that answers in one pass, without an energy
