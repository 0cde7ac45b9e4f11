"""Self-enhancement as files (ILLUME, section 3): prompts, drawings, verdicts, records; nothing here trains."""
