"""Readers and writers of sample files: flows (.flo, .pfm, KITTI .png, .flo5), 8-bit RGB images, masks.

A file is untrusted.  Regular file, header, dimensions and length are checked before anything of the size the header
claims is allocated: the readers this replaces filled a 28-byte file that claimed 30000x30000 up to full size.
"""

from __future__ import annotations

from edgeflownas.data.formats.common import MAX_PIXELS, MAX_SIDE
from edgeflownas.data.formats.flo import FLO_UNKNOWN, flo_size, read_flo, write_flo
from edgeflownas.data.formats.flow import FLOW_SUFFIXES, flow_size, read_flow, write_flow
from edgeflownas.data.formats.images import image_size, mask_size, read_image, read_mask
from edgeflownas.data.formats.kitti import is_kitti_flow, kitti_size, read_kitti, write_kitti
from edgeflownas.data.formats.pfm import pfm_size, read_pfm, write_pfm

__all__ = [
    "FLOW_SUFFIXES",
    "FLO_UNKNOWN",
    "MAX_PIXELS",
    "MAX_SIDE",
    "flo_size",
    "flow_size",
    "image_size",
    "is_kitti_flow",
    "kitti_size",
    "mask_size",
    "pfm_size",
    "read_flo",
    "read_flow",
    "read_image",
    "read_kitti",
    "read_mask",
    "read_pfm",
    "write_flo",
    "write_flow",
    "write_kitti",
    "write_pfm",
]
