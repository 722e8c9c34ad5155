"""Attention across the views of an attribute and across the attributes of a view.

The images of a sample form a grid of views and attributes. Cross-view attention is the network's own self-attention with keys
and values from all views of the same attribute; cross-attribute attention, `attn_joint_mid`, stands between self- and
cross-attention and takes keys and values from all attributes of the same view. In both, all images of a group have the same keys
and values, so the group attends as one sequence of all its tokens: the same numbers as a copy of them for every image
(mengxuyiGit/Wonder3D, branch sep_30_jgu, `mvdiffusion/models/transformer_mv2d_splatter.py`, `XFormersMVAttnProcessor` and
`XFormersJointAttnProcessor`), which takes as many times the memory as there are images in the group. What computes attention
within the sequence is any of diffusers' processors.
"""

from copy import deepcopy
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor, nn

Across: TypeAlias = Literal["views", "attributes"]
LayerT = TypeVar("LayerT", bound=nn.Module)
_AXES: dict[Across, int] = {"views": 1, "attributes": 2}


class Grid(TypedDict):
    """How the images of a batch are arranged: sample by sample, in it view by view, in it attribute by attribute."""

    views: int
    attributes: int


class GroupProcessor:
    """A diffusers attention processor that hands groups of images to another one as one sequence each.

    Args:
        inner: computes the attention: of any backend.
        across: what of the grid is joined.
    """

    def __init__(self, inner: Any, across: Across) -> None:  # noqa: ANN401 - diffusers' processors have no common class
        self.inner, self._axis = inner, _AXES[across]

    def __call__(
        self,
        attn: Attention,
        hidden_states: Float[Tensor, "bva t c"],
        encoder_hidden_states: None = None,
        attention_mask: None = None,
        *,
        views: int,
        attributes: int,
    ) -> Float[Tensor, "bva t c"]:
        """Self-attention of the groups.

        Args:
            attn: the layer with the projections.
            hidden_states: tokens of the images in the order of `Grid`.
            encoder_hidden_states: none: keys and values are those of the group.
            attention_mask: none.
            views: of a sample.
            attributes: of a view.
        """
        if encoder_hidden_states is not None or attention_mask is not None:
            raise ValueError("attention across images has neither a context nor a mask")
        groups = hidden_states.unflatten(0, (-1, views, attributes)).movedim(self._axis, 2)
        attended = self.inner(attn, groups.flatten(2, 3).flatten(0, 1))
        return attended.reshape(groups.shape).movedim(2, self._axis).flatten(0, 2)


class GroupAttention(Attention):
    """A self-attention layer of diffusers whose images attend in groups, whatever backend it is given.

    Args:
        attention: the layer whose weights it takes over; they have the same names.
        across: what of the grid is joined.
    """

    def __init__(self, attention: Attention, across: Across) -> None:
        nn.Module.__init__(self)
        self.__dict__.update(vars(attention))
        self._across: Across = across
        self.set_processor(attention.get_processor())

    def set_processor(self, processor: Any) -> None:  # noqa: ANN401 - as diffusers' own
        """Choose what computes the attention; all of diffusers' ways to choose a backend end here."""
        super().set_processor(GroupProcessor(processor, self._across))

    def get_processor(self, return_deprecated_lora: bool = False) -> Any:  # noqa: ANN401, ARG002 - as diffusers' own
        """What computes the attention within a group."""
        return self.processor.inner


class TransformerBlock(nn.Module):
    """The transformer block of Stable Diffusion's UNet, whose images may attend to each other.

    Args:
        block: whose layers it takes over; they have the same names.
        cross_view: whether self-attention is across views.
        cross_attribute: whether there is attention across attributes.

    Raises:
        ValueError: for a block of another kind.
    """

    def __init__(self, block: BasicTransformerBlock, cross_view: bool, cross_attribute: bool) -> None:
        super().__init__()
        if block.norm_type != "layer_norm" or block.only_cross_attention or block.attn2 is None:
            raise ValueError("only transformer blocks of Stable Diffusion's kind have attention across images")
        self.norm1, self.norm2, self.norm3 = block.norm1, block.norm2, block.norm3
        self.attn1 = GroupAttention(block.attn1, "views") if cross_view else block.attn1
        self.attn2, self.ff = block.attn2, block.ff
        self.cross_view, self.cross_attribute = cross_view, False
        if cross_attribute:
            self.add_cross_attribute()

    def add_cross_attribute(self) -> None:
        """Add the attention across attributes: a copy of self-attention that adds zero until it is trained.

        The released code leaves the copied bias of the output and so changes the network (`BasicTransformerBlockCrossDomain`
        of mengxuyiGit/LGM); here both weight and bias are zero.
        """
        self.norm_joint_mid = _twin(self.norm1)
        self.attn_joint_mid = GroupAttention(_twin(self.attn1), "attributes")
        silence(self.attn_joint_mid.to_out[0])
        self.cross_attribute = True

    def forward(
        self,
        hidden_states: Float[Tensor, "bva t c"],
        attention_mask: None = None,
        encoder_hidden_states: Float[Tensor, "bva s d"] | None = None,
        encoder_attention_mask: Tensor | None = None,
        timestep: None = None,  # noqa: ARG002 - diffusers gives it by place
        cross_attention_kwargs: Grid | None = None,
        class_labels: None = None,  # noqa: ARG002 - likewise
    ) -> Float[Tensor, "bva t c"]:
        """Self-attention, attention across attributes, cross-attention, feed-forward, each added to its normalised input.

        Args:
            hidden_states: tokens of the images in the order of `Grid`.
            attention_mask: none.
            encoder_hidden_states: context of the cross-attention.
            encoder_attention_mask: of the context.
            timestep: unused.
            cross_attention_kwargs: the arrangement of the images.
            class_labels: unused.
        """
        grid: dict[str, Any] = {**(cross_attention_kwargs or {})}
        states = hidden_states
        states = states + self.attn1(
            self.norm1(states), attention_mask=attention_mask, **(grid if self.cross_view else {})
        )
        if self.cross_attribute:
            states = states + self.attn_joint_mid(self.norm_joint_mid(states), **grid)
        states = states + self.attn2(
            self.norm2(states), encoder_hidden_states=encoder_hidden_states, attention_mask=encoder_attention_mask
        )
        return states + self.ff(self.norm3(states))


def _twin(layer: LayerT) -> LayerT:
    """A copy of a layer with weights of its own."""
    # Given as copied already, for deepcopy warns of tensors without bytes, on which a training is planned.
    weights = {id(each): nn.Parameter(each.detach().clone(), each.requires_grad) for each in layer.parameters()}
    return deepcopy(layer, weights)


def silence(layer: nn.Linear) -> None:
    """Let a layer put out zero, until it is trained."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
