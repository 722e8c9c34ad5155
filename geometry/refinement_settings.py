"""Settings of the optimisation of Gaussians, apart from it so that reading parameters does not import PyTorch."""

from pydantic import Field

from stage.parameters import Parameters


class LearningRates(Parameters):
    """Adam's rate for each attribute at the first step."""

    depths: float = Field(default=0.3, ge=0)
    """Along the pixel's ray, pixels at the Gaussian's depth."""
    shifts: float = Field(default=0.15, ge=0)
    """Across the ray, of the number whose hyperbolic tangent is the shift in half pixels."""
    quaternions: float = Field(default=0.03, ge=0)
    """Of the four components, at unit length."""
    scales: float = Field(default=0.06, ge=0)
    """Of the natural logarithms."""
    opacities: float = Field(default=0.15, ge=0)
    """Of the logits."""
    colours: float = Field(default=0.03, ge=0)
    """Of RGB in [0, 1]."""


class LossWeights(Parameters):
    """What the loss adds up: (1 − ssim)·L1 + ssim·(1 − SSIM) of colours, alpha·L1 of coverage, lpips·LPIPS and roughness."""

    ssim: float = Field(default=0.2, ge=0, le=1)
    """Share of 1 − SSIM in the loss of colours; 0.2 in Kerbl et al. 2023, eq. 7."""
    alpha: float = Field(default=0.5, ge=0)
    """Weight of the mean absolute error of alpha."""
    lpips: float = Field(default=0.0, ge=0)
    """Weight of LPIPS with VGG-16, for which its package, torchvision and the trained weights must be installed."""
    roughness: float = Field(default=0.01, ge=0)
    """Weight of the mean difference of adjacent pixels' depth shifts, pixels: a surface moves as a whole or not at all."""


class RefinementSettings(Parameters):
    """How Gaussians are optimised against pictures, from the closed form on."""

    steps: int = Field(default=0, ge=0)
    """Most steps; 0 keeps the closed form."""
    batch_views: int = Field(default=3, ge=1)
    """Pictures per step."""
    validation_views: int = Field(default=4, ge=1)
    """Pictures that are not learned from and decide when to stop and which state is kept."""
    depth_reach: float = Field(default=2.0, ge=0)
    """Farthest that a Gaussian moves along its pixel's ray, pixels; 0 leaves the closed form's depths as they are."""
    learning_rates: LearningRates = LearningRates()
    """Of each attribute."""
    final_learning_rate: float = Field(default=0.1, gt=0, le=1)
    """Share of the learning rates that is left at the last step; they decay exponentially."""
    weights: LossWeights = LossWeights()
    """Of the parts of the loss."""
    validate_every: int = Field(default=25, ge=1)
    """Steps between two scores of the validation pictures."""
    patience: int = Field(default=3, ge=1)
    """Scores in a row without a gain after which an object is done."""
    least_gain: float = Field(default=0.02, ge=0)
    """Gain of PSNR, dB, below which a score counts as none."""
