"""Scans, cameras, surfaces and the bird's-eye view."""
