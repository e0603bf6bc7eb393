"""What a sweep found: findings, tables, figures, a page, and the paper's numbers beside them."""
