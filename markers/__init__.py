"""Objects and their numbers: which surface is which object, and where each view carries its number."""

from markers.associate import associate
from markers.cluster import cluster
from markers.detect import detect
from markers.detections import load_detections, save_detections
from markers.draw import draw_markers
from markers.identity import FrameIdentity, SurfaceIdentity, identity_scores, surface_identity
from markers.instance import Box, Instance, Marker, fit_box, vertex_instance_ids
from markers.merging import merge_instances
from markers.placement import place_markers
from markers.proposals import load_proposals
from markers.scoring import VOID, Found, InstanceScores, TrueObjects, average_precision
from markers.segment import segment, segment_everything
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
    "associate",
    "average_precision",
    "cluster",
    "detect",
    "draw_markers",
    "fit_box",
    "identity_scores",
    "instance_map",
    "load_detections",
    "load_proposals",
    "merge_instances",
    "place_markers",
    "save_detections",
    "segment",
    "segment_everything",
    "surface_identity",
    "vertex_instance_ids",
    "visibility_table",
    "visible_px",
]
