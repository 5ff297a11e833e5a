"""Processes of VMMs: started, shut in, bounded, watched, and ended with all that they left."""
