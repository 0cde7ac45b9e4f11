"""An HTTP server that speaks OpenAI's API over one engine, and shows a page to play in."""
