"""A score card, a comparison or a plan becomes text for a terminal, Markdown, CI or a page. Nothing is computed or written here."""
