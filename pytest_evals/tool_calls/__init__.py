"""Calls of tools as families of models write them: from the text of a reply to `ToolCall`s. Pure: no tokenizer, no model."""
