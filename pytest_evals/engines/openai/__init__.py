"""The engine on servers with an OpenAI-compatible API. Only the process of a model imports the HTTP client."""
