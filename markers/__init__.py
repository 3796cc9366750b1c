"""Objects and their numbers: which surface is which object, and where each view carries its number."""

from markers.cluster import cluster
from markers.draw import draw_markers
from markers.instance import Box, Instance, Marker, fit_box, vertex_instance_ids
from markers.placement import place_markers
from markers.proposals import load_proposals
from markers.visibility import instance_map, visibility_table, visible_px

__all__ = [
    "Box",
    "Instance",
    "Marker",
    "cluster",
    "draw_markers",
    "fit_box",
    "instance_map",
    "load_proposals",
    "place_markers",
    "vertex_instance_ids",
    "visibility_table",
    "visible_px",
]
