"""The methods that are scored on the same targets, and what they are called."""

MODEL = "model"
AUTOENCODER = "autoencoder"
# The true views themselves, where a figure asks how well views agree with each other.
TRUTH = "truth"
# What a model could reach at most; no competitor.
REFERENCES = frozenset({AUTOENCODER, TRUTH})
# A model that does not beat them has learned nothing worth having.
BASELINES = ("copy_input", "mean_image")
# What is scored, the upper bound of a latent model's pictures last.
METHODS = (MODEL, *BASELINES, AUTOENCODER)

# In sentences.
METHOD_NAMES = {MODEL: "the model", "copy_input": "copying the input view", "mean_image": "the mean training image"}
# In tables and charts.
METHOD_TITLES = {
    MODEL: "model",
    "copy_input": "copy the input view",
    "mean_image": "mean training image",
    AUTOENCODER: "truth through the autoencoder",
    TRUTH: "the true views",
}
