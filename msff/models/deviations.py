"""What the paper does not say: every choice of this study that its text leaves open, with the default and its reason.

The book's table is made from ``DEVIATIONS``. ``STATED`` lists the fields that the paper does settle. Together they
name every field of the network's and the loss's configs; a test holds both to the code.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """One row. ``field`` is ``Config.field``; ``default`` is that field's default value."""

    tag: str
    field: str
    default: object
    paper_says: str
    reason: str


_NOTHING = "Nothing."

DEVIATIONS = (
    # trunk
    Deviation("D1", "BackboneConfig.pretrained", False,
        "Nothing on pre-training.",
        "InterNet starts from ImageNet weights: so do paper and, with another trunk (D37), cpu and cpu-long."),
    Deviation("D2", "BackboneConfig.normalise", False,
        "Nothing on the range of the input.",
        "InterNet divides by 255 and subtracts no mean."),
    # channel conversion
    Deviation("D3", "ChannelConversionConfig.form", "se",
        "Eq. (4) prints sigmoid(W1 A + W2 A); the text defines a ReLU that the equation does not contain.",
        "Without the ReLU the two layers are one linear map; squeeze-and-excitation fits the text. "
        "The form \"printed\" is an ablation."),
    Deviation("D4", "ChannelConversionConfig.reduction", 16,
        "Two fully connected layers, no reduction ratio.",
        "The ratio of the squeeze-and-excitation paper."),
    Deviation("D5", "ChannelConversionConfig.min_hidden", 8,
        _NOTHING,
        "Keeps slim networks from a bottleneck of one or two units; never reached with ResNet-50."),
    Deviation("D6", "ChannelConversionConfig.bias", False,
        "Eq. (4) shows weight matrices and no bias.",
        "As printed."),
    # global regression
    Deviation("D7", "GlobalRegressionConfig.channels", 256,
        "All levels have the same dimension; which is not said.",
        "The width of the feature pyramid network and of InterNet's deconvolutions."),
    Deviation("D8", "GlobalRegressionConfig.relu", "lateral",
        "Eqs. (6) and (7) are missing; the text around them names a ReLU.",
        "It is named together with the 1x1 convolution that makes V_k, so it follows that convolution. The sum is left "
        "as it is: the feature pyramid network has a 3x3 convolution after it, which the text does not name."),
    Deviation("D9", "GlobalRegressionConfig.norm", False,
        "Eq. (6) names the convolution and the ReLU only.",
        "No batch norm is named; the feature pyramid network has none there."),
    Deviation("D10", "GlobalRegressionConfig.align_corners", False,
        "Eqs. (8)-(10) are missing and say nothing of where pixel centres lie.",
        "Pixels as squares: the scales stay aligned with the crop's frame."),
    # local optimisation
    Deviation("D11", "LocalOptimizationConfig.passes", (0, 1, 2, 3),
        "The processing times of the four maps are lost from the public text.",
        "Each pass doubles the resolution and all maps must meet at 1/4, one pass per factor of two. 1, 1, 2, 3 with a "
        "first pass that keeps its size would meet as well."),
    Deviation("D12", "LocalOptimizationConfig.split", 0.5,
        "A channel split into two branches, no ratio.",
        "Half and half, as ShuffleNet V2, whose parts the text names."),
    Deviation("D13", "LocalOptimizationConfig.depthwise", False,
        "1x1, 3x3 and 1x1 convolution kernels.",
        "An ordinary 3x3 convolution; ShuffleNet V2's is depthwise."),
    Deviation("D14", "LocalOptimizationConfig.norm", True,
        "No normalisation is named.",
        "After each convolution, as in ShuffleNet V2 and the trunk; up to nine convolutions follow each other."),
    Deviation("D15", "LocalOptimizationConfig.last_relu", True,
        "No activation is named.",
        "ReLU after every convolution, also before channel conversion: its average would cancel signs otherwise."),
    Deviation("D16", "LocalOptimizationConfig.residual", "half",
        "Residual connectivity, without saying from where to where.",
        "Around the convolutions and their channel conversion: the other half is already an identity."),
    Deviation("D17", "LocalOptimizationConfig.shuffle_groups", 2,
        "A channel shuffle, no number of groups.",
        "One group per branch, as ShuffleNet V2."),
    Deviation("D18", "LocalOptimizationConfig.share_weights", False,
        "The same symbol for every pass and level.",
        "Passes work at different resolutions; separate weights are the usual reading of stacked blocks."),
    Deviation("D19", "LocalOptimizationConfig.align_corners", False,
        "Nothing on where pixel centres lie.",
        "As D10."),
    Deviation("D20", "LocalOptimizationConfig.conversion", None,
        "The channel conversion module inside the branch, without sizes.",
        "The same form and ratio as on the trunk's maps (D3-D6)."),
    # heads and volume
    Deviation("D21", "MsffConfig.bins", 64,
        "A 2.5D Gaussian heat map; Eq. (15) is missing, with it the number of depth bins.",
        "InterNet's 64: at 256 px the volume is a cube, x and y being 1/4 of the crop."),
    Deviation("D22", "MsffConfig.head_hidden", 512,
        "Handedness and relative depth come from the smallest channel-converted map; how is not said.",
        "InterNet's heads: global mean, 512 hidden units; softmax expectation for the depth."),
    Deviation("D23", "MsffConfig.volume_std", 0.001,
        "Nothing on initialisation.",
        "InterNet's, for the layer that both networks share; the other convolutions are He-normal."),
    Deviation("D24", "VolumeSpec.bins", 64,
        "As D21.",
        "As D21; profiles with smaller crops have a quarter of the crop's side."),
    Deviation("D25", "VolumeSpec.depth_range_mm", 400.0,
        "Nothing on the range of depth, of joints or of the relative root.",
        "InterNet's 400 mm about the wrist, for both."),
    Deviation("D26", "VolumeSpec.sigma_bin", 2.5,
        "A Gaussian without its width.",
        "InterNet's 2.5 bins; smaller volumes keep 2.5/64 of their side."),
    Deviation("D27", "VolumeSpec.amplitude", 255.0,
        "A Gaussian without its height.",
        "InterNet's; it sets the weight of the heat maps against the other two losses."),
    # training
    Deviation("D28", "LossConfig.volume", "mse",
        "No loss function.",
        "\"Gaussian heat map\" names a target, and InterNet's squared error fits it. "
        "The profiles for CPUs train with \"integral\", which needs far fewer steps."),
    Deviation("D29", "LossConfig.volume_weight", 1.0, "No loss weights.", "InterNet's 1 : 1 : 1."),
    Deviation("D30", "LossConfig.side_weight", 1.0, "No loss weights.",
        "InterNet's 1 : 1 : 1. Beside \"integral\", whose unit is a bin, it gives the side more weight than beside "
        "\"mse\"; it was not tuned."),
    Deviation("D31", "LossConfig.root_weight", 1.0, "No loss weights.", "As D30."),
    Deviation("D32", "TrainingConfig.optimizer", "adam",
        "Initial rate 0.0001 and its decay, but not the optimiser.",
        "InterNet's, with the same rate and decay."),
    Deviation("D33", "TrainingConfig.augment", "InterNet's ranges",
        "Nothing on augmentation.",
        "InterNet's shift, scale, rotation, mirror and colour gain."),
    # evaluation
    Deviation("D34", "Profile.decoder", "argmax",
        "Nothing on how coordinates are read from the heat maps.",
        "InterNet's hard arg-max; profiles that train with the integral loss use its expectation."),
    Deviation("D35", "TRACKS", "T1, T2",
        "Neither the crop box nor the absolute root depth at test time.",
        "The box is the annotated one on both tracks. The depth is annotated on T1 and estimated on T2, by a network "
        "that all methods share or by a law of the box."),
    Deviation("D36", "square_box.factor", 1.25,
        "The hand image is resized to 256x256; how the hand is cut out is not said.",
        "InterNet's square about the annotated box, a quarter larger."),
    Deviation("D37", "BackboneConfig.trunk", "resnet",
        "A ResNet50 module.",
        "As written. The profiles cpu and cpu-long take EfficientNet-Lite0, the one trunk whose ImageNet weights can "
        "be had without a network and which trains on a CPU: the paper's family starts from ImageNet weights."),
    Deviation("D38", "GlobalRegression", "B(G_{k+1})",
        "Eqs. (7) and (11) are missing: the coarser level that is enlarged may be V_{k+1} or G_{k+1}.",
        "G_{k+1}, as in the feature pyramid network, so that the deepest map reaches every level; V_{k+1} would carry "
        "it one level only."),
)  # fmt: skip

STATED = {
    "BackboneConfig.block": "ResNet50 module (Sec. A)",
    "BackboneConfig.width": "ResNet50 module (Sec. A)",
    "BackboneConfig.blocks": "ResNet50 module (Sec. A)",
    "VolumeSpec.crop_size": "The hand image was resized to 256x256 (experiments)",
    "MsffConfig.backbone": "ResNet50 module (Sec. A); see BackboneConfig",
    "MsffConfig.channel_conversion": "Sec. B; see ChannelConversionConfig",
    "MsffConfig.global_regression": "Sec. C; see GlobalRegressionConfig",
    "MsffConfig.local_optimization": "Sec. D; see LocalOptimizationConfig",
    "MsffConfig.ccm": "Part of the network (Fig. 1); a switch for the ablation",
    "MsffConfig.grm": "Part of the network (Fig. 1); a switch for the ablation",
    "MsffConfig.lom": "Part of the network (Fig. 1); a switch for the ablation",
}
"""Fields that the paper settles, with its words."""
