"""Depth that is smooth except at edges: semi-global aggregation of a cost volume.

Hirschmüller, "Stereo processing by semi-global matching and mutual information" (PAMI 2008): along straight paths
through the image from several sides, a small change of depth costs little, a jump costs more, least across an edge of
the image.
"""

from typing import TYPE_CHECKING

from bev.errors import require

if TYPE_CHECKING:
    from torch import Tensor


def aggregate(
    cost: "Tensor", image: "Tensor", *, step_penalty: float = 0.1, jump_penalty: float = 1.5, edge: float = 10.0
) -> "Tensor":
    """The mean cost of the best paths that reach a pixel from left, right, above and below.

    Args:
        cost: (D, h, w) float32, of D inverse depths in order.
        image: (h, w) float32 brightness, 0..255.
        step_penalty: for a change by one inverse depth between neighbouring pixels.
        jump_penalty: for a larger change, where the image is even.
        edge: a difference of brightness across which a jump costs half as much.

    Returns:
        (D, h, w) float32.
    """
    torch = require("torch", "video")
    total = torch.zeros_like(cost)
    for axis in (1, 2):
        # (length of the path, pixels side by side, D): what a step of the loop touches lies together
        lines = cost.permute(axis, 3 - axis, 0).contiguous()
        steps = (image if axis == 1 else image.t()).diff(dim=0).abs()
        penalties = (jump_penalty / (1 + steps / edge)).clamp_min(step_penalty)
        both = _along(lines, penalties, step_penalty) + _along(lines.flip(0), penalties.flip(0), step_penalty).flip(0)
        total += both.permute(2, 0, 1) if axis == 1 else both.permute(2, 1, 0)
    return total / 4


def _along(lines: "Tensor", penalties: "Tensor", step_penalty: float) -> "Tensor":
    """Path costs (L, M, D) along the first axis; `penalties` (L - 1, M) are those of jumps."""
    torch = require("torch", "video")
    paths = torch.empty_like(lines)
    paths[0] = lines[0]
    for at in range(1, len(lines)):
        before = paths[at - 1]
        least = before.amin(dim=1, keepdim=True)
        best = torch.minimum(before, least + penalties[at - 1][:, None])
        best[:, 1:] = torch.minimum(best[:, 1:], before[:, :-1] + step_penalty)
        best[:, :-1] = torch.minimum(best[:, :-1], before[:, 1:] + step_penalty)
        torch.add(lines[at], best.sub_(least), out=paths[at])
    return paths


def lowest(cost: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Where along D the cost is least, between the samples too.

    Args:
        cost: (D, h, w), D at least 3.

    Returns:
        (h, w) float32 positions in [0, D - 1]: the vertex of the parabola through the least and its neighbours; and
        (h, w) bool, False where the least is at either end, so that the true one may lie outside.
    """
    torch = require("torch", "video")
    least = cost.argmin(dim=0)
    middle = least.clamp(1, len(cost) - 2)
    before, here, after = (cost.gather(0, (middle + step)[None])[0] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    offset = torch.where(bend > 1e-6, (before - after) / (2 * bend.clamp_min(1e-6)), 0.0).clamp(-0.5, 0.5)
    within = least == middle
    return torch.where(within, middle + offset, least.float()), within
