"""Online fine-tuning: its plan, its loop, its ledger."""
