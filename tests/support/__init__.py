"""What several tests share: prompts, tiny models, report pages, hostile servers, processes that are killed."""
