"""Attacks on the plugin, as programs that anyone can run: python -m campaigns.NAME."""
