"""What the owner of a registry does by `moorage retention`."""
