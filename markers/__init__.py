"""Objects and their numbers: which surface is which object, and where each view carries its number."""

from markers.cluster import cluster
from markers.draw import draw_markers
from markers.identity import FrameIdentity, SurfaceIdentity, identity_scores, surface_identity
from markers.instance import Box, Instance, Marker, fit_box, vertex_instance_ids
from markers.placement import place_markers
from markers.proposals import load_proposals
from markers.scoring import VOID, Found, InstanceScores, TrueObjects, average_precision
from markers.visibility import instance_map, visibility_table, visible_px

__all__ = [
    "VOID",
    "Box",
    "Found",
    "FrameIdentity",
    "Instance",
    "InstanceScores",
    "Marker",
    "SurfaceIdentity",
    "TrueObjects",
    "average_precision",
    "cluster",
    "draw_markers",
    "fit_box",
    "identity_scores",
    "instance_map",
    "load_proposals",
    "place_markers",
    "surface_identity",
    "vertex_instance_ids",
    "visibility_table",
    "visible_px",
]
