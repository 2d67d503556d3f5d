"""Images bent, moved, cut and made larger or smaller, a whole batch at once."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BUMPS = 16  # of a random field, along each side
KNOTS = BUMPS + 7  # and three more beyond each edge


def turned_back(shape: tuple[int, int], degrees: Tensor, wider: Tensor, higher: Tensor) -> Tensor:
    """The matrix (N, 2, 2) that leads from places (x, y) of a scaled, then rotated picture to where they come from.

    Places are in half sides from the centre of the picture, whose ``shape`` is (H, W). The rest is (N,):
    counter-clockwise angle in degrees; width and height as factors (2 makes a digit twice as large).
    """
    angle, ratio = torch.deg2rad(degrees), shape[0] / shape[1]
    cos, sin = torch.cos(angle), torch.sin(angle)
    of_x, of_y = (cos / wider, sin / ratio / higher), (-sin * ratio / wider, cos / higher)
    return torch.stack([torch.stack(column, dim=1) for column in (of_x, of_y)], dim=2)


def origins(shape: tuple[int, int], back: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Where the pixels of a picture come from: (N, H, W, 2), x before y, in half sides from the centre.

    The matrix ``back`` is that of ``turned_back``; then the picture was shifted to the right and down (N,), by shares
    of its width and height.
    """
    y, x = map(centres, shape)
    x, y = ((place - 2 * shift[:, None])[..., None] for place, shift in ((x, right), (y, down)))  # (N, W, 1), (N, H, 1)
    of_x, of_y = x * back[:, None, :, 0], y * back[:, None, :, 1]  # (N, W, 2), (N, H, 2)
    return of_x[:, None] + of_y[:, :, None]


def centres(side: int) -> Tensor:
    """The centres of ``side`` pixels in a row, (side,), in half sides from the middle: between -1 and 1."""
    return (2 * torch.arange(side) + 1) / side - 1


def smooth_field(noise: Tensor, shape: tuple[int, int]) -> Tensor:
    """A smooth random field (N, H, W, 2), of standard deviation 1 from even draws (N, 2, KNOTS, KNOTS) in [-1, 1).

    Each draw is the height of a bump, a sixteenth of the side wide and away from the next, which makes waves of about
    an eighth of the side. UNet's authors bend their images by such a field, since tissue deforms like this
    (https://arxiv.org/abs/1505.04597, section 3.1).
    """
    along_y, along_x = map(bumps, shape)
    field = along_y @ noise @ along_x.T / math.sqrt(math.pi / 3)  # at each pixel the squares of all bumps add up to π
    return field.permute(0, 2, 3, 1)


def bumps(side: int) -> Tensor:
    """The height of each bump at each of ``side`` pixels in a row: (side, KNOTS)."""
    pixels, knots = (torch.arange(side) + 0.5) / side * BUMPS, torch.arange(KNOTS) - 3
    return torch.exp(-(pixels[:, None] - knots).square() / 2)


def sampled(images: Tensor, where: Tensor, mode: str = "bilinear") -> Tensor:
    """What is in images (N, C, H, W) at the places ``where`` (N, H, W, 2), see ``origins``: (N, C, H, W), 0 outside."""
    return F.grid_sample(images, where, mode=mode, padding_mode="zeros", align_corners=False)


def resize(images: Tensor, size: int) -> Tensor:
    """(N, C, H, W) -> (N, C, size, size), bilinear with antialiasing; unchanged if it fits already."""
    if images.shape[-2:] == (size, size):
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


def cropped(images: Tensor, right: Tensor, down: Tensor, border: int) -> Tensor:
    """Mirror a ``border`` of pixels around images (N, C, H, W) and cut out (N, C, H, W) again.

    ``right`` and ``down`` (N,) int64 from 0 to 2 · border are where each cut begins; ``border`` leaves it in place.
    """
    return cut(F.pad(images, [border] * 4, mode="reflect"), right, down, images.shape[-2:])


def cut(images: Tensor, right: Tensor, down: Tensor, shape: tuple[int, int]) -> Tensor:
    """A window of ``shape`` (h, w) out of each image (N, C, H, W), its corner at ``right``, ``down``: (N, C, h, w)."""
    rows, columns = (torch.arange(side) + start[:, None] for side, start in zip(shape, (down, right), strict=True))
    which = torch.arange(len(images))[:, None, None]
    return images[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def erased(images: Tensor, right: Tensor, down: Tensor, side: int) -> Tensor:
    """Cover a square of ``side`` pixels of each image (N, C, H, W) with the image's mean colour.

    ``right`` and ``down`` (N,) int64 are the square's centre; what lies beyond the edge covers nothing. Cutout: DeVries
    and Taylor 2017, https://arxiv.org/abs/1708.04552.
    """
    places = (
        torch.arange(length) - centre[:, None] + side // 2  # 0 to side - 1 within the square
        for length, centre in zip(images.shape[-2:], (down, right), strict=True)
    )
    rows, columns = ((place >= 0) & (place < side) for place in places)
    covered = (rows[:, :, None] & columns[:, None, :])[:, None]
    return torch.where(covered, images.mean(dim=(2, 3), keepdim=True), images)
