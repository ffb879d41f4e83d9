"""Identity: workspaces, and the tokens by which programs act. People, sessions and memberships come to live here.

Words: workspace, token. A token's secret is shown once and stored only as a hash, apart from everything that is replayed. A
revoked token is refused from the next request on; its events stay.
"""
