"""Training pairs the way that Zero-1-to-3 reads them: a file a picture and a file a camera, decoded and resized at each visit.

The steps of `ObjaverseData.__getitem__` (ldm/data/simple.py of cvlab-columbia/zero123), in our words: two distinct views by
chance; each PNG read into floats, transparent pixels made white, back to 8 bits without alpha, made smaller bilinearly, a tensor
in [−1, 1] with the channels last; both cameras read, and the relative pose of them.
"""

from pathlib import Path
from random import sample

import matplotlib.pyplot as plt
import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from geometry.cameras import c2w_from_zero123
from systems.zero123.conditioning import relative_pose

Item = dict[str, Tensor]


class LooseViews(Dataset[Item]):
    """A pair of views of each object.

    Args:
        folders: of the objects.
        views: that each has.
        side: width and height that pictures are made smaller to, pixels.
    """

    def __init__(self, folders: list[Path], views: int, side: int) -> None:
        self.folders, self.views, self.side = folders, views, side

    def __len__(self) -> int:
        return len(self.folders)

    def __getitem__(self, number: int) -> Item:
        """Target and condition of one object, [h, w, 3] each, and the pose between them."""
        folder, (target, condition) = self.folders[number], sample(range(self.views), 2)
        cameras = [c2w_from_zero123(np.load(folder / f"{view:03d}.npy")) for view in (target, condition)]
        return {
            "target": self._picture(folder / f"{target:03d}.png"),
            "condition": self._picture(folder / f"{condition:03d}.png"),
            "pose": torch.from_numpy(relative_pose(*cameras)),
        }

    def _picture(self, path: Path) -> Float[Tensor, "h w 3"]:
        rgba = plt.imread(path)
        rgba[rgba[:, :, -1] == 0.0] = 1.0
        picture = Image.fromarray((rgba[:, :, :3] * 255.0).astype(np.uint8)).convert("RGB")
        small = picture.resize((self.side, self.side), Image.Resampling.BILINEAR)
        # What torchvision's ToTensor does.
        values = torch.from_numpy(np.array(small)).permute(2, 0, 1).contiguous().to(torch.float32).div(255)
        return (values * 2.0 - 1.0).permute(1, 2, 0)
