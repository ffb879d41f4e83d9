"""Identity: workspaces, and the tokens by which programs act. People, sessions and memberships come to live here.

Words: workspace, token. A token's secret is shown once and stored only as a hash, apart from everything that is replayed.
"""
