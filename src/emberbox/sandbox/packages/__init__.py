"""Packages of a script: asked for, installed by a build VM, kept as layers."""
