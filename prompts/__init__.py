"""Prompt templates as Markdown files, and the small library that finds, checks and renders them."""
