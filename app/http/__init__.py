"""What every router needs: problems, tokens, pages, languages, entity tags."""
